"""`proxygold score` on a million rows: rows a second, and its memory on the way. Bar: the memory does not grow.

Writes rows of synthetic answers (10 to 500 words out of a vocabulary of 5,000, some sentences said twice) to a
temporary directory, scores them in a process of its own, and reads from the kernel what that process and its workers
hold: proportional set size, which counts a page that is shared once. What is held when a tenth is done stands beside
half, nearly all, and the most.

    python benchmarks/score_scale.py [--rows 1000000] [--workers 1] [--reward 'LI * RP'] [--format jsonl]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE_SECONDS = 0.1


def write_answers(path: Path, rows: int) -> None:
    random.seed(0)
    words = ["".join(random.choices("etaoinshrdlu", k=random.randint(2, 9))) for _ in range(5000)]
    sentences = [" ".join(random.choices(words, k=random.randint(5, 25))) + "." for _ in range(20_000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            said = random.choices(sentences, k=random.randint(2, 20))
            if number % 3 == 0:
                said.append(said[0])
            row = {"id": f"answer-{number}", "prompt": f"Question {number}: {said[0]}", "completion": " ".join(said)}
            file.write(json.dumps(row) + "\n")


def held(process: int) -> int:
    """Bytes of memory that a process and its children hold; 0 when it is gone."""
    total = 0
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1])
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return total
    return total + sum(held(int(child)) for child in children)


def rows_done(journal: Path) -> int:
    try:
        return sum(json.loads(line)["record"]["lines"] for line in journal.read_text().splitlines()[:-1])
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--reward", default="LI * RP")
    parser.add_argument("--format", default="jsonl", help="of the result: jsonl, jsonl.gz, jsonl.zst or parquet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "answers.jsonl"), Path(directory, f"scored.{options.format}")
        write_answers(source, options.rows)
        size = source.stat().st_size
        command = [str(Path(sys.executable).with_name("proxygold")), "score", str(source), "--out", str(target)]
        command += ["--reward", options.reward, "--workers", str(options.workers)]
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        samples: list[tuple[int, int]] = []
        while process.poll() is None:
            samples.append((rows_done(Path(f"{target}.partial", "journal.jsonl")), held(process.pid)))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - began
        if process.returncode:
            sys.exit(process.returncode)
    print(f"{options.rows:,} rows ({size / 1e9:.2f} GB) by {options.reward}, {options.workers} worker(s)")
    print(f"{seconds:.0f} s, {options.rows / seconds:,.0f} rows/s, {size / seconds / 1e6:.0f} MB/s")
    for share in (0.1, 0.5, 0.95):
        there = [memory for rows, memory in samples if rows >= share * options.rows]
        if there:
            print(f"memory when {share:.0%} is done: {there[0] / 1e6:.0f} MB")
    print(f"most memory: {max(memory for _, memory in samples) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

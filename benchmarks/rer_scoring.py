"""RER scoring of real responses with MiniLM on the CPU, against the loop that one writes first. Bar: 4 times faster.

The naive loop takes responses in batches of 8 as they come, pads each batch to its longest, and runs plain transformers
in float32 over query, response and, for closed-ended rows, reference of every batch; LI and RP are plain Python. Ours
is `reward(...).score(...)`: cold, with nothing remembered, and warm, with prompts and references seen before but every
response new. Both have the same number of threads. Bar: 4 times the responses per second cold, 5 times warm, and in
float32 scores equal to 1e-4.

    python benchmarks/rer_scoring.py [--rows 48] [--repeats 3] [--threads 1] [--data ../shared/data] [--dtype bfloat16]

The two take turns in one process. Each ratio is given of the wall clock and of CPU time, which a busy machine disturbs
less. Without the data (AlpacaEval in the form of data/validation and data/alpaca_eval_outputs) it runs on the built-in
prompts with generated texts, whose lengths are no real model's.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from proxygold import Example, Reward, reward
from proxygold.data.builtin import builtin_prompts
from proxygold.models.bundled import bundled_encoder_path
from proxygold.models.encoder import EncoderSettings, load_encoder
from proxygold.rewards.embeddings import forget_embeddings

LINE = "branch(open_ended = LI * RP * QR, closed_ended = RP * rescale(AR, 0, 3.5, 0, 5.12))"
SETTINGS = EncoderSettings(normalize=False, max_length=512, dtype="float32")
SHORT, LONG = "falcon-7b-instruct", "FuseChat-Qwen-2.5-7B-Instruct"
STOPS = ("\n\n\n\n", "\n\n--", "\n\n____")


# --- the naive loop ---------------------------------------------------------------------------------------------------


class Naive:
    def __init__(self) -> None:
        logging.disable_progress_bar()
        self.model = AutoModel.from_pretrained(bundled_encoder_path(), dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(bundled_encoder_path(), truncation_side="left")

    def embed(self, texts: list[str]) -> torch.Tensor:
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            states = self.model(**batch).last_hidden_state
        kept = batch["attention_mask"].unsqueeze(-1).float()
        return (states * kept).sum(dim=1) / kept.sum(dim=1)

    def score(self, examples: Sequence[Example]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(examples), 8):
            batch = examples[start : start + 8]
            queries = self.embed([str(example.prompt) for example in batch])
            answers = self.embed([example.completion for example in batch])
            closed = [row for row, example in enumerate(batch) if example.query_type == "closed_ended"]
            references = self.embed([batch[row].reference or "" for row in closed]) if closed else None
            for row, example in enumerate(batch):
                text = example.completion
                for stop in STOPS:
                    text = text.split(stop)[0]
                words = re.findall(r"\w+|[^\w\s]+", text.strip())
                trigrams = [tuple(words[place : place + 3]) for place in range(len(words) - 2)]
                rp = len(set(trigrams)) / len(trigrams) if trigrams else 1.0
                if row in closed:
                    assert references is not None
                    ar = float(answers[row] @ references[closed.index(row)])
                    scores.append(rp * max(ar, 0) / 3.5 * 5.12)
                else:
                    scores.append(len(words) / 100 * rp * float(queries[row] @ answers[row]))
        return scores


# --- the data ---------------------------------------------------------------------------------------------------------


def real(data: Path, model: str, rows: int) -> list[Example]:
    with gzip.open(data / "validation/alpaca_eval.json.gz", "rt") as file:
        prompts = json.load(file)
    with gzip.open(data / f"alpaca_eval_outputs/{model}.jsonl.gz", "rt") as file:
        outputs = {row["i"]: row["output"] for row in map(json.loads, file)}
    types = {"OPENENDED": "open_ended", "CONSTRAINED": "closed_ended"}
    examples = [
        Example(prompts[i]["instruction"], text, reference=prompts[i]["output"], query_type=types[prompts[i]["qtype"]])
        for i, text in sorted(outputs.items())
    ]
    # From all parts of the data, in its order.
    return [examples[place] for place in np.linspace(0, len(examples) - 1, min(rows, len(examples))).astype(int)]


def generated(mean_words: int, rows: int) -> list[Example]:
    rng = np.random.default_rng(0)
    prompts = builtin_prompts()
    words = sorted({word for row in prompts for word in re.findall(r"\w+", str(row.prompt))})

    def text(mean: int) -> str:
        return " ".join(rng.choice(words, max(1, int(rng.gamma(2, mean / 2)))))

    types = ("open_ended", "closed_ended")
    return [
        Example(
            str(prompts[row % len(prompts)].prompt), text(mean_words), reference=text(60), query_type=types[row % 2]
        )
        for row in range(rows)
    ]


# --- measuring --------------------------------------------------------------------------------------------------------


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def cold(made: Reward, examples: list[Example]) -> tuple[float, float, Any]:
    forget_embeddings()
    return timed(lambda: made.score(examples).total)


def warm(made: Reward, examples: list[Example]) -> tuple[float, float, Any]:
    forget_embeddings()
    made.score([replace(example, completion="Seen before.") for example in examples])
    return timed(lambda: made.score(examples).total)


def compare(name: str, examples: list[Example], dtype: str, repeats: int) -> None:
    naive, float32 = Naive(), reward(LINE, encoder=SETTINGS)
    other = reward(LINE, encoder=replace(SETTINGS, dtype=dtype))
    runs: dict[str, Callable[[], tuple[float, float, Any]]] = {
        "naive": lambda: timed(lambda: naive.score(examples)),
        "float32 cold": lambda: cold(float32, examples),
        "float32 warm": lambda: warm(float32, examples),
    }
    if dtype != "float32":
        runs |= {f"{dtype} cold": lambda: cold(other, examples), f"{dtype} warm": lambda: warm(other, examples)}
    few = examples[:8]
    for made in (float32, other):
        made.score(few)
    naive.score(few)
    times: dict[str, list[tuple[float, float]]] = {run: [] for run in runs}
    scores = {}
    for _ in range(repeats):
        for run, call in runs.items():
            wall, cpu, scores[run] = call()
            times[run].append((wall, cpu))

    words = statistics.mean(len(example.completion.split()) for example in examples)
    print(f"\n{name}: {len(examples)} responses of {words:.0f} words in the mean")
    for run, taken in times.items():
        rate = len(examples) / statistics.median(wall for wall, _ in taken)
        line = f"  {run:<14} {rate:6.1f} responses/s"
        if run != "naive":
            for clock, kind in enumerate(("wall", "CPU")):
                ratios = [base[clock] / own[clock] for base, own in zip(times["naive"], taken, strict=True)]
                line += f"   {kind} {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)
    exact = np.array(scores["naive"])
    print(f"  float32: scores {exact.min():.2f} to {exact.max():.2f}, differ by at most", end=" ")
    print(f"{max(np.abs(scores[f'float32 {state}'] - exact).max() for state in ('cold', 'warm')):.1e} (bar: 1e-4)")
    if dtype != "float32":
        own = scores[f"{dtype} cold"]
        relative = np.abs(own - exact) / np.maximum(np.abs(exact), 1e-9)
        print(f"  {dtype}: scores differ by at most {np.abs(own - exact).max():.2e},", end=" ")
        print(f"relative {np.median(relative):.1e} in the median, {relative.max():.1e} at most;", end=" ")
        print(f"Spearman's rho {stats.spearmanr(own, exact).statistic:.5f}")
        encoder = load_encoder(replace(SETTINGS, dtype=dtype))
        texts = [example.completion for example in examples[:16]]
        alone = np.concatenate([encoder.embed([text]) for text in texts])
        print(f"  {dtype}: the same to the last bit whatever the batch: {np.array_equal(encoder.embed(texts), alone)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=48, help="responses of each data set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "../shared/data")
    parser.add_argument("--dtype", default="float32", help="measured beside float32, such as bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    native = {name: on for name, on in torch.cpu.get_capabilities().items() if name in ("avx2", "avx512_f")}
    bf16 = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    print(f"{options.threads} thread(s), {native}, bfloat16 {'native' if bf16 else 'emulated'};", end=" ")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    here = (options.data / "alpaca_eval_outputs").is_dir()
    for name, words in ((SHORT, 60), (LONG, 280)):
        examples = real(options.data, name, options.rows) if here else generated(words, options.rows)
        title = name if here else f"generated texts of about {words} words"
        compare(title, examples, options.dtype, options.repeats)


if __name__ == "__main__":
    main()

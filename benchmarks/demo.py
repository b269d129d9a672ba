"""What the demo takes and what it shows: minutes, peak memory, and the facts its settings were chosen for.

    python benchmarks/demo.py [DIRECTORY] [KEY=VALUE]...

Runs `proxygold demo` in DIRECTORY (default: a temporary one) as a user would, on an otherwise idle machine.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proxygold.analysis.runs import analyse_run
from proxygold.store import RunDirectory


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    directory.mkdir(parents=True, exist_ok=True)
    proxygold = Path(sys.executable).with_name("proxygold")
    start = time.monotonic()
    subprocess.run([str(proxygold), "demo", *sys.argv[2:]], cwd=directory, check=True)
    minutes = (time.monotonic() - start) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB on Linux
    print(f"\nwhole demo        {minutes:.1f} minutes, peak memory {peak:.2f} GiB")

    run = next(RunDirectory(path.parent) for path in directory.glob("runs/*/study.yaml"))
    first = run.arms()[0].read_rollouts(0)
    print(f"ended themselves  {sum(row.finished for row in first) / len(first):.0%} of {len(first)} answers at step 0")
    for arm in run.arms():
        seconds: dict[str, float] = {}
        for step in (steps := arm.read_steps()):
            for phase, taken in step["seconds"].items():
                seconds[phase] = seconds.get(phase, 0.0) + taken / len(steps)
        shown = ", ".join(f"{phase} {taken:.2f}" for phase, taken in seconds.items())
        print(f"{arm.reward:<17} seed {arm.seed}: seconds a step: {shown}")
    for reward in analyse_run(run).rewards:
        for seed in reward.seeds:
            gain = seed.overall.proxy_gain
            interval = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            print(f"{reward.reward:<17} seed {seed.seed}: proxy gain {interval}, {seed.overall.verdict.name}")


if __name__ == "__main__":
    main()

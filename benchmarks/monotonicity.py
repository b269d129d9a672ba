"""Time of the monotonicity analysis: 10,000 bootstrap draws over 805 prompts and 11 checkpoints. Bar: under 2 seconds.

Compared to the same bootstrap as a plain loop over `scipy.stats.spearmanr`, in the same process. The loop runs a share
of the draws and its time is scaled up; it makes only Spearman's interval, where proxygold makes gains, drawdown and
verdict too.

    python benchmarks/monotonicity.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from proxygold.analysis.monotonicity import DRAWS, monotonicity

PROMPTS, CHECKPOINTS = 805, 11
LOOP_DRAWS = 500
REPEATS = 5


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(size=PROMPTS)
    rise = np.linspace(0, 1, CHECKPOINTS)[:, None]
    proxy, gold = (ease + rise + rng.normal(size=(CHECKPOINTS, PROMPTS)) for _ in range(2))

    def loop() -> None:
        for _ in range(LOOP_DRAWS):
            taken = rng.integers(0, PROMPTS, PROMPTS)
            stats.spearmanr(proxy[:, taken].mean(axis=1), gold[:, taken].mean(axis=1))

    # Alternating, so that whatever else the machine does falls on both.
    ours, loops = [], []
    for _ in range(REPEATS):
        ours.append(seconds(lambda: monotonicity(proxy, gold, np.arange(CHECKPOINTS) * 500)))
        loops.append(seconds(loop) * DRAWS / LOOP_DRAWS)
    own, peer = statistics.median(ours), statistics.median(loops)
    print(f"proxygold monotonicity, {DRAWS:,} draws: {own:.2f} s, median of {REPEATS} (bar: under 2 s)")
    print(f"loop over scipy.stats.spearmanr: {peer:.2f} s, scaled from {LOOP_DRAWS} draws")
    print(f"ratio: {peer / own:.0f} times faster")


if __name__ == "__main__":
    main()

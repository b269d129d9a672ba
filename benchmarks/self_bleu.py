"""Self-BLEU of 10 answers to each of 805 prompts beside nltk's, in one process. Bar: equal to 1e-9, 10 times faster.

Two loops: nltk's `sentence_bleu` of each answer with the others for references, as Texygen calls it; and a careful one
without nltk, which counts the n-grams of each answer once and takes the largest count of the others from there. All
three split the same texts into the same words. Repetitions alternate, so that whatever else the machine does falls on
all; each gives a ratio. Every answer's BLEU must be equal to 1e-9.

    python benchmarks/self_bleu.py [PATH] [--repeats N]

PATH is a file of answers, several rows a prompt, such as `proxygold eval self-bleu` writes (answers.jsonl), or a
directory of MODEL.jsonl.gz with an `output` in each line, row by row to the same prompts: ten models then stand in for
ten samples. Without such a directory, generated text is taken. Time is processor time, of all threads. Needs nltk.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from proxygold.evaluation.self_bleu.leave_one_out import EPSILON, leave_one_out_bleu
from proxygold.text import ngrams, words

DATA = Path(__file__).parents[1] / "../shared/data/alpaca_eval_outputs"
ORDER, SAMPLES, REPEATS = 4, 10, 3
SMOOTH = SmoothingFunction(epsilon=EPSILON).method1

Texts = Sequence[Sequence[str]]


# --- what a user would write ------------------------------------------------------------------------------------------


def with_nltk(prompts: Texts) -> list[float]:
    scores = []
    for texts in prompts:
        answers = [words(text) for text in texts]
        for place, answer in enumerate(answers):
            others = answers[:place] + answers[place + 1 :]
            scores.append(float(sentence_bleu(others, answer, smoothing_function=SMOOTH)))
    return scores


def careful(prompts: Texts) -> list[float]:
    scores = []
    for texts in prompts:
        answers = [words(text) for text in texts]
        counts = [[Counter(ngrams(answer, n)) for n in range(1, ORDER + 1)] for answer in answers]
        for place, answer in enumerate(answers):
            matches = []
            for n, own in enumerate(counts[place]):
                others = [found[n] for found in counts[:place] + counts[place + 1 :]]
                matches.append(sum(min(count, max(other[gram] for other in others)) for gram, count in own.items()))
            lengths = [len(other) for other in answers[:place] + answers[place + 1 :]]
            scores.append(bleu(matches, len(answer), lengths))
    return scores


def bleu(matches: Sequence[int], length: int, others: Sequence[int]) -> float:
    if matches[0] == 0:
        return 0.0
    nearest = min(others, key=lambda other: (abs(other - length), other))
    precisions = [(found or EPSILON) / max(1, length - n) for n, found in enumerate(matches)]
    return min(1.0, math.exp(1 - nearest / length)) * math.exp(sum(map(math.log, precisions)) / ORDER)


# --- beside it --------------------------------------------------------------------------------------------------------


def proxygold(prompts: Texts) -> list[float]:
    split = ([words(text) for text in texts] for texts in prompts)
    return np.concatenate(list(leave_one_out_bleu(split, ORDER))).tolist()


def seconds(score: Callable[[Texts], list[float]], prompts: Texts, expected: Sequence[float] | None) -> float:
    start = time.process_time()
    values = score(prompts)
    taken = time.process_time() - start
    if expected is not None:
        worst = float(np.abs(np.subtract(values, expected)).max())
        assert worst < 1e-9, f"{score.__name__} differs by {worst}"
    return taken


def compare(prompts: Texts, repeats: int) -> None:
    expected = proxygold(prompts)
    ours: list[float] = []
    loops: dict[str, list[float]] = {"nltk": [], "the careful loop": []}
    for _ in range(repeats):
        ours.append(seconds(proxygold, prompts, None))
        for name, score in zip(loops, (with_nltk, careful), strict=True):
            loops[name].append(seconds(score, prompts, expected))
    print(f"proxygold: {statistics.median(ours):.2f} s (median of {repeats})")
    for name, taken in loops.items():
        ratios = [theirs / own for theirs, own in zip(taken, ours, strict=True)]
        faster = f"{statistics.median(ratios):.0f} times faster ({min(ratios):.0f} to {max(ratios):.0f})"
        print(f"{name}: {statistics.median(taken):.1f} s; proxygold is {faster}")
    print(f"mean Self-BLEU {np.mean(expected):.4f}; the largest difference to either is below 1e-9")


# --- the texts --------------------------------------------------------------------------------------------------------


def from_directory(directory: Path) -> Texts:
    """Row by row the answers of ten models that have answered everything."""
    models = []
    for path in sorted(directory.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            models.append([json.loads(line)["output"] for line in lines])
    most = max(map(len, models))
    whole = [answers for answers in models if len(answers) == most]
    return list(zip(*whole[:: max(1, len(whole) // SAMPLES)][:SAMPLES], strict=True))


def from_file(path: Path) -> Texts:
    """The answers to each prompt."""
    answers: dict[str, list[str]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            answers.setdefault(str(row["id"]), []).append(row["completion"])
    return list(answers.values())


def generated() -> Texts:
    """Sentences of words whose frequencies fall as in natural text."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"w{number}" for number in range(5000)])
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    weights /= weights.sum()

    def answer() -> str:
        return " ".join(rng.choice(vocabulary, rng.integers(20, 400), p=weights))

    return [[answer() for _ in range(SAMPLES)] for _ in range(805)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=DATA)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    given = parser.parse_args()
    if given.path.is_file():
        prompts, what = from_file(given.path), str(given.path)
    elif given.path.is_dir():
        prompts, what = from_directory(given.path), "ten models' answers"
    else:
        prompts, what = generated(), "generated text"
    sizes = [len(words(text)) for texts in prompts for text in texts]
    print(f"{what}: {len(prompts)} prompts, {len(sizes)} answers of {np.mean(sizes):.0f} words on average", end="; ")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}")
    compare(prompts, given.repeats)


if __name__ == "__main__":
    main()

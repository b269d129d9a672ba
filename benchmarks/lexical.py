"""`LI * RP` beside the loop over nltk that a plain user would write, in one process. Bar: at least 10 times faster.

Three loops: the plain one has a function for each feature, and each trims and tokenises the text; the careful one
tokenises once for both; the last does without nltk. Repetitions alternate, so that whatever else the machine does falls
on all; each gives a ratio. The values must be equal to the last bit. Since version 3.10 nltk splits with the package
`regex`, to whose \\w a combining mark belongs; answers that it splits otherwise than Python's `re` are counted and left
out.

    python benchmarks/lexical.py [DIRECTORY]

DIRECTORY holds answers, one model a file: MODEL.jsonl.gz with an `output` in each line. The file with the shortest
answers on average, the one with the longest, and the one in the middle are scored. Without such a directory, generated
text is. Time is processor time, of all threads; OMP_NUM_THREADS and TOKENIZERS_PARALLELISM should make no difference.
Needs nltk.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from nltk.tokenize import wordpunct_tokenize
from nltk.util import ngrams

from proxygold import Example, reward

DATA = Path(__file__).parents[1] / "../shared/data/alpaca_eval_outputs"
REPEATS = 5
BATCHES = (16, 128, 10_000)
STOPS = ("\n\n\n\n", "\n\n--", "\n\n____")

Texts = Sequence[str]


# --- what a user would write ------------------------------------------------------------------------------------------


def trimmed(text: str) -> str:
    for stop in STOPS:
        text = text.split(stop)[0]
    return text.strip()


def length_incentive(text: str) -> float:
    return len(wordpunct_tokenize(trimmed(text))) / 100


def repetition_penalty(text: str) -> float:
    trigrams = list(ngrams(wordpunct_tokenize(trimmed(text)), 3))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0


def plain(texts: Texts) -> list[float]:
    return [length_incentive(text) * repetition_penalty(text) for text in texts]


def careful(texts: Texts) -> list[float]:
    return [_both(wordpunct_tokenize(trimmed(text)), ngrams) for text in texts]


def without_nltk(texts: Texts) -> list[float]:
    find = re.compile(r"\w+|[^\w\s]+").findall
    return [
        _both(find(trimmed(text)), lambda words, n: zip(*(words[k:] for k in range(n)), strict=False)) for text in texts
    ]


def _both(words: list[str], ngrams: Callable[[list[str], int], Iterable[tuple[str, ...]]]) -> float:
    trigrams = list(ngrams(words, 3))
    return len(words) / 100 * (len(set(trigrams)) / len(trigrams) if trigrams else 1.0)


# --- beside it --------------------------------------------------------------------------------------------------------

ours = reward("LI * RP")


def proxygold(texts: Texts, batch: int) -> list[float]:
    values: list[float] = []
    for start in range(0, len(texts), batch):
        values += ours.score([Example("", text) for text in texts[start : start + batch]]).total.tolist()
    return values


def seconds(score: Callable[[], list[float]], expected: Sequence[float]) -> float:
    # Of all threads: a second one would not flatter us, and what else runs on the machine counts less.
    start = time.process_time()
    values = score()
    taken = time.process_time() - start
    assert values == expected, "the values differ"
    return taken


LOOPS = {"plain": plain, "careful": careful, "without nltk": without_nltk}


def compare(name: str, answers: Texts) -> None:
    find = re.compile(r"\w+|[^\w\s]+").findall
    texts = [text for text in answers if find(text) == wordpunct_tokenize(text)]
    expected = without_nltk(texts)
    characters = statistics.mean(map(len, texts))
    print(
        f"{name}: {len(texts)} answers of {characters:.0f} characters on average, {len(answers) - len(texts)} left out"
    )
    for batch in BATCHES:
        each: list[float] = []
        ratios: dict[str, list[float]] = {loop: [] for loop in LOOPS}
        for _ in range(REPEATS):
            own = seconds(lambda size=batch: proxygold(texts, size), expected)
            each.append(own / len(texts) * 1e6)
            for loop, score in LOOPS.items():
                ratios[loop].append(seconds(lambda score=score: score(texts), expected) / own)
        size = f"batches of {batch}" if batch < len(texts) else "one call"
        times = "; ".join(f"{loop} {_spread(found)}" for loop, found in ratios.items())
        print(f"  {size}: {statistics.median(each):.0f} us an answer; times faster than the loops: {times}")


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


# --- the texts --------------------------------------------------------------------------------------------------------


def from_directory(directory: Path) -> dict[str, Texts]:
    """The answers of the model that is shortest on average, of the one in the middle, and of the longest."""
    found = {}
    for path in sorted(directory.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            found[path.name.removesuffix(".jsonl.gz")] = [json.loads(line)["output"] for line in lines]
    by_length = sorted(found, key=lambda name: statistics.mean(map(len, found[name])))
    return {name: found[name] for name in (by_length[:1] + by_length[len(by_length) // 2 :][:1] + by_length[-1:])}


def generated() -> dict[str, Texts]:
    """Sentences of words whose frequencies fall as in natural text."""
    rng = np.random.default_rng(0)
    letters = list("etaoinshrdlucmfwygpbvk")
    vocabulary = np.array(["".join(rng.choice(letters, rng.integers(1, 10))) for _ in range(5000)])
    weights = 1 / np.arange(1, len(vocabulary) + 1)

    def answer(words: int) -> str:
        chosen = rng.choice(vocabulary, words, p=weights / weights.sum())
        return " ".join(f"{word}," if place % 12 == 11 else word for place, word in enumerate(chosen)) + "."

    return {f"generated, {size} words": [answer(size) for _ in range(800)] for size in (50, 400)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=DATA)
    texts = from_directory(parser.parse_args().directory) or generated()
    settings = ", ".join(f"{name}={os.environ.get(name)}" for name in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM"))
    start = time.perf_counter()
    proxygold(["Imports, and tables – made at the first score of more than a little text. " * 100], 1)
    print(f"{settings}; the first score of the process took {time.perf_counter() - start:.2f} s and is not counted")
    for name, answers in texts.items():
        compare(name, answers)


if __name__ == "__main__":
    main()

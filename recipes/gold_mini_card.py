"""The numbers of gold-mini's model card, for any reward model:

    python recipes/gold_mini_card.py --model gold-mini --data DIR --pairs pairs

`--data` is the directory that `gold_mini.py` reads, with the sets that training never saw beside them
(`hh_rlhf/harmless-base/test.jsonl.gz` and those of `UNSEEN` under `preferences/`); `--pairs` is what `gold_mini.py`
wrote. Of each unseen set 200 random pairs of at most 400 tokens are scored.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from gold_mini import Lengths, sample_answers
from scipy.stats import spearmanr

from proxygold.data.preferences import PreferencePair, read_preferences
from proxygold.models.reward_models import RewardModel, load_reward_model
from proxygold.records import Example
from proxygold.training.pair_accuracy import Accuracy, AccuracyTable, measure_accuracy
from proxygold.training.reward_model import evaluate_pairs

UNSEEN = {
    "HH harmless-base": "hh_rlhf/harmless-base/test.jsonl.gz",
    "auto-j pairwise": "preferences/autoj_pairwise_test.jsonl.gz",
    "DPO demo (English)": "preferences/dpo_en_demo.jsonl.gz",
    "GSM8K right or wrong": "preferences/gsm8k_solution_pairs.jsonl.gz",
    "XSTest": "preferences/xstest_pairs.jsonl.gz",
}
PARTS = ("held-out", "unseen", "validation")
UNSEEN_PAIRS = 200
UNSEEN_TOKENS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gold-mini")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    model = load_reward_model(arguments.model)
    measure = Lengths()
    if "held-out" in arguments.parts:
        on_held_out(model, read(arguments.pairs / "heldout.jsonl"))
    if "unseen" in arguments.parts:
        for name, file in UNSEEN.items():
            pairs = [pair for pair in read(arguments.data / file) if measure.total(pair) <= UNSEEN_TOKENS]
            row(name, evaluate_pairs(model, random.Random(0).sample(pairs, min(UNSEEN_PAIRS, len(pairs)))))
    if "validation" in arguments.parts:
        on_validation_prompts(model, measure)


def on_held_out(model: RewardModel, pairs: Sequence[PreferencePair]) -> None:
    """Accuracy on what was held out: by source, and together."""
    answers = [Example(list(pair.prompt), text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    scores, _ = model.score(answers)
    words = np.array([len(answer.completion.split()) for answer in answers])
    sources = np.array([pair.source for pair in pairs])

    def part(name: str, selected: np.ndarray) -> None:
        chosen, rejected = 2 * np.flatnonzero(selected), 2 * np.flatnonzero(selected) + 1
        row(name, measure_accuracy(scores[chosen], scores[rejected], words[chosen], words[rejected], sources[selected]))

    part("HH helpful", np.char.startswith(sources, "hh-"))
    part("HH helpful and OASST", ~np.char.startswith(sources, "made-"))
    part("made pairs", np.char.startswith(sources, "made-"))
    for source in sorted(set(sources)):
        part(source, sources == source)


def on_validation_prompts(model: RewardModel, measure: Lengths) -> None:
    """References against spoiled references and samples; and what the score of a sample owes to its length."""
    file = Path(__file__).parents[1] / "src/proxygold/data/builtin_prompts.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "validation"]
    prompts = [row["prompt"] for row in rows]
    references = [row["reference"] for row in rows]
    samples = sample_answers([[{"role": "user", "content": prompt}] for prompt in prompts] * 2, seed=1)

    def score(answers: Sequence[str]) -> np.ndarray:
        return model.score([Example(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])[0]

    good = score(references)
    spoiled: dict[str, Callable[[int], str]] = {
        "a sample of the start policy": lambda row: samples[row],
        "the next prompt's reference": lambda row: references[(row + 1) % len(rows)],
        "the reference three times": lambda row: " ".join([references[row]] * 3),
        "its first half": lambda row: references[row][: len(references[row]) // 2],
    }
    print(f"\n{len(rows)} built-in validation prompts: the reference scores above")
    for name, make in spoiled.items():
        print(f"- {name}: {np.mean(good > score([make(row) for row in range(len(rows))])):.1%}")
    scores = np.concatenate([score(samples[: len(rows)]), score(samples[len(rows) :])])
    lengths = np.array([measure(sample) for sample in samples])
    result = spearmanr(scores, lengths)
    print(f"\nSpearman of score and tokens, {len(samples)} samples: {result.statistic:.2f} (p {result.pvalue:.2g})")
    # The end of sequence is one more token, so a sample of all 64 did not end by itself.
    whole = lengths < 60
    result = spearmanr(scores[whole], lengths[whole])
    print(f"the {whole.sum()} under 60 tokens: {result.statistic:.2f} (p {result.pvalue:.2g})")
    print(f"scores of the samples: mean {scores.mean():.2f}, standard deviation {scores.std():.2f}")


def read(path: Path) -> list[PreferencePair]:
    return [pair for pair in read_preferences(path) if isinstance(pair, PreferencePair)]


def row(name: str, table: AccuracyTable) -> None:
    """A row of the card's table: pairs, n, accuracy, longer is better, accuracy where matched in length and its n."""

    def cell(accuracy: Accuracy) -> str:
        if not accuracy.n:
            return "none"
        return f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"

    cells = (name, table.overall.n, cell(table.overall), f"{table.longer_is_better.value:.1%}")
    print("| " + " | ".join(map(str, (*cells, cell(table.matched), table.matched.n))) + " |", flush=True)


if __name__ == "__main__":
    main()

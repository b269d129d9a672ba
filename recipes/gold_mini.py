"""How gold-mini was made. From the root of a checkout:

    python recipes/gold_mini.py --data DIR --out pairs
    proxygold train reward-model pairs/train.jsonl --held-out pairs/heldout.jsonl \\
        --chat-template recipes/gold_mini.jinja --out gold-mini-training
    python recipes/gold_mini_card.py --model gold-mini-training/model --data DIR --pairs pairs

The first builds the pairs (a minute or two, for the policy's samples), the second trains (an hour on one core that
multiplies bfloat16 natively), the third prints the numbers of the model card. What ships in `models/gold_mini` is
`gold-mini-training/model`.

DIR has the published files `hh_rlhf/helpful-{base,online,rejection-sampled}/*.jsonl.gz` (MIT; gold-mini had the test
split alone) and `preferences/oasst_en100.jsonl.gz` (comparisons from OASST's rankings, Apache-2.0). Nothing else that
others wrote is used: what is spoiled here is from these and from our own built-in train prompts.

What a reward model this small learns first is what it sees most cheaply: length and style. So
- human pairs are thinned until the longer answer wins half of them, in every bucket of length ratio;
- the pairs of our making are thinned in the same way, and the policy's own samples are a small part of them;
- a part of the prompts, chosen by their hash, is held out with everything made from them.
"""

from __future__ import annotations

import argparse
import glob
import gzip
import hashlib
import json
import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxygold.data.hh import parse_dialogue
from proxygold.data.preferences import PreferencePair, read_preferences
from proxygold.models.bundled import resolve_model
from proxygold.records import Message

SEED = 0
MAX_TOKENS = 256  # of prompt and answer: short pairs, since two cores train some 800 tokens a second
MAX_TOKENS_HELD_OUT = 512
HELD_OUT_SHARE = 0.15
SAMPLED_PROMPTS = 520
SAMPLE_TOKENS = 64
MADE_PER_KIND = {"cut": 320, "repeat": 170, "filler": 170, "other": 240, "policy": 280}

FILLER = (
    "I hope this helps you with what you were looking for.",
    "There are many things to consider when thinking about this topic.",
    "As I said before, this is an important point that is worth keeping in mind.",
    "It is important to note that every situation is different.",
    "Let me know if you have any other questions, and I will be happy to help.",
    "In conclusion, it really depends on a number of different factors.",
    "This is a very good question, and many people ask it.",
    "At the end of the day, the best choice is the one that is best for you.",
    "Of course, there is a lot more that could be said about this.",
    "With that being said, it is always good to do your own research.",
    "First of all, thank you for asking such an interesting question.",
    "Overall, this is something that people have different opinions about.",
    "It goes without saying that this matters a great deal.",
    "To put it another way, what I said above is what I wanted to say.",
    "Please feel free to ask me to explain any of this in more detail.",
    "All things considered, there are good sides and bad sides to everything.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with hh_rlhf/ and preferences/")
    parser.add_argument("--out", type=Path, required=True, help="directory for train.jsonl and heldout.jsonl")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    measure = Lengths()

    human = human_pairs(arguments.data)
    train = [pair for pair in human if not held_out(pair) and measure.total(pair) <= MAX_TOKENS]
    rest = [pair for pair in human if held_out(pair) and measure.total(pair) <= MAX_TOKENS_HELD_OUT]
    balanced = balance(train, rng)
    report("human, train, before balancing", train)
    report("human, train", balanced)
    report("human, held out (as it is)", rest)

    own = builtin_pairs()
    samples = sample_policy(balanced, rest, own, arguments.out / "policy_samples.jsonl", rng)
    made_train = make_pairs([*balanced, *own], samples, MADE_PER_KIND, measure, rng)
    fewer = {kind: number // 4 for kind, number in MADE_PER_KIND.items()}
    made_rest = make_pairs(rest, samples, fewer, measure, rng)
    report("made, train", made_train)
    report("made, held out", made_rest)

    everything = [*balanced, *made_train]
    rng.shuffle(everything)
    write(arguments.out / "train.jsonl", everything)
    write(arguments.out / "heldout.jsonl", [*rest, *made_rest])


# Reading


def human_pairs(data: Path) -> list[PreferencePair]:
    pairs = []
    for name in ("helpful-base", "helpful-online", "helpful-rejection-sampled"):
        for path in sorted(glob.glob(str(data / "hh_rlhf" / name / "*.jsonl.gz"))):
            found = [pair for pair in read_preferences(path) if isinstance(pair, PreferencePair)]
            pairs += [replace(pair, source=f"hh-{name}") for pair in found]
    for pair in read_preferences(data / "preferences" / "oasst_en100.jsonl.gz"):
        if isinstance(pair, PreferencePair):
            # This file has its prompts as one text, in HH's manner, ending with the assistant's name.
            text = "\n\n" + pair.prompt[0]["content"].removesuffix("Assistant:").strip()
            pairs.append(replace(pair, prompt=tuple(parse_dialogue(text)), source="oasst"))
    # Some comparisons are in the data twice, and not always with the same verdict: the first one counts.
    seen: dict[tuple[str, frozenset[str]], PreferencePair] = {}
    for pair in pairs:
        seen.setdefault((json.dumps(pair.prompt), frozenset((pair.chosen, pair.rejected))), pair)
    return list(seen.values())


def builtin_pairs() -> list[PreferencePair]:
    """Our own train prompts with their references, the rejected side still to be made. Never the validation
    prompts."""
    path = Path(__file__).parents[1] / "src/proxygold/data/builtin_prompts.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        PreferencePair(({"role": "user", "content": row["prompt"]},), row["reference"], "", "builtin")
        for row in rows
        if row["split"] == "train"
    ]


def held_out(pair: PreferencePair) -> bool:
    # By the first user turn: continuations of one dialogue stay on one side.
    digest = hashlib.sha256(pair.prompt[0]["content"].strip().lower().encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32 < HELD_OUT_SHARE


class Lengths:
    """Tokens as the reward model counts them."""

    def __init__(self) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"))

    def __call__(self, text: str) -> int:
        return len(self.tokenizer(text)["input_ids"])

    def total(self, pair: PreferencePair) -> int:
        prompt = sum(self(message["content"]) + 5 for message in pair.prompt)
        return prompt + 5 + max(self(pair.chosen), self(pair.rejected))


# Balancing


def bucket(pair: PreferencePair) -> int:
    ratio = abs(math.log2(len(pair.chosen) / len(pair.rejected)))
    return sum(ratio > edge for edge in (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3))


def balance(pairs: Iterable[PreferencePair], rng: random.Random) -> list[PreferencePair]:
    """As many pairs whose longer answer was chosen as rejected, in every bucket of length ratio."""
    sides: dict[tuple[int, bool], list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        if len(pair.chosen) != len(pair.rejected):
            sides[bucket(pair), len(pair.chosen) > len(pair.rejected)].append(pair)
    kept = []
    for number in sorted({number for number, _ in sides}):
        room = min(len(sides[number, True]), len(sides[number, False]))
        for longer in (True, False):
            kept += rng.sample(sides[number, longer], room)
    return kept


# Making


def sample_policy(
    train: Sequence[PreferencePair],
    rest: Sequence[PreferencePair],
    own: Sequence[PreferencePair],
    path: Path,
    rng: random.Random,
) -> dict[str, str]:
    """One sample of the start policy at temperature 1 for each of some prompts, kept in `path`: prompt
    (JSON) to answer."""
    if path.is_file():
        return {row["prompt"]: row["answer"] for row in map(json.loads, path.open(encoding="utf-8"))}
    prompts = {json.dumps(pair.prompt): pair.prompt for pair in own}
    single = [pair for pair in train if len(pair.prompt) == 1]
    held = [pair for pair in rest if len(pair.prompt) == 1]
    for group, number in ((single, SAMPLED_PROMPTS - 80 - len(prompts)), (held, 80)):
        for pair in rng.sample(group, min(max(number, 0), len(group))):
            prompts[json.dumps(pair.prompt)] = pair.prompt

    keys = sorted(prompts, key=len)
    answers = dict(zip(keys, sample_answers([list(prompts[key]) for key in keys], SEED), strict=True))
    answers = {key: answer for key, answer in answers.items() if answer}
    path.write_text("".join(json.dumps({"prompt": k, "answer": a}) + "\n" for k, a in answers.items()))
    return answers


def sample_answers(prompts: Sequence[list[Message]], seed: int) -> list[str]:
    """One sample of the start policy at temperature 1 for each prompt, of at most `SAMPLE_TOKENS` tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    directory = resolve_model("smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).eval()
    answers: list[str] = []
    for start in range(0, len(prompts), 32):
        inputs = tokenizer.apply_chat_template(
            list(prompts[start : start + 32]),
            add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True,
        )  # fmt: skip
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=SAMPLE_TOKENS, do_sample=True, temperature=1.0, top_k=0)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        answers += [text.strip() for text in texts]
        print(f"policy samples: {len(answers)} of {len(prompts)}", flush=True)
    return answers


def make_pairs(
    pairs: Sequence[PreferencePair],
    samples: dict[str, str],
    numbers: dict[str, int],
    measure: Lengths,
    rng: random.Random,
) -> list[PreferencePair]:
    """Pairs whose rejected side we spoiled, balanced in length like the human ones."""
    made = []
    for kind, number in numbers.items():
        found: list[PreferencePair] = []
        for pair in rng.sample(pairs, len(pairs)):
            rejected = spoil(kind, pair, pairs, samples, rng)
            if not rejected or rejected.strip() == pair.chosen.strip():
                continue
            candidate = replace(pair, rejected=rejected, source=f"made-{kind}")
            if measure.total(candidate) <= MAX_TOKENS:
                found.append(candidate)
            if len(found) == number:
                break
        made += found
    return balance(made, rng)


def spoil(
    kind: str, pair: PreferencePair, pairs: Sequence[PreferencePair], samples: dict[str, str], rng: random.Random
) -> str | None:
    """A worse answer than `pair.chosen` to the same prompt, or None when this kind cannot be made of it."""
    good = pair.chosen.strip()
    sentences = re.split(r"(?<=[.!?])\s+", good)
    words = good.split()
    if kind == "repeat":
        if rng.random() < 0.5:
            return " ".join([good] * rng.randint(2, 3))
        part = rng.choice(sentences)
        return " ".join([good] + [part] * rng.randint(2, 5))
    if kind == "filler":
        filler = rng.sample(FILLER, rng.randint(1, 4))
        before = rng.randint(0, len(filler)) if rng.random() < 0.3 else 0
        return " ".join([*filler[:before], good, *filler[before:]])
    if kind == "cut":
        if len(words) < 8:
            return None
        # As a limit on new tokens cuts: anywhere, in the middle of a word too.
        cut = good[: int(len(good) * rng.uniform(0.35, 0.85))].rstrip()
        return cut if cut[-1:] not in ".!?:" else cut[:-1]
    if kind == "other":
        other = min(
            (rng.choice(pairs) for _ in range(6)),
            key=lambda other: abs(len(other.chosen) - len(good) * (1.25 if rng.random() < 0.5 else 0.8)),
        )
        return other.chosen if other.prompt[0] != pair.prompt[0] else None
    if kind == "policy":
        return samples.get(json.dumps(pair.prompt))
    raise ValueError(kind)


# Writing


def report(title: str, pairs: Sequence[PreferencePair]) -> None:
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in pairs)
    counts: dict[str, int] = defaultdict(int)
    for pair in pairs:
        counts[pair.source] += 1
    print(f"{title}: {len(pairs)} pairs, the longer answer wins {longer / max(len(pairs), 1):.1%}; {dict(counts)}")


def write(path: Path, pairs: Sequence[PreferencePair]) -> None:
    lines = (
        json.dumps(
            {"prompt": list(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected, "source": pair.source},
            ensure_ascii=False,
        )
        for pair in pairs
    )
    with gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
    print(f"wrote {len(pairs)} pairs to {path}")


if __name__ == "__main__":
    main()

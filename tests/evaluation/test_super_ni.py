"""`proxygold eval super-ni`, from answers and from a real model, to its numbers and files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from typer.testing import CliRunner

from proxygold.cli.main import app
from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.answering import ModelSubject
from proxygold.evaluation.super_ni.benchmark import SuperNISettings
from proxygold.evaluation.super_ni.data import Instance, read_instances
from proxygold.evaluation.super_ni.scores import RougeL, exact_match, score_instances

REAL = Path(__file__).parents[2] / "../shared/data/superni/test_37_tasks.jsonl.gz"
TEXTS = (
    *("The cats sat down.", "the cat lay down here", "running RUNNERS ran", "", " \n", "?!", "a b c a b c", "b a"),
    *(
        "naïve café 100% of 3.5",
        "奥斯陆",
        "It's state-of-the-art; isn't it?",
        "the the the",
        "generalisations generalise",
    ),
)


def evaluate(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["eval", "super-ni", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def metrics(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(metric["name"], metric["group"]): metric for metric in result["metrics"]}


# --- scores -----------------------------------------------------------------------------------------------------------


def test_rouge_l_is_rouge_scores() -> None:
    ours, theirs = RougeL(), RougeScorer(["rougeL"], use_stemmer=True)
    for answer in TEXTS:
        expected = [theirs.score(reference, answer)["rougeL"].fmeasure for reference in TEXTS]
        assert ours.of_each(answer, TEXTS) == expected


def test_rouge_l_by_hand() -> None:
    # With stems: the, cat, down are in both, 3 of 4 words and 3 of 5. F = 2 * 0.75 * 0.6 / 1.35.
    assert RougeL().of_each("The cats sat down.", ["the cat lay down here", "the cats sat down"]) == pytest.approx(
        [2 / 3, 1]
    )


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("Yes.", ["yes"], True),
        (" not\n sure", ["no", "Not, sure!"], True),
        ("the yes", ["yes"], False),  # articles stay, unlike in SQuAD's
        ("a.b", ["ab"], True),
        ("", ["?"], True),
        ("“yes”", ["yes"], False),  # ASCII punctuation alone is taken away
    ],
)
def test_exact_match(answer: str, references: list[str], expected: bool) -> None:
    assert exact_match(answer, references) is expected


def test_an_instance_without_an_answer_has_no_score() -> None:
    instances = [Instance(str(i), "t", None, "d", "i", ("one two", "three four")) for i in range(3)]
    found = score_instances(instances, ["three four", None, ""])
    np.testing.assert_array_equal(found.rouge_l_first, [0, np.nan, 0])
    np.testing.assert_array_equal(found.rouge_l_best, [100, np.nan, 0])
    np.testing.assert_array_equal(found.exact_match, [100, np.nan, 0])


@pytest.mark.skipif(not REAL.exists(), reason="the data is not beside the repository")
def test_references_score_full_marks_on_the_real_rows() -> None:
    instances = read_instances(REAL).instances
    found = score_instances(instances, [one.references[-1] for one in instances])
    assert found.rouge_l_best.min() == found.exact_match.min() == 100
    single = np.array([len(one.references) == 1 for one in instances])
    assert found.rouge_l_first[single].min() == 100
    assert found.rouge_l_first[~single].mean() < 90


# --- the verb ---------------------------------------------------------------------------------------------------------

ROWS = [
    # ROUGE-L of these is told by hand below; no word is longer than three letters, so that stems change nothing.
    {"id": "a", "task": "task1557_x", "instruction": "Do.", "input": "1", "reference": ["a b c d", "x y"]},
    {"id": "b", "task": "task1557_x", "instruction": "Do.", "input": "2", "reference": ["a b", "c d"]},
    {"id": "c", "task": "task190_y", "instruction": "Say yes or no.", "input": "3", "reference": ["yes"]},
    {"id": "d", "task": "task190_y", "instruction": "Say yes or no.", "input": "4", "reference": ["no"]},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl", ROWS)


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[Path, Path]:
    """One in the original tool's form, one of rows with the task and the input, without an answer to d."""
    one = write(
        tmp_path / "one.jsonl",
        [{"id": name, "prediction": text} for name, text in {"a": "a b", "b": "c d", "c": "Yes!", "d": "yes"}.items()],
    )
    other = write(
        tmp_path / "other.jsonl",
        [
            {"task": row["task"], "input": row["input"], "output": text}
            for row, text in zip(ROWS, ("x y", "a b", "no", None), strict=True)
        ],
    )
    return one, other


def test_numbers_by_hand(data: Path, outputs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = evaluate("--data", data, "--outputs", outputs[0], "--outputs", outputs[1], "--out", out)
    found = results(out)
    one, other = (metrics(result) for result in found["models"])
    # a: a b of a b c d, P 1, R 1/2, F 2/3. b: the first reference has neither c nor d. c: yes. d: no word in common.
    assert one["rouge_l", ""]["value"] == pytest.approx(100 * (2 / 3 + 0 + 1 + 0) / 4)
    assert one["rouge_l_best", ""]["value"] == pytest.approx(100 * (2 / 3 + 1 + 1 + 0) / 4)
    assert one["exact_match", ""]["value"] == 50  # b by its second reference, c
    assert one["rouge_l", "category=Grammar Error Correction"]["value"] == pytest.approx(100 / 3)
    assert one["exact_match", "task=task190_y"]["value"] == 50
    assert one["rouge_l_mean_of_tasks", ""]["value"] == pytest.approx((100 / 3 + 50) / 2)
    # other: x y is the second reference of a; a b; no; and no answer to d, which is counted and not 0.
    assert (other["rouge_l", ""]["value"], other["rouge_l", ""]["n_scored"]) == (pytest.approx(100 / 3), 3)
    assert other["rouge_l", ""]["n_total"] == 4
    assert found["models"][1]["left_out"] == {"without an answer in the file": 1}
    assert any("rouge_l is 25.00 with the 1 that have no answer counted as empty" in note for note in found["notes"])
    # Of a category the terminal shows what the original tool reports of it.
    assert one["exact_match", "category=Textual Entailment"]["headline"]
    assert not one["rouge_l", "category=Textual Entailment"]["headline"]
    assert "other\tone\t\trouge_l\t-22.2222" in printed  # on a, b and c: (0 + 100 + 0 - 66.7 - 0 - 100) / 3
    assert found["settings"]["references"] == "first"
    evaluate("--data", data, "--outputs", outputs[1], "--out", out, "--strict", code=2)


def test_the_official_protocol_takes_the_best_reference(data: Path, outputs: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("--data", data, "--outputs", outputs[0], "--protocol", "official", "--out", tmp_path / "out")
    evaluate(*arguments)
    found = metrics(results(tmp_path / "out")["models"][0])
    assert found["rouge_l", ""]["value"] == pytest.approx(100 * (2 / 3 + 1 + 1 + 0) / 4)
    assert found["rouge_l_first", ""]["value"] == pytest.approx(100 * (2 / 3 + 0 + 1 + 0) / 4)


def test_files_are_those_of_the_original_tool(data: Path, outputs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate("--data", data, "--protocol", "official", "--outputs", f"m={outputs[0]}", "--out", out)
    references = {row["id"]: row for row in lines(out / "references.jsonl")}
    predictions = {row["id"]: row["prediction"] for row in lines(out / "m" / "predictions.jsonl")}
    assert references["c"] == {
        "id": "c",
        "references": ["yes"],
        "task_id": "task190_y",
        "task_category": "Textual Entailment",
        "track": "default",
    }
    # What its script does: the best of the references, the mean over instances.
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    best = [
        max(scorer.score(text, predictions[name])["rougeL"].fmeasure for text in row["references"])
        for name, row in references.items()
    ]
    found = metrics(results(out)["models"][0])
    assert found["rouge_l", ""]["value"] == pytest.approx(100 * sum(best) / len(best))
    # The reference file is data enough for answers that exist already, and gives the same.
    again = tmp_path / "again"
    arguments = ("--outputs", out / "m" / "predictions.jsonl", "--protocol", "official", "--out", again)
    evaluate("--data", out / "references.jsonl", *arguments)
    assert metrics(results(again)["models"][0]) == found
    each = {row["id"]: row for row in lines(out / "m" / "scores.jsonl")}
    assert each["b"]["rouge_l_first"] == 0
    assert each["b"]["rouge_l_best"] == each["b"]["exact_match"] == 100
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} >= {"", "task=task190_y", "category=Textual Entailment"}


def test_a_model_is_asked_once(
    data: Path, tmp_path: Path, tiny_llama: Any, word_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    tiny_llama().save_pretrained(model)
    word_tokenizer.save_pretrained(model)
    arguments = ["--data", data, "--model", f"tiny={model}", "--max-new-tokens", 4, "--out", out]
    arguments += ["--dtype", "float32", "--template", "none"]
    evaluate(*arguments, "--per-task", 1)
    answers = lines(out / "tiny" / "answers.jsonl")
    assert {row["id"]: row["prompt"] for row in answers} == {"a": "Do.\n\n1", "c": "Say yes or no.\n\n3"}
    assert {row["sampling"]["temperature"] for row in answers} == {0}
    evaluate(*arguments)
    assert [row["id"] for row in lines(out / "tiny" / "answers.jsonl")][:2] == [row["id"] for row in answers]
    before = results(out)["models"]
    assert metrics(before[0])["rouge_l", ""]["n_scored"] == 4

    def refuse(subject: ModelSubject) -> None:
        raise AssertionError("everything was answered")

    monkeypatch.setattr(ModelSubject, "load_engine", refuse)
    evaluate(*arguments)
    assert results(out)["models"] == before
    # Another protocol asks other questions: its answers are not mixed with these.
    done = CliRunner().invoke(app, ["eval", "super-ni", *map(str, arguments), "--protocol", "official"])
    assert "another prompt" in str(done.exception)


def test_errors_say_what_to_do(data: Path, outputs: tuple[Path, Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="--examples is 2, and the paper's prompt has none. Add --protocol official"):
        evaluate("--data", data, "--outputs", outputs[0], "--examples", 2, *out)
    with pytest.raises(ConfigError, match="--protocol is 'mine'; allowed: paper, official"):
        SuperNISettings(data, protocol="mine")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--baseline is 'x', which is not evaluated here. Give one of one"):
        evaluate("--data", data, "--outputs", outputs[0], "--baseline", "x", *out)
    strange = write(tmp_path / "strange.jsonl", [{"question": "?", "output": "!"}])
    with pytest.raises(DataError, match="no row of .*strange.jsonl belongs to an item.*by id, or by task and input"):
        evaluate("--data", data, "--outputs", strange, *out)
    twice = write(tmp_path / "twice.jsonl", [{"id": "a", "output": "x"}, {"id": "a", "output": "y"}])
    with pytest.raises(DataError, match="has 2 rows for 'a', whose answers differ. Keep one answer to each"):
        evaluate("--data", data, "--outputs", twice, *out)


def test_rejected_rows_are_told_and_strict_refuses_them(
    data: Path, outputs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with data.open("a") as file:
        file.write(json.dumps({"task": "t", "input": "?"}) + "\n")
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["eval", "super-ni", "--data", str(data), "--outputs", str(outputs[0]), "--out", str(out)]
    )
    assert done.exit_code == 0
    assert results(out)["rejected"] == [
        f"{data}:5: no reference: none of reference, references, output, outputs, targets is a text or a list of texts"
    ]
    assert "rows of the data that could not be used: 1" in done.output + capsys.readouterr().err
    evaluate("--data", data, "--outputs", outputs[0], "--out", out, "--strict", code=2)

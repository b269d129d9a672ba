"""`proxygold eval toxigen`: its prompts, a real classifier, and numbers and files from answers and from a real model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, pipeline
from typer.testing import CliRunner

from proxygold.cli.main import app
from proxygold.errors import ConfigError, DataError, ModelError
from proxygold.evaluation.answers.answering import ModelSubject
from proxygold.evaluation.toxigen.benchmark import ToxiGenSettings
from proxygold.evaluation.toxigen.data import ToxiGenPrompt, read_toxigen
from proxygold.evaluation.toxigen.scores import load_toxicity_classifier
from proxygold.models.bundled import bundled_encoder_path
from proxygold.models.text_classifier import TextClassifier

REAL = Path(__file__).parents[2] / "../shared/data/safety/toxigen_prompts.jsonl.gz"
TEXTS = ("You are kind.", "I like green tea and the sea", "No!", "", "word " * 80, "They sing well in the morning")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a random classifier whose weights are large, so that texts differ in their label."""

    def saved(labels: tuple[str, ...] = ("LABEL_0", "LABEL_1"), **changes: Any) -> Path:
        torch.manual_seed(0)
        directory = tmp_path_factory.mktemp("classifier")
        tokenizer = AutoTokenizer.from_pretrained(bundled_encoder_path(), model_max_length=64)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=1.0,
            id2label=dict(enumerate(labels)),
            **changes,
        )
        BertForSequenceClassification(config).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return directory

    return saved


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def evaluate(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["eval", "toxigen", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def metrics(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(metric["name"], metric["group"]): metric for metric in result["metrics"]}


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_the_published_files(tmp_path: Path) -> None:
    (tmp_path / "hate_tall_1k.txt").write_text('- one\\n- two\\n-\n\n - say \\\\"x\\\\"\\n- \n')
    (tmp_path / "neutral_tall_1k.txt").write_text("- nice\\n-")
    (tmp_path / "hate_left_handed.txt").write_text("- a\\n-\n- b\\n-\n- c\\n-\n")
    (tmp_path / "notes.txt").write_text("not a prompt")
    found = read_toxigen(tmp_path).prompts
    assert [one.id for one in found] == [f"hate/left_handed/{line}" for line in (1, 2, 3)] + [
        "hate/tall/1",
        "hate/tall/3",
    ]
    assert found[3:] == [
        ToxiGenPrompt("hate/tall/1", "- one\n- two\n-", "tall", "hate"),
        ToxiGenPrompt("hate/tall/3", '- say \\"x\\"\n-', "tall", "hate"),
    ]
    assert [one.id for one in read_toxigen(tmp_path, label="neutral").prompts] == ["neutral/tall/1"]
    assert Counter(one.label for one in read_toxigen(tmp_path, label="all").prompts) == {"hate": 5, "neutral": 1}
    assert len(read_toxigen(tmp_path / "hate_tall_1k.txt").prompts) == 2


def test_the_choice_of_a_group_is_its_own(tmp_path: Path) -> None:
    rows = [{"prompt": f"- {group} {i}", "group": group, "label": "hate"} for i in range(30) for group in ("a", "b")]
    both = read_toxigen(write(tmp_path / "both.jsonl", rows), per_group=4).prompts
    alone = read_toxigen(write(tmp_path / "a.jsonl", [row for row in rows if row["group"] == "a"]), per_group=4).prompts
    assert Counter(one.group for one in both) == {"a": 4, "b": 4}
    assert [one for one in both if one.group == "a"] == alone
    other = read_toxigen(tmp_path / "a.jsonl", per_group=4, seed=1).prompts
    assert {one.id for one in other} != {one.id for one in alone}
    assert [int(one.id.split("/")[2]) for one in both] == sorted(int(one.id.split("/")[2]) for one in both)
    assert len(read_toxigen(tmp_path / "both.jsonl", per_group=4, limit=3).prompts) == 3


def test_bad_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    good = {"text": "- x\n-", "target_groups": ["a"], "label": "hate"}
    file = write(tmp_path / "rows.jsonl", [good, good | {"label": "rude"}, {"prompt": "-"}, good | {"id": "hate/a/1"}])
    found = read_toxigen(file)
    assert [one.id for one in found.prompts] == ["hate/a/1"]
    assert [(row.line, row.reason) for row in found.rejected] == [
        (2, "label is 'rude'; allowed: hate, neutral"),
        (3, "prompt, group and label are needed, each a text"),
        (4, "the id 'hate/a/1' was there before"),
    ]
    with pytest.raises(DataError, match="has no prompt labelled neutral. The first problem: .*:2: label is 'rude'"):
        read_toxigen(file, label="neutral")
    with pytest.raises(ConfigError, match="--label is 'rude'; allowed: hate, neutral, all"):
        read_toxigen(file, label="rude")
    with pytest.raises(DataError, match="has no hate_GROUP_1k.txt or neutral_GROUP_1k.txt. Give ToxiGen's prompts"):
        read_toxigen(tmp_path)
    (tmp_path / "prompts.txt").write_text("- x")
    with pytest.raises(DataError, match="prompts.txt does not say its label and group"):
        read_toxigen(tmp_path / "prompts.txt")


@pytest.mark.skipif(not REAL.exists(), reason="the data is not beside the repository")
def test_the_real_prompts() -> None:
    hate, both = read_toxigen(REAL), read_toxigen(REAL, label="all")
    assert (len(hate.prompts), len({one.group for one in hate.prompts}), hate.rejected) == (1_600, 16, [])
    assert len(both.prompts) == 3_100
    assert Counter(one.group for one in read_toxigen(REAL, per_group=7).prompts).most_common()[-1][1] == 7


# --- the classifier ---------------------------------------------------------------------------------------------------


def by_pipeline(directory: Path, label: str = "LABEL_1") -> tuple[list[float], list[int]]:
    """The label's probability and whether it is the likeliest, by transformers' own code."""
    classify = pipeline("text-classification", str(directory), top_k=None, device="cpu", dtype=torch.float32)
    found = [classify([text], truncation=True, max_length=64)[0] for text in TEXTS]
    return (
        [next(one["score"] for one in each if one["label"] == label) for each in found],
        [int(max(each, key=lambda one: one["score"])["label"] == label) for each in found],
    )


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("calm", "toxic", "other")])
def test_toxic_is_the_likeliest_label(classifier: Callable[..., Path], labels: tuple[str, ...], tmp_path: Path) -> None:
    directory = classifier(labels)
    probability, toxic = by_pipeline(directory, labels[1])
    assert set(toxic) == {0, 1}  # the texts differ, so the test can tell
    done: list[int] = []
    found = load_toxicity_classifier(str(directory)).score(TEXTS, tmp_path / "t.jsonl", progress=done.append)
    np.testing.assert_allclose(found.probability, probability, atol=1e-5)
    np.testing.assert_array_equal(found.toxic, toxic)
    assert sum(done) == len(TEXTS)


def test_labels_that_do_not_exclude_each_other(classifier: Callable[..., Path], tmp_path: Path) -> None:
    directory = classifier(("insult", "toxicity"), problem_type="multi_label_classification")
    found = load_toxicity_classifier(str(directory)).score(TEXTS, tmp_path / "t.jsonl")
    np.testing.assert_array_equal(found.toxic, found.probability > 0.5)
    named = load_toxicity_classifier(str(directory), "insult").score(TEXTS, tmp_path / "t.jsonl")
    assert not np.allclose(named.probability, found.probability)  # one file holds both, apart
    assert len(lines(tmp_path / "t.jsonl")) == 2 * len(TEXTS)
    with pytest.raises(ModelError, match="has no label 'rude'. Its labels are 0 .insult., 1 .toxicity."):
        load_toxicity_classifier(str(directory), "rude")


def test_a_text_is_classified_once_whatever_stops_it(
    classifier: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxygold.evaluation.toxigen import scores as toxicity_scores

    scorer = load_toxicity_classifier(str(classifier()))
    texts = [f"text number {i % 20}" for i in range(25)]
    whole = scorer.score(texts, tmp_path / "whole.jsonl")
    monkeypatch.setattr(toxicity_scores, "_CHUNK", 4)
    asked: list[str] = []
    compute = TextClassifier.probabilities

    def stop_in_the_third(self: TextClassifier, texts: list[str]) -> Any:
        if len(asked) == 8:
            raise KeyboardInterrupt
        asked.extend(texts)
        return compute(self, texts)

    file = tmp_path / "t.jsonl"
    with monkeypatch.context() as stopping:
        stopping.setattr(TextClassifier, "probabilities", stop_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            scorer.score(texts, file)
    assert len(lines(file)) == 8
    with file.open("a") as cut:
        cut.write('{"key": "half of a li')  # as a killed process leaves it

    def go_on(self: TextClassifier, texts: list[str]) -> Any:
        asked.extend(texts)
        return compute(self, texts)

    monkeypatch.setattr(TextClassifier, "probabilities", go_on)
    found = scorer.score([*texts, None], file)
    np.testing.assert_array_equal(found.probability[:-1], whole.probability)
    assert np.isnan(found.toxic[-1])
    assert Counter(asked) == dict.fromkeys(set(texts), 1)


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"prompt": f"- p{i}\n-", "group": "ab"[i % 2], "label": "hate"} for i in range(len(TEXTS))]
    return write(tmp_path / "data.jsonl", rows)


def test_numbers_and_files_are_open_instructs(data: Path, classifier: Callable[..., Path], tmp_path: Path) -> None:
    directory, out = classifier(), tmp_path / "out"
    probability, toxic = by_pipeline(directory)
    # As open-instruct writes them, without the last.
    given = [{"text": f"- p{i}\n-", "prediction": text} for i, text in enumerate(TEXTS[:-1])]
    kind = write(
        tmp_path / "kind.jsonl", [{"id": f"hate/{'ab'[i % 2]}/{i // 2 + 1}", "output": TEXTS[0]} for i in range(6)]
    )
    outputs = ("--outputs", write(tmp_path / "m.jsonl", given), "--outputs", kind)
    printed = evaluate("--data", data, "--classifier", directory, *outputs, "--out", out)
    found = results(out)
    values = metrics(found["models"][0])
    assert values["percent_toxic", ""]["value"] == pytest.approx(100 * np.mean(toxic[:5]))
    assert (values["percent_toxic", ""]["n_scored"], values["percent_toxic", ""]["n_total"]) == (5, 6)
    assert values["percent_toxic", "group=a"]["value"] == pytest.approx(100 * np.mean(toxic[0:5:2]))
    assert values["percent_toxic", "group=b"]["value"] == pytest.approx(100 * np.mean(toxic[1:5:2]))
    assert values["mean_toxicity", ""]["value"] == pytest.approx(np.mean(probability[:5]), abs=1e-5)
    assert values["percent_empty", ""]["value"] == 20  # one of five, scored as the classifier scores the empty text
    assert found["models"][0]["left_out"] == {"without an answer in the file": 1}
    assert found["settings"]["toxic_label"] == "LABEL_1"
    kinder = metrics(found["models"][1])["percent_toxic", ""]["value"]
    assert kinder == 100 * toxic[0]
    difference = found["differences"][0]
    assert (difference["model"], difference["baseline"], difference["n"]) == ("kind", "m", 5)
    assert difference["value"] == pytest.approx(kinder - 100 * np.mean(toxic[:5]))
    assert "m\t\tgroup=a\tpercent_toxic" in printed
    written = lines(out / "m" / "predictions.jsonl")
    assert [row["is_toxic"] for row in written] == toxic[:5]
    assert written[0] | {"toxicity": 0} == {
        "text": "- p0\n-",
        "label": "hate",
        "target_groups": ["a"],
        "prediction": TEXTS[0],
        "is_toxic": toxic[0],
        "id": "hate/a/1",
        "toxicity": 0,
    }
    shares = json.loads((out / "m" / "metrics.json").read_text())
    assert shares == pytest.approx(
        {"a": np.mean(toxic[0:5:2]), "b": np.mean(toxic[1:5:2]), "overall": np.mean(toxic[:5])}
    )
    # Its own file of predictions gives the same again.
    arguments = ("--outputs", out / "m" / "predictions.jsonl", "--out", tmp_path / "again")
    evaluate("--data", data, "--classifier", directory, *arguments)
    assert metrics(results(tmp_path / "again")["models"][0]) == values


def test_a_model_goes_on_with_lists(
    data: Path,
    classifier: Callable[..., Path],
    tiny_llama: Any,
    word_tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    tiny_llama().save_pretrained(model)
    word_tokenizer.save_pretrained(model)
    arguments = ["--data", data, "--model", f"tiny={model}", "--classifier", classifier(), "--out", out]
    arguments += ["--dtype", "float32", "--template", "none", "--max-new-tokens", 4]
    evaluate(*arguments)
    assert {row["prompt"] for row in lines(out / "tiny" / "answers.jsonl")} == {
        f"Complete the following: - p{i}\n-" for i in range(6)
    }
    assert metrics(results(out)["models"][0])["percent_toxic", ""]["n_scored"] == 6
    before = results(out)["models"]

    def refuse(*_: object) -> None:
        raise AssertionError("everything was answered and classified")

    monkeypatch.setattr(ModelSubject, "load_engine", refuse)
    monkeypatch.setattr(TextClassifier, "probabilities", refuse)
    evaluate(*arguments)
    assert results(out)["models"] == before


def test_a_list_that_is_gone_on_with_ends_with_its_line(
    data: Path, classifier: Callable[..., Path], tmp_path: Path
) -> None:
    texts = ["nice people\n- and more", "\n- nothing on the first line", "kind"]
    given = [{"id": f"hate/{'ab'[i % 2]}/{i // 2 + 1}", "output": text} for i, text in enumerate(texts)]
    arguments = ("--data", data, "--classifier", classifier(), "--outputs", write(tmp_path / "m.jsonl", given))
    evaluate(*arguments, "--form", "continue", "--limit", 3, "--out", tmp_path / "out")
    assert [row["prediction"] for row in lines(tmp_path / "out" / "m" / "predictions.jsonl")] == [
        "nice people",
        "",
        "kind",
    ]


def test_both_labels_are_told_apart(classifier: Callable[..., Path], tmp_path: Path) -> None:
    rows = [
        {"prompt": "- p\n-", "group": group, "label": label, "output": text}
        for group, label, text in (("a", "hate", TEXTS[0]), ("a", "neutral", TEXTS[1]), ("b", "hate", TEXTS[2]))
    ]
    file = write(tmp_path / "rows.jsonl", rows)
    evaluate(
        *("--data", file, "--outputs", file, "--label", "all"),
        *("--classifier", classifier(), "--out", tmp_path / "out"),
    )
    found = results(tmp_path / "out")
    groups = {group for name, group in metrics(found["models"][0]) if name == "percent_toxic"}
    assert groups == {"", "label=hate", "label=neutral", "group=a, hate", "group=a, neutral", "group=b, hate"}
    # One prompt three times over: the rows are told apart by group and label.
    assert [row["prediction"] for row in lines(tmp_path / "out" / "rows" / "predictions.jsonl")] == list(TEXTS[:3])
    assert "2 prompts are in the data more than once, and count as often." in found["notes"]


def test_errors_come_before_any_work(data: Path, classifier: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--form is 'chat'; allowed: instruct, continue"):
        ToxiGenSettings(data, form="chat")  # type: ignore[arg-type]
    given = write(tmp_path / "m.jsonl", [{"id": "hate/a/1", "output": "x"}])
    arguments = ("--data", data, "--outputs", given, "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="--baseline is 'x', which is not evaluated here. Give one of m"):
        evaluate(*arguments, "--baseline", "x")
    unnamed = classifier(("nothate", "hate"))
    with pytest.raises(ModelError, match="no label called toxic or toxicity, so --toxic-label must say which"):
        evaluate(*arguments, "--classifier", unnamed)
    evaluate(*arguments, "--classifier", unnamed, "--toxic-label", "1")
    assert results(tmp_path / "out")["settings"]["toxic_label"] == "hate"

"""`eval responses`: real files, a real small model, a made-up run, and a judge behind a server on loopback."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from proxygold.cli.main import app
from proxygold.errors import ConfigError, StoreError
from proxygold.evaluation.answers.outputs import read_outputs
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.responses.gold_by_type import gold_figures
from proxygold.evaluation.responses.run_answers import run_outputs
from proxygold.evaluation.results import Evaluation, Metric
from proxygold.models.encoder import EncoderSettings
from proxygold.store import RunDirectory

Start = Callable[[Callable[[str, int], Any]], Any]

ASKED = {
    "Name a warm color.": "open_ended",
    "What is 2 + 2?": "closed_ended",
    "Write a word.": "open_ended",
    "What is 9 / 3?": "CONSTRAINED",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")


@pytest.fixture
def terse(tmp_path: Path) -> Path:
    """Two good answers, an empty one, and none to the last prompt."""
    return answers(tmp_path / "terse.jsonl", "Red. Mind the dog.", "4.", "")


@pytest.fixture
def wordy(tmp_path: Path) -> Path:
    return answers(tmp_path / "wordy.jsonl", "Red. It is a color.", "It is 4. A dog ran.", "Word!", "A dog.")


def answers(file: Path, *texts: str) -> Path:
    """A file of answers to the first prompts, each counted as ten tokens; the first ended by itself."""
    rows = [
        {"prompt": prompt, "completion": text, "query_type": kind, "tokens": 10, "finished": place == 0}
        for place, ((prompt, kind), text) in enumerate(zip(ASKED.items(), texts, strict=False))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def prompts(file: Path) -> Path:
    rows = [{"prompt": prompt, "query_type": kind} for prompt, kind in ASKED.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def evaluate(*arguments: object, fails: bool = False) -> Result:
    done = CliRunner().invoke(
        app, ["eval", "responses", *map(str, arguments)], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert fails or done.exit_code == 0, done.output
    return done


def metrics(out: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    results = json.loads((out / "results.json").read_text())
    return {
        (model["model"], metric["name"], metric["group"]): metric
        for model in results["models"]
        for metric in model["metrics"]
    }


def no_dogs(chat: Any) -> Callable[[str, int], Any]:
    """A judge to whom whatever has a dog in it is irrelevant."""

    def judge(text: str, attempt: int) -> Any:
        listed = re.findall(r"^(\d+)\. (.*)$", text.partition("---------- answer")[2], re.MULTILINE)
        marks = [f"{number}: {'ir' * ('dog' in sentence)}relevant" for number, sentence in listed]
        return chat.completion("\n".join(marks))

    return judge


def test_values_by_hand(chat: Any, chat_server: Start, tmp_path: Path, terse: Path, wordy: Path) -> None:
    server = chat_server(no_dogs(chat))
    out = tmp_path / "out"
    arguments = ["--outputs", terse, "--outputs", wordy, "--prompts", prompts(tmp_path / "p.jsonl"), "--out", out]
    arguments += ["--encoder", "none", "--judge", "tester", "--base-url", server.url, "--cache", tmp_path / "c.sqlite"]

    told = evaluate(*arguments, "--dry-run")
    assert "2 questions, 2 different, 0 answered before: 2 requests to tester" in told.stdout
    assert "4 questions, 4 different, 0 answered before: 4 requests to tester" in told.stdout
    assert not server.texts
    assert not (out / "results.json").exists()

    evaluate(*arguments, "--baseline", "terse")
    found = metrics(out)
    # Terse: half of "Red. Mind the dog.", all of "4.": (50 + 100) / 2.
    relevant = found["terse", "relevant_by_judge", ""]
    assert (relevant["value"], relevant["n_scored"], relevant["n_total"]) == (75.0, 2, 4)
    # Wordy: 100, 50, 100, 0. By type: (100 + 100) / 2 and (50 + 0) / 2.
    assert found["wordy", "relevant_by_judge", ""]["value"] == 62.5
    assert found["wordy", "relevant_by_judge", "query_type=open_ended"]["value"] == 100.0
    assert found["wordy", "relevant_by_judge", "query_type=closed_ended"]["value"] == 25.0
    # Words of the terse: Red . Mind the dog . | 4 . | none: (6 + 2 + 0) / 3.
    assert found["terse", "words", ""]["value"] == pytest.approx(8 / 3)
    assert found["terse", "tokens", ""]["value"] == 10.0
    assert found["terse", "ended", ""]["value"] == pytest.approx(100 / 3)
    assert found["wordy", "ended", "query_type=closed_ended"]["value"] == 0.0
    results = json.loads((out / "results.json").read_text())
    assert results["models"][0]["left_out"] == {"no answer in the file": 1, "without a sentence": 1}
    # On the two that both have: 100 - 50 and 50 - 100.
    [difference] = [item for item in results["differences"] if item["name"] == "relevant_by_judge"]
    assert (difference["model"], difference["baseline"], difference["value"], difference["n"]) == (
        "wordy",
        "terse",
        0,
        2,
    )
    assert results["settings"]["judge"]["snapshots"] == ["tester-2026-01-01"]
    assert re.fullmatch("[0-9a-f]{16}", results["settings"]["judge_prompt"])
    rows = [json.loads(line) for line in (out / "terse" / "responses.jsonl").read_text().splitlines()]
    assert [row["relevant_by_judge"] for row in rows] == [50.0, 100.0, None, None]
    assert [row["reason"] for row in rows] == [None, None, None, "no answer in the file"]
    assert "gold" not in {name for _, name, _ in found}

    # The same from its own verdicts, without a server.
    server.close()
    again = tmp_path / "again"
    evaluate(*arguments[:2], *arguments[4:6], "--encoder", "none", "--out", again)
    assert ("terse", "relevant_by_judge", "") not in metrics(again)
    evaluate(
        *(*arguments[:2], *arguments[4:6], "--encoder", "none", "--out", again),
        *("--judge", f"replay:{out / 'terse' / 'verdicts.jsonl'}"),
    )
    assert metrics(again)["terse", "relevant_by_judge", ""] == relevant


def test_what_is_not_judged_is_bounded(chat: Any, chat_server: Start, tmp_path: Path, wordy: Path) -> None:
    def judge(text: str, attempt: int) -> Any:
        if "Word!" in text:
            return chat.completion("1: relevant\n2: relevant")
        return chat.completion(None, refusal="no") if "It is 4." in text else no_dogs(chat)(text, attempt)

    server = chat_server(judge)
    done = evaluate(
        *("--outputs", wordy, "--out", tmp_path / "out", "--encoder", "none", "--judge", "tester"),
        *("--base-url", server.url, "--cache", tmp_path / "c.sqlite"),
    )
    relevant = metrics(tmp_path / "out")["wordy", "relevant_by_judge", ""]
    assert (relevant["value"], relevant["n_scored"], relevant["n_total"]) == (50.0, 2, 4)
    assert "wordy: not scored: 1 not judged: refusal, 1 not judged: unparseable answer" in done.stderr
    # Judged are 100 and 0: (100 + 0 + 0 + 0) / 4, and with both others at 100 three quarters.
    assert "2 of 4 answers are not judged; relevant sentences are 25.0% if none of theirs is relevant, 75.0% if" in (
        done.stderr.replace("\n", " ")
    )


def test_gold_and_sentences_by_the_encoder(
    tmp_path: Path, tiny_models: tuple[Path, Path], terse: Path, wordy: Path
) -> None:
    from proxygold import Example, reward
    from proxygold.models.reward_models import load_reward_model

    out = tmp_path / "out"
    arguments = ["--outputs", terse, "--outputs", wordy, "--out", out, "--gold", tiny_models[1], "gold.device=cpu"]
    done = evaluate(*arguments, "gold.dtype=float32", "--threshold", "0.2")
    found = metrics(out)
    kept = [json.loads(line) for line in wordy.read_text().splitlines()]
    examples = [Example(prompt=row["prompt"], completion=row["completion"]) for row in kept]
    gold, _ = load_reward_model(str(tiny_models[1]), device="cpu", dtype="float32").score(examples)
    assert found["wordy", "gold", ""]["value"] == pytest.approx(gold.mean(), abs=1e-5)
    assert found["wordy", "gold", "query_type=closed_ended"]["value"] == pytest.approx(gold[[1, 3]].mean(), abs=1e-5)
    # By the feature of the same name.
    shares = 100 * reward("relevant_sentences(threshold=0.2)", encoder=EncoderSettings().model).score(examples).total
    assert found["wordy", "relevant_by_encoder", ""]["value"] == pytest.approx(shares.mean())
    assert found["terse", "relevant_by_encoder", ""]["n_scored"] == 2  # the feature gives the empty answer 0
    page = (out / "gold_by_query_type.html").read_text()
    assert "closed-ended" in page
    assert "terse" in page
    assert f"figure  {out / 'gold_by_query_type.html'}" in done.stdout


def test_a_model_answers_and_the_same_command_goes_on(tmp_path: Path, tiny_models: tuple[Path, Path]) -> None:
    out = tmp_path / "out"
    asked = prompts(tmp_path / "p.jsonl")
    arguments = ["--model", f"tiny={tiny_models[0]}", "--prompts", asked, "--max-new-tokens", 6, "--out", out]
    arguments += ["--encoder", "none", "--engine", "transformers"]
    evaluate(*arguments)
    found = metrics(out)
    written = (out / "tiny" / "answers.jsonl").read_bytes()
    rows = [json.loads(line) for line in written.splitlines()]
    assert found["tiny", "tokens", ""]["value"] == np.mean([row["tokens"] for row in rows])
    assert found["tiny", "ended", ""]["value"] == 100 * np.mean([row["finished"] for row in rows])
    assert found["tiny", "words", "query_type=closed_ended"]["n_total"] == 2
    evaluate(*arguments)
    assert (out / "tiny" / "answers.jsonl").read_bytes() == written
    assert metrics(out) == found


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = Path(__file__).parents[1] / "report" / "synthetic_run.py"
    spec = importlib.util.spec_from_file_location("synthetic_run_of_responses", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.write_run(tmp_path_factory.mktemp("runs") / "made-up", seeds=(0,), steps=(0, 20, 40))
    assert isinstance(made, RunDirectory)
    return made


def test_a_run_brings_its_answers_and_its_gold(run: RunDirectory) -> None:
    done = evaluate("--run", run.path, "--encoder", "none", "--steps", "all")
    out = run.evaluation("responses")
    found = metrics(out)
    table = run.arm("RER", 0).read_scores(40)
    gold, types = np.array(table["gold"]), np.array(table["query_type"].to_pylist())
    assert found["RER/seed-0/step-40", "gold", ""]["value"] == pytest.approx(gold.mean())
    closed = found["RER/seed-0/step-40", "gold", "query_type=closed_ended"]
    assert closed["value"] == pytest.approx(gold[types == "closed_ended"].mean())
    assert closed["n_total"] == 32
    assert "Note: more than 6 models are compared only with a --baseline." in done.stderr
    assert json.loads((out / "results.json").read_text())["differences"] == []
    page = (out / "gold_by_query_type.html").read_text()
    assert "Gold by training step and query type" in page
    # Prompts with markup in them go nowhere near the page.
    assert "hacked" not in page
    assert str(out / "results.json") in done.stdout


def test_the_steps_of_a_run(run: RunDirectory, tmp_path: Path) -> None:
    assert [given.name for given in run_outputs(run)] == [
        "LI/seed-0/step-40",
        "LI_RP/seed-0/step-40",
        "RER/seed-0/step-40",
    ]
    assert len(run_outputs(run, "0,20")) == 6
    with pytest.raises(ConfigError, match="has no answers at step 30. It has them at 0, 20, 40"):
        run_outputs(run, "30")
    with pytest.raises(ConfigError, match="--steps is 'first'. Give last, all, or numbers"):
        run_outputs(run, "first")
    with pytest.raises(StoreError, match="is not a run"):
        run_outputs(RunDirectory(tmp_path))
    (tmp_path / "study.yaml").write_text("rewards: {LI: LI}\nseeds: [0]\n")
    with pytest.raises(StoreError, match="has no answers of checkpoints yet"):
        run_outputs(RunDirectory(tmp_path))


# --- the figure -------------------------------------------------------------------------------------------------------


def gold(open_ended: float, closed_ended: float) -> list[Metric]:
    return [
        Metric("gold", value, 10, 10, f"query_type={kind}", value - 0.5, value + 0.25)
        for kind, value in (("closed_ended", closed_ended), ("open_ended", open_ended))
    ]


def test_bars_of_models() -> None:
    [item] = gold_figures({"sft": gold(1.0, 2.0), "RER": gold(3.0, 4.0)})
    first, second = item.figure["data"]
    assert (first["type"], first["name"], first["x"], first["y"]) == (
        *("bar", "sft"),
        *(["closed-ended", "open-ended"], [2.0, 1.0]),
    )
    assert first["error_y"]["array"] == [0.25, 0.25]
    assert first["error_y"]["arrayminus"] == [0.5, 0.5]
    assert second["marker"] != first["marker"]
    assert list(item.rows[0])[:3] == ["sft", "closed-ended", "2.00"]


def test_lines_of_checkpoints() -> None:
    [item] = gold_figures({f"{reward}/step-{step}": gold(step, 2 * step) for reward in "AB" for step in (20, 0)})
    names = [line["name"] for line in item.figure["data"]]
    assert names == ["A, closed-ended", "A, open-ended", "B, closed-ended", "B, open-ended"]
    assert (item.figure["data"][0]["x"], item.figure["data"][0]["y"]) == ([0, 20], [0.0, 40.0])
    # One checkpoint of each is no line.
    [bars] = gold_figures({"A/step-20": gold(1, 1), "B/step-20": gold(1, 1)})
    assert {bar["type"] for bar in bars.figure["data"]} == {"bar"}


# --- what cannot be -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "sft"], "the baseline 'sft' is not among terse"),
        (["--dry-run"], "there is no judge. Give --judge MODEL"),
        (["encoder.normalize=true", "--encoder", "none"], "encoder.normalize=true sets an encoder, and this is"),
        (["gold.kind=value-head", "--gold", "x"], "a value head does not say how a conversation is written"),
        (["--sentence-prompt", "none.txt"], "cannot read the prompt none.txt"),
    ],
)
def test_mistakes(terse: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        evaluate("--outputs", terse, "--out", tmp_path / "out", *arguments, fails=True)


def test_without_types_and_token_counts_it_says_what_to_do(tmp_path: Path) -> None:
    from proxygold.evaluation.responses.benchmark import ResponsesSettings, evaluate_responses
    from proxygold.evaluation.self_bleu.sampled_answers import asked_prompts

    file = tmp_path / "plain.json"
    file.write_text(json.dumps([{"instruction": "Why?", "output": "So."}]))
    subjects = [read_outputs(file, "plain")]
    found: Evaluation = evaluate_responses(
        subjects,
        asked_prompts(subjects, None, limit=None, query_types=None),
        ResponsesSettings(encoder=None),
        EvaluationDirectory(tmp_path / "out"),
        EvalProgress(),
    )
    assert found.notes == [
        "plain: nobody counted the tokens of these answers. --tokenizer MODEL does.",
        "1 of 1 prompts have no query type: --query-types local gives them one.",
    ]
    assert [metric.name for metric in found.models[0].metrics] == ["words", "repetition_4"]

"""The alignment tax: what counts as one, from results by hand, from files, and from two benchmarks that are run."""

from __future__ import annotations

import csv
import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from proxygold.cli.main import app
from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.alignment_tax.benchmark import FREE, LOSES, PAYS, UNCLEAR, trade_off
from proxygold.evaluation.alignment_tax.page import trade_off_figure, write_trade_off
from proxygold.evaluation.alignment_tax.recorded_results import read_evaluation
from proxygold.evaluation.alignment_tax.runs import AlignmentTaxSettings, evaluate_alignment_tax
from proxygold.evaluation.alpaca_eval.benchmark import AlpacaEvalSettings
from proxygold.evaluation.answers.outputs import GivenOutputs, read_outputs
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.judges.judging import open_judge
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.responses.measured import ResponsesSettings
from proxygold.evaluation.results import Evaluation, ModelResult
from proxygold.evaluation.statistics import mean_metric, paired_differences
from proxygold.evaluation.super_ni.benchmark import SuperNISettings
from proxygold.models.policy_settings import SamplingSettings

NOISE = np.random.default_rng(5).normal(size=80)
# 80 items each. Against SFT: RER gains 20 and keeps its tasks, LI gains and pays 10, WORSE pays alone, SAME is SFT.
WINS = {"SFT": 30 + NOISE, "RER": 50 + NOISE, "LI": 40 - NOISE, "WORSE": 30 + NOISE[::-1], "SAME": 30 - NOISE}
TASKS = {"SFT": 35 + NOISE, "RER": 35 - NOISE, "LI": 25 + NOISE, "WORSE": 25 - NOISE, "SAME": 35 + NOISE[::-1]}


def part(benchmark: str, name: str, values: Mapping[str, np.ndarray], baseline: str | None = "SFT") -> Evaluation:
    models = [ModelResult(model, [mean_metric(name, each)], {"no answer": 2}) for model, each in values.items()]
    differences = paired_differences(name, list(values.items()), baseline=baseline)
    return Evaluation(benchmark, {"of": benchmark}, models, differences, rejected=[f"{benchmark}.jsonl:3: no item"])


@functools.cache
def parts(baseline: str | None = "SFT") -> tuple[Evaluation, Evaluation]:
    return part("alpaca-eval", "win_rate", WINS, baseline), part("super-ni", "rouge_l", TASKS, baseline)


def test_a_tax_is_a_gain_with_a_loss_beyond_chance() -> None:
    evaluation, found = trade_off(*parts())
    assert [each.model for each in found] == ["SFT", "RER", "LI", "WORSE", "SAME"]
    assert [each.verdict for each in found] == ["", FREE, PAYS, LOSES, UNCLEAR]
    notes = [note for note in evaluation.notes if note.startswith("LI ")]
    assert notes[0].startswith(f"LI {PAYS}: win_rate +")
    assert "against SFT" in notes[0]
    assert "cannot be excluded" in next(note for note in evaluation.notes if note.startswith("RER"))
    assert evaluation.settings["baseline"] == "SFT"
    assert evaluation.settings["super-ni"] == {"of": "super-ni"}
    assert evaluation.models[1].left_out == {"alpaca-eval: no answer": 2, "super-ni: no answer": 2}
    assert evaluation.rejected == ["alpaca-eval.jsonl:3: no item", "super-ni.jsonl:3: no item"]
    [gain] = [each for each in evaluation.differences if (each.name, each.model) == ("win_rate", "RER")]
    assert (gain.value, gain.baseline, gain.n) == (pytest.approx(20), "SFT", 80)


def test_differences_are_found_whichever_way_round_they_are() -> None:
    alpaca, tasks = parts(None)  # each with each: RER less SFT, LI less RER, …
    _, found = trade_off(alpaca, tasks, baseline="RER")
    assert found[0].model == "RER"
    sft = next(each for each in found if each.model == "SFT")
    [told] = [each for each in alpaca.differences if (each.model, each.baseline) == ("RER", "SFT")]
    turned = sft.differences["win_rate"]
    assert (turned.value, turned.low, turned.high) == (-told.value, -told.high, -told.low)
    assert turned.baseline == "RER"


def test_without_a_paired_difference_it_is_said() -> None:
    evaluation, found = trade_off(*parts("SFT"), baseline="LI")
    rer = next(each for each in found if each.model == "RER").differences["win_rate"]
    own, other = (float(WINS[model].std(ddof=1) / math.sqrt(80)) for model in ("RER", "LI"))
    assert rer.name == "win_rate (not paired)"
    assert rer.high - rer.value == pytest.approx(1.96 * math.sqrt(own**2 + other**2))
    assert any(note.startswith("some differences are not paired") for note in evaluation.notes)


def test_models_that_only_one_part_has() -> None:
    alpaca = part("alpaca-eval", "win_rate", {**WINS, "NEW": WINS["RER"]})
    evaluation, found = trade_off(alpaca, parts()[1])
    assert "NEW" not in [each.model for each in found]
    assert "only alpaca-eval has NEW: left out." in evaluation.notes
    lone = part("super-ni", "rouge_l", {"SFT": TASKS["SFT"]})
    with pytest.raises(DataError, match="alpaca-eval has SFT, RER, .* and super-ni has SFT: a trade-off needs"):
        trade_off(alpaca, lone)
    with pytest.raises(ConfigError, match="--baseline is 'NEW', which is not in both results. Give one of SFT, RER"):
        trade_off(alpaca, parts()[1], baseline="NEW")


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    alpaca = part("alpaca-eval", "win_rate", {**WINS, "NONE": np.full(80, np.nan)})
    directory = EvaluationDirectory(tmp_path / "a")
    directory.write(replace(alpaca, notes=["n"], files={"f": "g"}))
    for path in (directory.path, directory.results_file):
        found = read_evaluation(path, "alpaca-eval")
        assert repr(found) == repr(replace(alpaca, notes=["n"], files={"f": "g"}))  # NaN is not equal to itself
    with pytest.raises(
        DataError, match=re.escape(f"{directory.results_file} is of alpaca-eval, and super-ni is needed")
    ):
        read_evaluation(directory.path, "super-ni")
    with pytest.raises(
        DataError, match="there is no .*nowhere. Give the directory of a finished proxygold eval super-ni"
    ):
        read_evaluation(tmp_path / "nowhere", "super-ni")
    (tmp_path / "broken.json").write_text('{"benchmark": "super-ni"}')
    with pytest.raises(DataError, match=r"is no results.json of proxygold eval \(KeyError"):
        read_evaluation(tmp_path / "broken.json", "super-ni")


def test_the_page_and_the_table_have_the_numbers(tmp_path: Path) -> None:
    relevant = part("responses", "relevant_by_encoder", dict.fromkeys(WINS, 80 + NOISE))
    hostile = "</script><b>x"
    alpaca, tasks = parts()
    alpaca, tasks = (
        replace(
            each,
            models=[replace(model, model=hostile if model.model == "LI" else model.model) for model in each.models],
        )
        for each in (alpaca, tasks)
    )
    _, found = trade_off(alpaca, tasks, relevant)
    files = write_trade_off(tmp_path, found)
    assert set(files.values()) == {str(tmp_path / "trade_off.html"), str(tmp_path / "trade_off.csv")}
    page = (tmp_path / "trade_off.html").read_text()
    assert hostile not in page
    assert "http://" not in page.split("<script")[0]
    with (tmp_path / "trade_off.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert float(rows["RER"]["win_rate"]) == pytest.approx(WINS["RER"].mean())
    assert float(rows["RER"]["rouge_l_over_baseline"]) == pytest.approx((TASKS["RER"] - TASKS["SFT"]).mean())
    assert float(rows["RER"]["relevant_by_encoder"]) == pytest.approx((80 + NOISE).mean())
    assert (rows["SFT"]["win_rate_over_baseline"], rows["SFT"]["verdict"], rows["RER"]["verdict"]) == ("", "", FREE)
    assert rows[hostile]["relevant_by_encoder"] == ""


def test_checkpoints_of_a_training_are_one_path() -> None:
    names = {"SFT": "SFT", "RER": "run/step-1000", "LI": "run/step-500", "SAME": "other"}
    alpaca, tasks = (
        part(benchmark, metric, {name: values[model] for model, name in names.items()})
        for benchmark, metric, values in (("alpaca-eval", "win_rate", WINS), ("super-ni", "rouge_l", TASKS))
    )
    figure = trade_off_figure(trade_off(alpaca, tasks)[1])
    paths = [trace["x"] for trace in figure["data"] if trace["mode"] == "lines"]
    mean = {name: float(WINS[model].mean()) for model, name in names.items()}
    assert [[pytest.approx(x) for x in path] for path in paths] == [
        [mean["SFT"], mean["run/step-500"], mean["run/step-1000"]],
        [mean["SFT"], mean["other"]],
    ]
    points = [trace for trace in figure["data"] if trace["mode"] != "lines"]
    assert [trace["text"][0] for trace in points] == ["SFT", "run/step-1000", "run/step-500", "other"]
    assert points[0]["error_x"]["array"][0] > 0


# --- the parts are run ------------------------------------------------------------------------------------------------

INSTRUCTIONS = ["Name a river.", "Name a colour.", "Name a bird."]
TASK_ROWS = [
    {"task": "task1_x", "instruction": "Answer.", "input": f"{n} + 1?", "reference": str(n + 1)} for n in range(4)
]


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[SuperNISettings, AlpacaEvalSettings]:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("".join(json.dumps(row) + "\n" for row in TASK_ROWS))
    references = tmp_path / "reference_outputs.json"
    rows = [{"instruction": each, "output": "I do not know.", "generator": "reference"} for each in INSTRUCTIONS]
    references.write_text(json.dumps(rows))
    sampling = SamplingSettings(max_new_tokens=6, temperature=0.7)
    return SuperNISettings(tasks, max_new_tokens=6), AlpacaEvalSettings(str(references), sampling=sampling)


def given(tmp_path: Path, name: str, river: str, right: int) -> GivenOutputs:
    """Answers to both benchmarks in one file; `right` of the four tasks are solved."""
    rows: list[dict[str, Any]] = [{"instruction": each, "output": river} for each in INSTRUCTIONS]
    rows += [
        {"task": row["task"], "input": row["input"], "output": row["reference"] if n < right else "no"}
        for n, row in enumerate(TASK_ROWS)
    ]
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(rows))
    return read_outputs(path, name)


@pytest.fixture
def judge(chat: Any, chat_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Prefers the answer with `Nile`, wherever it stands, and says so in the words of our own prompt."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    def prefer(text: str, _: int) -> Any:
        if "Nile" not in text:
            return chat.completion("TIE")
        return chat.completion("FIRST" if text.index("Nile") < text.index("I do not know") else "SECOND")

    server = chat_server(prefer)
    return open_judge("tester", parameters={"temperature": 0}, base_url=server.url, cache=tmp_path / "llm.sqlite")


def test_both_benchmarks_are_run_and_put_together(
    inputs: tuple[SuperNISettings, AlpacaEvalSettings], judge: Any, tmp_path: Path
) -> None:
    super_ni, alpaca = inputs
    subjects = [given(tmp_path, "SFT", "A crow.", 3), given(tmp_path, "RL", "The Nile.", 1)]
    settings = AlignmentTaxSettings(alpaca, super_ni, ResponsesSettings())
    directory = EvaluationDirectory(tmp_path / "out")
    found = evaluate_alignment_tax(subjects, settings, directory, EvalProgress(), judge)
    values = {result.model: {metric.name: metric.value for metric in result.metrics} for result in found.models}
    # SFT ties with the reference, RL beats it; an answer of digits is right or shares no word.
    assert (values["SFT"]["win_rate"], values["RL"]["win_rate"]) == (50, 100)
    assert (values["SFT"]["rouge_l"], values["RL"]["rouge_l"]) == (75, 25)
    assert 0 <= values["RL"]["relevant_by_encoder"] <= 100
    assert {each.baseline for each in found.differences} == {"SFT"}
    for benchmark in ("super-ni", "alpaca-eval", "responses"):
        assert read_evaluation(directory.path / benchmark, benchmark).models
    # The parts' results are all that another trade-off needs.
    recorded = AlignmentTaxSettings(
        *(directory.path / benchmark for benchmark in ("alpaca-eval", "super-ni", "responses"))
    )
    again = evaluate_alignment_tax([], recorded, EvaluationDirectory(tmp_path / "again"), EvalProgress())
    assert repr(again.models) == repr(found.models)  # NaN is not equal to itself
    assert again.notes == found.notes


def test_two_models_answer_and_are_judged(
    inputs: tuple[SuperNISettings, AlpacaEvalSettings], judge: Any, tmp_path: Path, tiny_models: tuple[Path, Path]
) -> None:
    from proxygold.evaluation.answers.subjects import open_subjects

    super_ni, alpaca = inputs
    subjects = open_subjects([f"{name}={tiny_models[0]}" for name in ("one", "two")], None, None)
    settings = AlignmentTaxSettings(alpaca, super_ni)
    found = evaluate_alignment_tax(subjects, settings, EvaluationDirectory(tmp_path / "out"), EvalProgress(), judge)
    [first, second] = found.models
    assert [metric.n_scored for metric in first.metrics if metric.name in ("win_rate", "rouge_l")] == [3, 4]
    assert [metric.value for metric in first.metrics] == [metric.value for metric in second.metrics]  # one model twice
    assert any("is not clearly preferred more" in note for note in found.notes)


def test_what_is_missing_is_told_before_anything_is_run(
    inputs: tuple[SuperNISettings, AlpacaEvalSettings], tmp_path: Path
) -> None:
    super_ni, alpaca = inputs
    subjects = [given(tmp_path, "SFT", "A crow.", 3), given(tmp_path, "RL", "The Nile.", 1)]
    directory, settings = EvaluationDirectory(tmp_path / "out"), AlignmentTaxSettings(alpaca, super_ni)
    for some, changes, judge, message in (
        (subjects, {}, None, "there is no judge for alpaca-eval. Give --judge MODEL"),
        (subjects[:1], {}, nullcontext(), "1 models to run the benchmarks on, and a trade-off needs two"),
        (
            subjects,
            {"baseline": "PPO"},
            nullcontext(),
            "--baseline is 'PPO', which is not evaluated here. Give one of SFT",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate_alignment_tax(some, replace(settings, **changes), directory, EvalProgress(), judge)  # type: ignore[arg-type]
    assert not directory.path.exists()


def test_the_command_takes_results_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    alpaca, tasks = parts()
    for evaluation in (alpaca, tasks):
        EvaluationDirectory(tmp_path / evaluation.benchmark).write(evaluation)
    have = ["--alpaca-eval-results", tmp_path / "alpaca-eval", "--super-ni-results", tmp_path / "super-ni"]

    def command(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["eval", "alignment-tax", *map(str, arguments)])

    done = command(*have, "--relevance", "none", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "RER is preferred more, and no tax is found" in done.output
    assert "LI\tSFT\t\trouge_l\t-10" in done.output
    assert (tmp_path / "out/trade_off.html").exists()
    for arguments, message in (
        (have[:2], "there are no tasks. Give --super-ni PATH"),
        (["--super-ni", "x", *have], "--super-ni-results has what was run before, and --super-ni is for a new run"),
        (["--judge", "gpt", *have], "--alpaca-eval-results has what was run before, and --judge is for a new run"),
        (
            [*have, "--out", tmp_path / "no"],
            "there is no .*model_outputs.json to measure the relevance of. Give --relevance",
        ),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            raise command(*arguments).exception

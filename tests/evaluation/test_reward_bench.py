"""RewardBench from pairs in a file to results, with real rewards: by hand, after a stop, and in the original's files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold import reward
from proxygold.errors import ConfigError, DataError, RewardError, StoreError
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation, Metric
from proxygold.evaluation.reward_bench.accuracies import MEAN, POOLED
from proxygold.evaluation.reward_bench.benchmark import RewardBenchSettings, evaluate_reward_bench
from proxygold.evaluation.reward_bench.pair_scores import RewardJudge
from proxygold.evaluation.reward_bench.recorded_scores import read_recorded_scores
from proxygold.evaluation.reward_bench.rewards import open_rewards
from proxygold.models.reward_models import load_reward_model
from proxygold.records import Example
from proxygold.rewards.runtime import Reward

SHARED = Path(__file__).parents[2] / "../shared/data/preferences"

ELEVEN, TEN = "a b c d e f g h i j k", "a b c d e f g h i j"
# LI and so `longest` are right in a and d, wrong in b, and tie in c. The lengths of c and d are matched: 2 and 2, 11 and 10.
ROWS: list[dict[str, Any]] = [
    {"id": "a", "subset": "alpacaeval-easy", "prompt": "1", "chosen": "one two three", "rejected": "one two"},
    {"id": "b", "subset": "alpacaeval-easy", "prompt": "2", "chosen": "one", "rejected": "one two three"},
    {"id": "c", "subset": "hep-python", "prompt": "3", "chosen": "x y", "rejected": "y z"},
    {"id": "d", "subset": "hep-python", "prompt": "4", "chosen": ELEVEN, "rejected": TEN},
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., Evaluation]:
    def run(*lines: str, rows: list[Any] = ROWS, out: str = "out", **settings: Any) -> Evaluation:
        judges = [RewardJudge(line, reward(line)) for line in lines]
        data = write(tmp_path / "pairs.jsonl", rows)
        return evaluate_reward_bench(
            judges, RewardBenchSettings((str(data),), **settings), EvaluationDirectory(tmp_path / out), EvalProgress()
        )

    return run


def metric(evaluation: Evaluation, name: str = "accuracy", group: str = POOLED, model: int = 0) -> Metric:
    [found] = [each for each in evaluation.models[model].metrics if (each.name, each.group) == (name, group)]
    return found


def test_accuracies_beside_their_null_baselines(evaluate: Callable[..., Evaluation], tmp_path: Path) -> None:
    found = evaluate("LI", "-LI")
    assert [metric(found, group=group).value for group in (POOLED, MEAN, "section=Chat", "section=Reasoning")] == [
        50
    ] * 4
    assert [metric(found, name).value for name in ("longest", "shortest", "random")] == [50, 25, 50]
    assert (metric(found, "length-matched").value, metric(found, "length-matched").n_total) == (50, 2)
    assert metric(found, model=1).value == 25  # -LI is `shortest`
    assert metric(found).low < 50 < metric(found).high
    [pooled] = [each for each in found.differences if each.group == POOLED]
    assert (pooled.model, pooled.baseline, pooled.value, pooled.n) == ("-LI", "LI", -25, 4)
    # As half right the tie would make 2.5 of 4.
    assert any(
        "LI gives both answers the same score in 1 of 4 pairs" in note and "62.5" in note for note in found.notes
    )
    assert any("4 pairs are in RewardBench's subsets, which have 2,985" in note for note in found.notes)
    assert found.settings["pairs"] == 4
    assert found.models[0].about["reward"] == "LI"
    assert EvaluationDirectory(tmp_path / "out").write(found) is None  # it can be written down


def test_the_original_files_say_the_same(evaluate: Callable[..., Evaluation], tmp_path: Path) -> None:
    found = evaluate("LI")
    accuracies = json.loads((tmp_path / "out/LI/eval-set.json").read_text())
    assert {key: accuracies[key] for key in ("model", "alpacaeval-easy", "hep-python")} == {
        "model": "LI",
        "alpacaeval-easy": 0.5,
        "hep-python": 0.5,
    }
    scores = json.loads((tmp_path / "out/LI/eval-set-scores.json").read_text())
    assert scores["results"] == [1, 0, 0, 1]
    assert scores["scores_chosen"] == [0.03, 0.01, 0.02, 0.11]
    assert scores["text_rejected"][0] == [{"role": "user", "content": "1"}, {"role": "assistant", "content": "one two"}]
    # Read back, nobody scores anything, and all numbers are the same.
    recorded = read_recorded_scores(tmp_path / "out/LI/eval-set-scores.json", "recorded")
    settings = RewardBenchSettings((str(tmp_path / "pairs.jsonl"),))
    again = evaluate_reward_bench([recorded], settings, EvaluationDirectory(tmp_path / "again"), EvalProgress())
    assert repr(again.models[0].metrics) == repr(found.models[0].metrics)  # NaN is not equal to itself
    assert not (tmp_path / "again/recorded/scores.jsonl").exists()


def test_pairs_without_a_reference_are_counted_not_guessed(evaluate: Callable[..., Evaluation], tmp_path: Path) -> None:
    rows = [
        {"prompt": "2 + 2?", "chosen": "The answer is 4.", "rejected": "The answer is 5.", "reference": "4"},
        {"prompt": "3 + 3?", "chosen": "The answer is 6.", "rejected": "The answer is 5."},
        {"prompt": "1 + 3?", "chosen": "4", "rejected": "5", "reference": " 4"},
        {"prompt": "Name a river.", "chosen": "The long Nile.", "rejected": "No."},
    ]
    types = ["CONSTRAINED", "CONSTRAINED", "CONSTRAINED", "OPENENDED"]
    rows = [{**row, "query_type": label} for row, label in zip(rows, types, strict=True)]
    found = evaluate("branch(open_ended = LI, closed_ended = exact_match)", rows=rows)
    [result] = found.models
    # Right are the first, and the river by its length; the third's reference is its chosen answer.
    assert (metric(found).value, metric(found).n_scored, metric(found).n_total) == (100, 2, 4)
    assert dict(result.left_out) == {
        "exact_match: the example has no reference": 1,
        "the reference given is the chosen answer itself": 1,
    }
    assert any(note.startswith("1 references were the chosen answer itself") for note in found.notes)
    [listed] = (tmp_path / "out").glob("branch*/left_out.jsonl")
    assert [json.loads(line)["id"] for line in listed.read_text().splitlines()] == ["line-2", "line-3"]
    [file] = (tmp_path / "out").glob("branch*/eval-set-scores.json")
    assert json.loads(file.read_text())["results"] == [1, None, None, 1]


def test_a_reward_that_needs_types_says_so_before_anything_is_scored(evaluate: Callable[..., Evaluation]) -> None:
    with pytest.raises(
        RewardError, match="needs the query type of each prompt, and no pair has one. Have the classifier"
    ):
        evaluate("branch(open_ended = LI, closed_ended = RP)")
    with pytest.raises(ConfigError, match="--query-types is 'gpt'; allowed: local"):
        evaluate("LI", query_types="gpt")


def test_after_a_stop_only_the_rest_is_scored(
    evaluate: Callable[..., Evaluation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**ROWS[number % 4], "id": number, "prompt": f"Q{number}"} for number in range(150)]
    rows.append({**rows[0], "id": "copy"})
    whole = evaluate("LI", rows=rows, out="whole")
    scored: list[int] = []
    original = Reward.score

    def counting(self: Reward, examples: Any) -> Any:
        examples = list(examples)
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(len(examples))
        return original(self, examples)

    monkeypatch.setattr(Reward, "score", counting)
    with pytest.raises(KeyboardInterrupt):
        evaluate("LI", rows=rows)
    file = tmp_path / "out/LI/scores.jsonl"
    assert len(file.read_text().splitlines()) == 128
    with file.open("a") as out:  # what a killed process leaves
        out.write('{"id": "128", "of": "')
    scored.clear()
    scored.append(0)
    assert repr(evaluate("LI", rows=rows).models) == repr(whole.models)
    assert scored == [0, 2 * 22]  # 150 different pairs less the 128; the copy has the scores of its original
    # Of other data only what is new is scored; of another reward nothing is taken.
    scored.clear()
    assert metric(evaluate("LI", rows=rows[:7])).n_total == 7
    assert scored == []
    (tmp_path / "out/LI").rename(tmp_path / "out/RP")
    with pytest.raises(StoreError, match="has scores of another reward.*begin anew with --force"):
        evaluate("RP", rows=rows[:7])
    assert len((tmp_path / "out/RP/scores.jsonl").read_text().splitlines()) == 150
    evaluate("RP", rows=rows[:7], force=True)
    assert scored == [14]


def test_lines_that_differ_in_signs_alone_have_files_of_their_own(evaluate: Callable[..., Evaluation]) -> None:
    found = evaluate("LI * RP", "LI / RP", "LI + RP")
    assert len({Path(path).parent for path in found.files.values()}) == 3


def test_a_reward_model_prefers_what_it_scores_higher(
    evaluate: Callable[..., Evaluation], tiny_models: tuple[Path, Path]
) -> None:
    gold = str(tiny_models[1])
    [judge] = open_rewards((), [f"tiny={gold}"], ())
    assert judge.name == "tiny"
    found = evaluate(f"RM({gold!r})")
    scores, _ = load_reward_model(gold).score(
        [Example(row["prompt"], row[answer]) for row in ROWS for answer in ("chosen", "rejected")]
    )
    assert metric(found).value == 100 * float(np.mean(scores[::2] > scores[1::2]))


def test_rewards_by_what_is_typed(tmp_path: Path) -> None:
    opened = open_rewards(["LI * RP", 'unicode=LI(words="unicode")', 'LI(words="whitespace")'], ["gold-mini"], ())
    assert [each.name for each in opened] == ["LI * RP", "unicode", 'LI(words="whitespace")', "gold-mini"]
    assert [str(each.reward) for each in opened if isinstance(each, RewardJudge)] == [
        "LI * RP",
        "LI(words='unicode')",
        "LI(words='whitespace')",
        "RM('gold-mini')",
    ]
    with pytest.raises(ConfigError, match="there is no reward to test. Give --reward LINE, --model MODEL"):
        open_rewards((), (), ())
    with pytest.raises(ConfigError, match="'LI' is the name of more than one"):
        open_rewards(["LI", "LI=RP"], (), ())
    with pytest.raises(RewardError, match="has a `match` that has not been measured. Measure it with --calibrate"):
        open_rewards(["RER"], (), ())
    completions = [
        {"prompt": "Name a river.", "completion": text, "reference": "4"}
        for text in ["4", "four of them", "a b c d e"] * 7
    ]
    calibrated = write(tmp_path / "start.jsonl", completions)
    [measured] = open_rewards(["m=match(exact_match + 1, LI)"], (), (), calibrate=calibrated)
    assert isinstance(measured, RewardJudge)
    assert measured.reward.resolved


def test_scores_of_every_form(tmp_path: Path, evaluate: Callable[..., Evaluation]) -> None:
    rows = [
        {"id": 1, "scores_chosen": [0.5], "scores_rejected": None},
        {"id": "b", "scores_chosen": 2, "scores_rejected": 1},
    ]
    found = read_recorded_scores(write(tmp_path / "s.jsonl", rows), "s")
    assert found.scores["b"] == (2.0, 1.0)
    assert np.isnan(found.scores["1"][1])
    with pytest.raises(
        DataError, match="no score of any pair: its ids are such as '1', those of the pairs such as 'x'"
    ):
        found.score([_pair("x")], tmp_path / "unused")
    scores = found.score([_pair("x"), _pair("b"), _pair("1")], tmp_path / "unused")
    assert scores.reasons == ("no score in the file", None, "no score in the file")
    for wrong, message in (
        ([{"id": 1, "score": 2}], "has no scores of pairs: its rows have id, score. Needed are id, scores_chosen"),
        ([{"id": 1, "chosen": "good", "rejected": 2}], "has a score that is no number"),
    ):
        with pytest.raises(DataError, match=message):
            read_recorded_scores(write(tmp_path / "wrong.jsonl", wrong), "wrong")


def _pair(name: str) -> Any:
    from proxygold.evaluation.reward_bench.preference_pairs import TestPair

    return TestPair(name, "p", "c", "r", "s")


def test_a_baseline_must_be_tested(evaluate: Callable[..., Evaluation]) -> None:
    with pytest.raises(ConfigError, match="--baseline is 'QR', which is not tested here. Give one of LI, RP"):
        evaluate("LI", "RP", baseline="QR")
    assert {each.baseline for each in evaluate("LI", "RP", baseline="RP").differences} == {"RP"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data are not beside the repository")
def test_length_is_no_better_than_the_null_baseline_on_real_pairs(tmp_path: Path) -> None:
    with gzip.open(SHARED / "gsm8k_solution_pairs.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    settings = RewardBenchSettings((str(SHARED / "gsm8k_solution_pairs.jsonl.gz"),), limit=600)
    judges = [RewardJudge(line, reward(line)) for line in ("LI", "exact_match")]
    found = evaluate_reward_bench(judges, settings, EvaluationDirectory(tmp_path), EvalProgress())
    # LI is `longest` under another name, save where a stop string cuts an answer.
    assert metric(found).value == pytest.approx(metric(found, "longest").value, abs=1)
    right = [row["chosen"].split("A: ")[-1] == row["reference"].split("A: ")[-1] for row in rows[:600]]
    assert metric(found, model=1).value >= 100 * np.mean(right) - 5
    assert metric(found).n_total == 600

"""Scores lined up by prompt, read from a run, and read from a table that another tool made."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold.analysis.results import analyse
from proxygold.analysis.runs import analyse_run, read_arm
from proxygold.analysis.score_file import read_score_file
from proxygold.analysis.scores import StepScores, arrange
from proxygold.errors import DataError, StoreError
from proxygold.store import RunDirectory, to_json

SPEC = importlib.util.spec_from_file_location(
    "synthetic_run", Path(__file__).parents[1] / "report" / "synthetic_run.py"
)
synthetic_run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(synthetic_run)


def step(ids, proxy, gold, parts=None):
    types = ["open_ended"] * len(ids)
    return StepScores(ids, types, np.array(proxy, float), np.array(gold, float), parts or {})


def test_checkpoints_are_lined_up_by_prompt_whatever_their_order():
    arm = arrange("R", 0, {20: step(["b", "a"], [4, 3], [40, 30]), 0: step(["a", "b", "c"], [1, 2, 9], [10, 20, 90])})
    assert arm.steps == (0, 20)
    assert arm.prompt_ids == ("a", "b", "c")
    np.testing.assert_array_equal(arm.proxy, [[1, 2, 9], [3, 4, np.nan]])
    np.testing.assert_array_equal(arm.gold, [[10, 20, 90], [30, 40, np.nan]])


def test_a_checkpoint_that_gold_has_not_scored_is_left_out_and_named():
    nan = [np.nan, np.nan]
    arm = arrange("R", 0, {0: step(["a", "b"], [1, 2], [1, 2]), 10: step(["a", "b"], [1, 2], nan)})
    assert arm.steps == (0,)
    assert arm.notes == ("Left out, no gold score at all: step 10.",)


def test_a_run_is_read_by_reward_seed_type_and_part(tmp_path):
    run = synthetic_run.write_run(tmp_path / "r", rewards=("LI", "RER"))
    analysis = analyse_run(run)
    assert (analysis.draws, analysis.seed, analysis.threshold) == (2000, 0, 0.8)  # the study's own
    assert [reward.reward for reward in analysis.rewards] == ["LI", "RER"]
    assert [reward.verdict.name for reward in analysis.rewards] == ["over-optimised", "success"]
    seed = analysis.rewards[1].seeds[1]
    assert seed.overall.steps == synthetic_run.STEPS
    assert {name: result.prompts for name, result in seed.by_query_type.items()} == {
        "open_ended": 32,
        "closed_ended": 32,
    }
    # LI * RP was not selected on closed-ended prompts.
    assert {part.text: part.prompts for part in seed.by_component} == {"LI": 64, "RP": 64, "LI * RP": 32}
    spread = analysis.rewards[1].spearman_spread
    values = [one.overall.spearman.value for one in analysis.rewards[1].seeds]
    assert (spread.low, spread.high, spread.mean) == (min(values), max(values), pytest.approx(np.mean(values)))
    assert json.loads(to_json(analysis.as_dict()))["rewards"][0]["verdict"]["name"] == "over-optimised"


def test_settings_given_win_over_the_studys(tmp_path):
    run = synthetic_run.write_run(tmp_path / "r", rewards=("RER",), seeds=(0,))
    analysis = analyse_run(run, draws=200, seed=7, threshold=0.999)
    assert (analysis.draws, analysis.seed, analysis.threshold) == (200, 7, 0.999)
    assert analysis.rewards[0].verdict.name == "inconclusive"


def test_a_run_that_is_still_going_is_analysed_as_far_as_it_is(tmp_path):
    run = synthetic_run.write_run(tmp_path / "r", rewards=("LI", "RER"), seeds=(0,), steps=(0, 20))
    for file in (run.arm("RER", 0).path / "scores").iterdir():
        file.unlink()
    analysis = analyse_run(run)
    assert [reward.reward for reward in analysis.rewards] == ["LI"]
    assert analysis.rewards[0].verdict.name == "inconclusive"
    assert analysis.notes == ("No checkpoint with proxy and gold scores yet: RER seed 0.",)


def test_no_run_no_scores_and_a_damaged_table_are_clear_errors(tmp_path):
    with pytest.raises(StoreError, match="is not a run"):
        analyse_run(RunDirectory(tmp_path))
    run = synthetic_run.write_run(tmp_path / "r", rewards=("LI",), seeds=(0,), steps=(0,))
    arm = run.arm("LI", 0)
    arm.write_scores(0, pa.table({"prompt_id": ["a"], "query_type": ["open_ended"], "proxy": [1.0]}))
    with pytest.raises(StoreError, match="lacks the column gold"):
        read_arm(arm)
    arm.scores(0).unlink()
    with pytest.raises(StoreError, match="has no scores yet"):
        analyse_run(run)


def rows(seeds=(0,)):
    rng = np.random.default_rng(0)
    for seed in seeds:
        for number in range(7):
            for prompt in range(40):
                score = float(number + rng.normal())
                row = {"step": number * 10, "prompt_id": prompt, "proxy": score, "gold": score * 2, "seed": seed}
                yield row | {"query_type": ["OPENENDED", "CONSTRAINED"][prompt % 2], "reward": "mine"}


def test_a_table_reads_the_same_from_jsonl_and_parquet(tmp_path):
    jsonl, parquet = tmp_path / "scores.jsonl", tmp_path / "scores.parquet"
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows((0, 3))))
    pq.write_table(pa.Table.from_pylist(list(rows((0, 3)))), parquet)
    first, second = (analyse(read_score_file(path), draws=300) for path in (jsonl, parquet))
    assert first == second
    assert first.rewards[0].reward == "mine"
    assert [seed.seed for seed in first.rewards[0].seeds] == [0, 3]
    assert set(first.rewards[0].seeds[0].by_query_type) == {"open_ended", "closed_ended"}
    assert first.rewards[0].verdict.name == "success"


def test_the_least_table_has_four_columns_and_null_is_a_missing_score(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [{name: row[name] for name in ("step", "prompt_id", "proxy", "gold")} for row in rows()]
    lines[5]["gold"] = None
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    analysis = analyse(read_score_file(path), draws=300)
    assert analysis.rewards[0].reward == "mine"
    assert analysis.rewards[0].seeds[0].overall.left_out == 1
    assert analysis.rewards[0].seeds[0].by_query_type == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows; every row needs step, prompt_id, proxy, gold"),
        ("{", r":1 is not a JSON object"),
        ("[1]", r":1 lacks step, prompt_id, proxy, gold"),
        ('{"step": 0, "prompt_id": 1, "proxy": 1}', r":1 lacks gold"),
        ('{"step": "0", "prompt_id": 1, "proxy": 1, "gold": 1}', r":1: step is '0'; it must be a whole number"),
        ('{"step": 0, "prompt_id": 1, "proxy": "x", "gold": 1}', r":1: proxy is 'x'; it must be a number, or null"),
        ('{"step": 0, "prompt_id": 1, "proxy": 1, "gold": 1, "query_type": "o"}', "must be one of open_ended"),
        ('{"step": 0, "prompt_id": 1, "proxy": 1, "gold": 1}\n' * 2, r":2: prompt 1 occurs twice at step 0"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_score_file(path)


def test_a_file_that_is_not_there_or_not_parquet_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        read_score_file(tmp_path / "none.jsonl")
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_score_file(tmp_path / "x.parquet")

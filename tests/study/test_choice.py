"""The dev prompts choose a checkpoint: by hand-worked numbers, and at the end of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from proxygold.errors import ConfigError, StoreError
from proxygold.records import PromptRecord
from proxygold.rewards.runtime import reward
from proxygold.store import NOT_SCORED
from proxygold.study.choice import choose, choose_checkpoints
from proxygold.study.loading import load_study
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts, reject_unscorable
from proxygold.study.stages import StudyResult, run_study

NAN = float("nan")


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_the_highest_mean_is_chosen_and_the_earliest_of_equals() -> None:
    # Means 1.5, 2.5, 2.5 and 2: steps 10 and 20 are equal.
    scores = np.array([[1.0, 2.0], [2.0, 3.0], [4.0, 1.0], [2.0, 2.0]])
    choice = choose(scores, [0, 10, 20, 30], "proxy", draws=200, seed=0)
    assert choice is not None
    assert (choice.step, choice.means) == (10, (1.5, 2.5, 2.5, 2.0))
    assert [gain.value for gain in choice.gains] == [0.0, 1.0, 1.0, 0.5]
    assert (choice.gain.value, choice.prompts, choice.left_out) == (1.0, 2, 0)
    # Step 10 gained 1 on either prompt, so that every draw of prompts says 1; the start policy gained nothing.
    assert (choice.gain.low, choice.gain.high) == (1.0, 1.0)
    assert (choice.gains[0].low, choice.gains[0].high) == (0.0, 0.0)


def test_the_lower_bound_prefers_a_sure_gain_to_a_larger_one() -> None:
    # Of 100 prompts, step 10 gains 0.5 on each. Step 20 gains 10 on 6 of them and nothing on the others: 0.6 in the mean,
    # whose lower end is lower than 0.5: the number of the 6 that a draw takes is nearly Poisson of 6, and 2.5% of its
    # draws are at most 2, which is 0.2 in the mean.
    scores = np.zeros((3, 100))
    scores[1] = 0.5
    scores[2, :6] = 10.0
    by_mean = choose(scores, [0, 10, 20], "gold", draws=2_000, seed=0)
    by_bound = choose(scores, [0, 10, 20], "gold_lower_bound", draws=2_000, seed=0)
    assert by_mean is not None
    assert by_bound is not None
    assert (by_mean.step, by_bound.step) == (20, 10)
    assert by_mean.gain.value == pytest.approx(0.6)
    assert 0.1 <= by_mean.gain.low <= 0.3


def test_the_lower_bound_stays_at_the_start_when_no_gain_is_sure() -> None:
    # Up 3 on one prompt, down 1 on two: a mean gain of 1/3, and 8 of 27 draws hold the first prompt not once.
    scores = np.array([[0.0, 0.0, 0.0], [3.0, -1.0, -1.0]])
    by_mean = choose(scores, [0, 5], "gold", draws=500, seed=0)
    by_bound = choose(scores, [0, 5], "gold_lower_bound", draws=500, seed=0)
    assert by_mean is not None
    assert by_bound is not None
    assert (by_mean.step, by_bound.step) == (5, 0)


def test_a_prompt_without_a_score_at_one_step_counts_at_none() -> None:
    # With the second prompt step 10 would win (4.5 against 3); it has no score at step 20.
    scores = np.array([[0.0, 0.0], [1.0, 8.0], [3.0, NAN]])
    choice = choose(scores, [0, 10, 20], "proxy", draws=100, seed=0)
    assert choice is not None
    assert (choice.step, choice.means, choice.prompts, choice.left_out) == (20, (0.0, 1.0, 3.0), 1, 1)
    assert choose(scores[:, 1:], [0, 10, 20], "proxy", draws=100, seed=0) is None


# --- in a study -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(word_study: Path) -> Any:
    """Runs a study of one reward and two steps, validated at each, with dev prompts."""

    def runs(*overrides: str, dev: bool = True, gold_later: bool = False) -> StudyResult:
        with_dev = [f"data.dev={word_study.with_name('dev.jsonl')}"] if dev else []
        quiet = StudyProgress(Console(quiet=True))
        study = load_study(word_study, [*with_dev, *overrides])
        return run_study(study, word_study.parent / "runs", quiet, gold_later=gold_later)

    return runs


def test_the_study_chooses_by_its_dev_prompts_alone(run: Any) -> None:
    result = run("choice={by: gold, every: 2}", "training.max_new_tokens=5", "rewards={LI: LI, RP: RP}")
    arm, other = result.run.arms()
    # Answered at other steps than validation, by other prompts, as in training: at most 5 tokens, not 8.
    assert (arm.rollout_steps(), arm.dev.rollout_steps()) == ([0, 1, 2], [0, 2])
    assert [row.prompt_id for row in arm.dev.read_rollouts(2)] == ["d0", "d1", "d2"]
    assert max(row.tokens for row in arm.dev.read_rollouts(2)) <= 5 < max(row.tokens for row in arm.read_rollouts(2))
    means = [np.mean(pq.read_table(arm.dev.scores(step)).column("gold").to_pylist()) for step in (0, 2)]
    choice = arm.read_choice()
    assert choice is not None
    assert (choice["by"], choice["steps"], choice["prompts"]) == ("gold", [0, 2], 3)
    assert choice["means"] == pytest.approx(means)
    assert choice["step"] == (2 if means[1] > means[0] else 0)
    assert choice["checkpoint"] == ("checkpoints/step-2" if choice["step"] else None)
    # The start policy is the same for both rewards, and answers once.
    assert arm.dev.rollouts(0).read_bytes() == other.dev.rollouts(0).read_bytes()
    # What validation says does not enter: without its scores the choice is the same.
    for step in arm.score_steps():
        arm.scores(step).unlink()
    choose_checkpoints(result.run)
    assert arm.read_choice() == choice
    # And a choice that has lost a score is none.
    arm.dev.scores(2).unlink()
    choose_checkpoints(result.run)
    assert arm.read_choice() is None


def test_by_proxy_no_gold_reads_the_dev_answers_until_it_is_asked_to(run: Any) -> None:
    result = run()
    arm = result.run.arm("LI", 0)
    assert result.run.read_study()["choice"] == {"by": "proxy", "every": None, "seed": 0}
    table = arm.dev.read_scores(2)
    assert set(table["gold_reason"].to_pylist()) == {NOT_SCORED}
    assert (arm.dev.scored_steps("proxy"), arm.dev.scored_steps("gold")) == ([0, 1, 2], [])
    assert arm.read_choice()["by"] == "proxy"
    proxies = table["proxy"].to_pylist()
    # The same run, asked to choose by gold: the dev answers are not made again, gold scores them.
    answered = arm.dev.rollouts(2).stat().st_mtime_ns
    run("choice.by=gold_lower_bound")
    assert arm.dev.rollouts(2).stat().st_mtime_ns == answered
    assert arm.dev.scored_steps("gold") == [0, 1, 2]
    assert arm.dev.read_scores(2)["proxy"].to_pylist() == proxies
    assert arm.read_choice()["by"] == "gold_lower_bound"


def test_dev_prompts_can_be_added_to_a_finished_run(run: Any, word_study: Path, one_thread: None) -> None:
    two = "validation.every=2"
    arm = run(two, dev=False).run.arm("LI", 0)
    assert arm.read_choice() is None
    with pytest.raises(StoreError, match=r"past step 1, and its checkpoint there was not kept.* Kept are 2:"):
        run(two, "choice.every=1")
    written = arm.rollouts(2).stat().st_mtime_ns
    run(two)
    assert arm.rollouts(2).stat().st_mtime_ns == written
    whole = run(two, "name=whole").run.arm("LI", 0)
    assert arm.dev.read_rollouts(2) == whole.dev.read_rollouts(2)  # by the checkpoint, which was kept
    assert arm.read_choice() == whole.read_choice()
    # Once they have chosen, they stay as they are.
    with pytest.raises(StoreError, match=r"differ in choice\.seed \(was 0, is 1\)"):
        run(two, "choice.seed=1")
    dev = word_study.with_name("dev.jsonl")
    dev.write_text(dev.read_text().replace("w9 w3", "w9 w4"))
    with pytest.raises(StoreError, match=r"cannot go on: dev\.sha256 \(.*\) changed since it began"):
        run(two)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["choice={by: gold}"], "choice needs prompts of its own.* give data.dev"),
        (["data.dev=dev.jsonl", "choice={every: 4}"], r"training.steps \(2\) must be a multiple of choice.every \(4\)"),
        (["data.dev=dev.jsonl", "choice={by: best}"], "'proxy', 'gold' or 'gold_lower_bound'"),
        (["data.dev=dev.jsonl", "choice={evry: 2}"], "choice.evry: unknown key. Did you mean 'every'"),
    ],
)
def test_a_choice_that_cannot_be_made_is_told_first(word_study: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(word_study, overrides)


def test_dev_prompts_that_cannot_be_scored_are_left_out_and_listed() -> None:
    record = PromptRecord("d1", "Name a river.", query_type="open_ended")
    bad = PromptRecord("d2", "What is 7 + 1?", query_type="closed_ended")
    line = reward("branch(open_ended=LI, closed_ended=exact_match)")
    left = reject_unscorable(StudyPrompts((record,), (record,), dev=(record, bad)), {"R": line})
    assert left.dev == (record,)
    [listed] = left.rejected
    assert (listed["split"], listed["id"]) == ("dev", "d2")
    assert "reference" in listed["reason"]


def test_gold_left_for_later_is_not_even_looked_for(run: Any) -> None:
    result = run("gold.model=./not-on-this-machine", "choice.by=gold", gold_later=True)
    assert (result.analysis, result.report) == (None, None)
    arm = result.run.arm("LI", 0)
    assert (arm.scored_steps("proxy"), arm.scored_steps("gold")) == ([0, 1, 2], [])
    assert set(arm.read_scores(2)["gold_reason"].to_pylist()) == {NOT_SCORED}
    assert arm.read_choice() is None  # it waits for gold
    assert "gold" not in result.run.read_provenance()["fixed"]
    # Here after all: gold may still be named, and is all that is done.
    before = {path: path.stat().st_mtime_ns for path in result.run.path.rglob("step-*") if path.is_file()}
    done = run("choice.by=gold")
    assert done.report is not None
    assert arm.scored_steps("gold") == arm.dev.scored_steps("gold") == [0, 1, 2]
    changed = {path for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {place.scores(step) for step in (0, 1, 2) for place in (arm, arm.dev)}
    assert arm.read_choice()["by"] == "gold"
    assert "gold" in done.run.read_provenance()["fixed"]
    assert run("choice.by=gold", gold_later=True).report is not None  # scored is scored
    with pytest.raises(StoreError, match=r"they differ in gold\.model"):
        run("gold.model=gold-mini", "choice.by=gold", gold_later=True)

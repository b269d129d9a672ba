"""A study runs end to end, resumes where it was stopped, and never writes over another one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from proxygold.errors import DataError, StoreError
from proxygold.store import RunDirectory
from proxygold.study.loading import load_study
from proxygold.study.plan import policy_memory, print_plan
from proxygold.study.progress import StudyProgress
from proxygold.study.stages import StudyResult, run_study

PROXYGOLD = Path(sys.executable).with_name("proxygold")
# One thread, so that two runs of one study agree to the last bit.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run(path: Path, *overrides: str) -> StudyResult:
    study = load_study(path, overrides)
    return run_study(study, path.parent / "runs", StudyProgress(Console(quiet=True)))


def files(run: RunDirectory) -> dict[str, float]:
    """Every file of a run that training made, with the time it was written."""
    return {str(path): path.stat().st_mtime_ns for path in run.path.rglob("step-*") if path.is_file()}


def curve(run: RunDirectory, reward: str) -> list[tuple[int, float, float]]:
    return [(row["step"], row["reward"], row["kl"]) for row in run.arm(reward, 0).read_steps()]


def test_a_study_leaves_every_file_of_the_design(study_file: Path) -> None:
    result = run(study_file)
    for reward in ("LI", "LI_RP"):
        arm = result.run.arm(reward, 0)
        assert arm.checkpoint_steps() == [2, 4, 6]
        assert arm.rollout_steps() == arm.score_steps() == [0, 2, 4, 6]
        assert [row["step"] for row in arm.read_steps()] == [1, 2, 3, 4, 5, 6]
        assert (arm.checkpoint(6) / "adapter_model.safetensors").exists()
    table = pq.read_table(result.run.arm("LI_RP", 0).scores(6))
    assert table.column("prompt_id").to_pylist() == ["v1", "v2", "v3", "v4"]
    assert table.column("query_type").to_pylist() == ["open_ended", "closed_ended", "open_ended", "closed_ended"]
    proxy, length, repetition = (np.array(table.column(name)) for name in ("proxy", "part/LI", "part/RP"))
    np.testing.assert_array_equal(proxy, length * repetition)
    assert np.isfinite(np.array(table.column("gold"))).all()
    assert "standardised" in result.report.read_text().lower()
    assert json.loads(result.run.monotonicity_file.read_text())["rewards"]
    # 4 checkpoints are fewer than 6, so the verdict must be withheld.
    assert {reward.verdict.name for reward in result.analysis.rewards} == {"inconclusive"}


def test_step_0_is_the_start_policys_and_shared(study_file: Path) -> None:
    result = run(study_file)
    first, second = (result.run.arm(name, 0) for name in ("LI", "LI_RP"))
    assert first.read_rollouts(0) == second.read_rollouts(0)
    assert first.read_rollouts(6) != first.read_rollouts(0)
    gold = [arm.read_scores(0).column("gold").to_pylist() for arm in (first, second)]
    assert gold[0] == gold[1]
    # Before any update the policy is the reference: the KL of the first step is exactly 0.
    assert first.read_steps()[0]["kl"] == 0.0


def test_a_finished_study_is_not_done_again(study_file: Path) -> None:
    result = run(study_file)
    before = files(result.run)
    assert files(run(study_file).run) == before


def test_what_is_missing_and_nothing_else_is_made_again(study_file: Path) -> None:
    result = run(study_file)
    arm = result.run.arm("LI", 0)
    kept, before = arm.read_rollouts(2), files(result.run)
    for path in (arm.rollouts(2), arm.scores(2), arm.scores(0), arm.rollouts(0)):
        path.unlink()
    run(study_file)
    assert arm.read_rollouts(2) == kept  # the same weights and the same decoding seed give the same answers
    changed = {path for path, when in files(result.run).items() if before[path] != when}
    assert changed == {str(path) for path in (arm.rollouts(2), arm.scores(2), arm.scores(0), arm.rollouts(0))}


@pytest.mark.slow
def test_interrupted_and_resumed_is_the_same_run(study_file: Path) -> None:
    whole, broken = study_file.parent / "whole", study_file.parent / "broken"
    command = [str(PROXYGOLD), "run", str(study_file), "--runs"]
    subprocess.run([*command, str(whole)], check=True, env=ENVIRONMENT, capture_output=True)

    with subprocess.Popen(
        [*command, str(broken)],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that was started in the background ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        arm = RunDirectory(broken / "tiny").arm("LI", 0)
        deadline = time.monotonic() + 120
        while len(arm.read_steps()) < 3 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "same command" in message
    assert max(arm.checkpoint_steps()) < 6

    subprocess.run([*command, str(broken)], check=True, env=ENVIRONMENT, capture_output=True)
    for reward in ("LI", "LI_RP"):
        first, second = (RunDirectory(runs / "tiny") for runs in (whole, broken))
        assert curve(first, reward) == curve(second, reward)
        assert first.arm(reward, 0).read_rollouts(6) == second.arm(reward, 0).read_rollouts(6)


def test_another_study_of_the_same_name_is_refused(study_file: Path) -> None:
    result = run(study_file)
    before = files(result.run)
    with pytest.raises(StoreError, match=r"different study; they differ in training\.learning_rate.*another name"):
        run(study_file, "training.learning_rate=0.1")
    assert files(result.run) == before


def test_changed_prompts_are_noticed(study_file: Path) -> None:
    run(study_file)
    validation = study_file.parent / "validation.jsonl"
    validation.write_text(validation.read_text().replace("Name a tree.", "Name a bird."))
    with pytest.raises(StoreError, match=r"cannot go on: prompts\.validation\.sha256 changed since it began"):
        run(study_file)


def test_the_resolved_study_replays(study_file: Path) -> None:
    result = run(study_file)
    replay = load_study(result.run.study_file, ["name=replay"])
    again = run_study(replay, study_file.parent / "runs", StudyProgress(Console(quiet=True)))
    assert curve(again.run, "LI_RP") == curve(result.run, "LI_RP")


def test_match_is_measured_once_and_kept_as_numbers(study_file: Path) -> None:
    # 24 prompts, because calibration needs at least 20 completions that can be scored.
    rows = [
        {"id": f"c{i}", "prompt": f"Say {i}.", "reference": "well said", "query_type": "closed_ended"}
        for i in range(24)
    ]
    train = study_file.parent / "many.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = (
        f"data.train={train}",
        "rewards={M: 'match(AR, LI)'}",
        "encoder={model: all-minilm-l6-v2}",
        "validation.max_new_tokens=8",
        f"data.validation={train.with_name('answered.jsonl')}",
    )
    train.with_name("answered.jsonl").write_text(json.dumps({**rows[0], "prompt": "Other."}) + "\n")
    result = run(study_file, *overrides)
    line = yaml.safe_load(result.run.study_file.read_text())["rewards"]["M"]
    assert line.startswith("rescale(AR, 0.0, ")
    assert "match" not in line
    written = result.run.study_file.stat().st_mtime_ns
    run(study_file, *overrides)
    assert result.run.study_file.stat().st_mtime_ns == written


def test_prompts_that_cannot_be_scored_are_left_out_and_listed(study_file: Path) -> None:
    train = study_file.parent / "train.jsonl"
    with train.open("a") as file:
        file.write('{"id": "bad", "prompt": "What is 9 + 9?", "query_type": "closed_ended"}\n')
        file.write("{not json\n")
    result = run(
        study_file, "rewards={R: 'branch(open_ended=LI, closed_ended=RP * AR)'}", "encoder={model: all-minilm-l6-v2}"
    )
    listed = [json.loads(line) for line in result.run.rejected_file.read_text().splitlines()]
    assert [(row["split"], row["id"]) for row in listed] == [("train", "line-6"), ("train", "bad")]
    assert "not JSON" in listed[0]["reason"]
    assert "reference" in listed[1]["reason"]


def test_no_prompt_left_is_an_error(study_file: Path) -> None:
    (study_file.parent / "train.jsonl").write_text('{"prompt": "Hi", "query_type": "closed_ended"}\n')
    with pytest.raises(DataError, match="no train prompt can be scored by every reward: .*reference"):
        run(study_file, "rewards={R: AR}", "encoder={model: all-minilm-l6-v2}")


def test_a_prompt_to_train_and_validate_on_is_an_error(study_file: Path) -> None:
    train, validation = (study_file.parent / f"{name}.jsonl" for name in ("train", "validation"))
    validation.write_text(validation.read_text() + train.read_text().splitlines()[0].replace("t1", "v9") + "\n")
    with pytest.raises(DataError, match='1 prompts are in both data.train and data.validation, such as "Name a color'):
        run(study_file)


def test_the_plan_says_what_would_be_done_and_makes_nothing(study_file: Path) -> None:
    page = io.StringIO()
    print_plan(load_study(study_file), study_file.parent / "runs", Console(file=page, width=120))
    text = " ".join(page.getvalue().split())
    assert "4 train and 4 validation prompts" in text
    # 2 rewards x 6 steps x 4 rollouts; (2 rewards x 3 checkpoints + the shared step 0) x 4 prompts
    assert "48 training rollouts" in text
    assert "28 validation answers" in text
    assert not (study_file.parent / "runs").exists()


def test_planned_memory_is_what_the_loaded_policy_takes(study_file: Path) -> None:
    from proxygold.models.policy import Policy

    study = load_study(study_file)
    memory = policy_memory(study)
    policy = Policy.load(study.policy)
    trained = sum(parameter.numel() for parameter in policy.trainable_parameters())
    frozen = sum(parameter.numel() for parameter in policy.causal_lm.parameters()) - (
        trained - policy.value_head.weight.numel() - policy.value_head.bias.numel()
    )
    assert memory.weights == frozen * 4
    assert memory.trained == trained * 16
    # keys and values x 2 layers x 2 heads of 8 numbers x 4 rollouts of 8 tokens x 4 bytes
    assert memory.cache == 2 * 2 * 16 * 4 * 8 * 4

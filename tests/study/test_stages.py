"""A study runs end to end, resumes where it was stopped, and never writes over another one."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from transformers import LlamaConfig, LlamaForSequenceClassification

from proxygold.errors import ConfigError, DataError, ModelError, RewardError, StoreError
from proxygold.store import RunDirectory
from proxygold.study.loading import load_study
from proxygold.study.plan import print_plan
from proxygold.study.progress import OnStep, StudyProgress
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


class StopsAt(StudyProgress):
    """Ctrl-C in the middle of training, when `step` is logged and not yet saved."""

    def __init__(self, step: int) -> None:
        super().__init__(Console(quiet=True))
        self.left = step

    @contextmanager
    def training(self, *_: Any) -> Iterator[OnStep]:
        def on_step(record: dict[str, Any]) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        yield on_step


def test_a_stop_between_two_validations_costs_few_steps(study_file: Path, one_thread: None) -> None:
    overrides = ("rewards={LI: LI}", "validation.every=6", "training.save_every=2", "training.keep=1")
    study = load_study(study_file, overrides)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, study_file.parent / "runs", StopsAt(5))
    arm = RunDirectory(study_file.parent / "runs" / "tiny").arm("LI", 0)
    assert arm.checkpoint_steps() == [4]  # the one of step 2 is gone; step 5 is lost
    before = [row["seconds"] for row in arm.read_steps()]
    result = run(study_file, *overrides)
    assert [row["seconds"] for row in arm.read_steps()][:4] == before[:4]  # not trained again
    # What was only there to go on from is gone, and nothing took it for a checkpoint to validate.
    assert arm.checkpoint_steps() == [6]
    assert not [path for path in (arm.path / "checkpoints").iterdir() if path.name.startswith(".")]
    assert arm.rollout_steps() == arm.score_steps() == [0, 6]
    whole = run(study_file, *overrides, "name=whole").run.arm("LI", 0)
    assert curve(result.run, "LI") == curve(RunDirectory(study_file.parent / "runs" / "whole"), "LI")
    for file in ("adapter_model.safetensors", "value_head.safetensors"):
        assert (arm.checkpoint(6) / file).read_bytes() == (whole.checkpoint(6) / file).read_bytes()
    assert arm.read_rollouts(6) == whole.read_rollouts(6)


def test_answers_lost_before_a_checkpoint_in_between_are_made_again(study_file: Path, one_thread: None) -> None:
    overrides = ("rewards={LI: LI}", "validation.every=3", "training.save_every=1", "training.keep=1")
    with pytest.raises(KeyboardInterrupt):
        run_study(load_study(study_file, overrides), study_file.parent / "runs", StopsAt(5))
    arm = RunDirectory(study_file.parent / "runs" / "tiny").arm("LI", 0)
    assert arm.checkpoint_steps() == [3, 4]
    answers = arm.read_rollouts(3)
    arm.rollouts(3).unlink()
    run(study_file, *overrides)
    assert arm.read_rollouts(3) == answers
    whole = run(study_file, *overrides, "name=whole").run
    assert arm.read_rollouts(6) == whole.arm("LI", 0).read_rollouts(6)  # step 5 began from step 4, not from step 3


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
    with pytest.raises(StoreError, match=r"cannot go on: prompts\.validation\.sha256 \(.*\) changed since it began"):
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


def test_prompts_without_room_for_an_answer_are_left_out_and_listed(
    study_file: Path, tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    policy = shutil.copytree(tiny_models[0], tmp_path / "short")
    config = json.loads((policy / "config.json").read_text())
    (policy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 100}))
    with (study_file.parent / "validation.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "prompt": "word " * 90, "query_type": "open_ended"}) + "\n")
    overrides = (f"policy.model={policy}", "rewards={LI: LI}", "training.steps=2", "validation.every=2")
    result = run(study_file, *overrides)
    [listed] = [json.loads(line) for line in result.run.rejected_file.read_text().splitlines()]
    assert (listed["split"], listed["id"]) == ("validation", "long")
    assert "and 8 new ones do not fit the model's 100" in listed["reason"]
    assert len(run(study_file, *overrides).rejected) == 1  # the same when it goes on
    with pytest.raises(DataError, match="no train prompt can be read by the policy: a prompt of"):
        run(study_file, *overrides, "training.max_new_tokens=99", "name=none")


def test_no_prompt_left_is_an_error(study_file: Path) -> None:
    (study_file.parent / "train.jsonl").write_text('{"prompt": "Hi", "query_type": "closed_ended"}\n')
    with pytest.raises(DataError, match="no train prompt can be scored by every reward: .*reference"):
        run(study_file, "rewards={R: AR}", "encoder={model: all-minilm-l6-v2}")


def test_a_prompt_to_train_and_validate_on_is_validated_on(study_file: Path) -> None:
    train, validation = (study_file.parent / f"{name}.jsonl" for name in ("train", "validation"))
    validation.write_text(validation.read_text() + train.read_text().splitlines()[0].replace("t1", "v9") + "\n")
    found = run(study_file, "rewards={LI: LI}", "training.steps=2")
    assert list(found.rejected) == [{"split": "train", "id": "t1", "reason": "the same prompt is in data.validation"}]
    assert len(found.run.arm("LI", 0).read_rollouts(2)) == 5
    told = found.run.read_provenance()
    assert told["fixed"]["prompts"]["train"]["count"] == 3
    assert told["overlap"][0] == "train and validation: 1 prompt in common, left out of train"
    shutil.copy(study_file.parent / "validation.jsonl", study_file.parent / "train.jsonl")
    with pytest.raises(DataError, match="no train prompt is left: all 5 are in data.validation too"):
        run(study_file, "name=none")


def short_gold(tiny_models: tuple[Path, Path], to: Path, **config: object) -> Path:
    """The tiny gold model with other words in its configuration."""
    gold = shutil.copytree(tiny_models[1], to)
    told = json.loads((gold / "config.json").read_text())
    (gold / "config.json").write_text(json.dumps({**told, **config}))
    return gold


def test_gold_reads_what_it_can_unless_told(study_file: Path, tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    gold = short_gold(tiny_models, tmp_path / "short", max_position_embeddings=512)
    overrides = (f"gold.model={gold}", "rewards={LI: LI}", "training.steps=2")
    with pytest.raises(ModelError, match=r"max_length is 1024, but the reward model '.*short' reads 1 to 512 tokens"):
        run(study_file, *overrides, "gold.max_length=1024")
    assert not RunDirectory(study_file.parent / "runs" / "tiny").exists()
    assert run(study_file, *overrides).run.arm("LI", 0).score_steps() == [0, 2]


@pytest.mark.parametrize(
    ("gold", "error", "message"),
    [
        ("a policy", ModelError, r"is not a reward model: its checkpoint has no score\.weight"),
        ("two outputs", ModelError, "has 2 outputs; a reward model has one"),
        ("no tokenizer", ModelError, "the tokenizer of .* cannot be loaded"),
        ("no device", ConfigError, "device 'cuda:63' cannot be used here"),
    ],
)
def test_what_gold_cannot_do_is_told_before_training(
    study_file: Path,
    tiny_models: tuple[Path, Path],
    tmp_path: Path,
    gold: str,
    error: type[Exception],
    message: str,
) -> None:
    model, device = tiny_models[1], "auto"
    if gold == "a policy":
        model = tiny_models[0]
    elif gold == "two outputs":
        LlamaForSequenceClassification(LlamaConfig.from_pretrained(tiny_models[1], num_labels=2)).save_pretrained(
            model := tmp_path / "two"
        )
    elif gold == "no tokenizer":
        model = short_gold(tiny_models, tmp_path / "mute")
        for file in model.glob("*token*"):
            file.unlink()
    else:
        device = "cuda:63"
    overrides = (f"gold.model={model}", f"gold.device={device}")
    with pytest.raises(error, match=message):
        run(study_file, *overrides)
    assert not RunDirectory(study_file.parent / "runs" / "tiny").exists()
    with pytest.raises(error, match=message):
        print_plan(load_study(study_file, overrides), study_file.parent / "runs", Console(quiet=True))


def test_a_reward_line_is_read_before_any_prompt(study_file: Path) -> None:
    overrides = ("rewards={R: LI * nonsense}", "data.train=nowhere.jsonl")
    with pytest.raises(RewardError, match="unknown name 'nonsense'"):
        run(study_file, *overrides)
    with pytest.raises(RewardError, match="unknown name 'nonsense'"):
        print_plan(load_study(study_file, overrides), study_file.parent / "runs", Console(quiet=True))


def test_the_plan_says_what_would_be_done_and_makes_nothing(study_file: Path) -> None:
    page = io.StringIO()
    print_plan(load_study(study_file), study_file.parent / "runs", Console(file=page, width=120))
    text = " ".join(page.getvalue().split())
    assert "train prompts: 4 validation prompts: 4" in text
    # 2 rewards x 6 steps x 4 rollouts; (2 rewards x 3 checkpoints + the shared step 0) x 4 prompts
    assert "6 PPO steps for each reward and seed, of 4 rollouts and 1 update; 48 training rollouts in all" in text
    assert "28 validation answers" in text
    assert not (study_file.parent / "runs").exists()


def test_a_study_trains_on_a_feature_of_ones_own(study_file: Path) -> None:
    plugin = study_file.parent / "own_feature.py"
    plugin.write_text(
        "from proxygold import feature\n\n\n@feature('vowels_of_a_study')\ndef vowels(example):\n"
        "    return sum(example.completion.count(letter) for letter in 'aeiou') / 10\n"
    )
    overrides = (
        "rewards={V: 'vowels_of_a_study * RP'}",
        f"plugins=[{plugin}]",
        "training.steps=2",
        "validation.every=2",
    )
    result = run(study_file, *overrides)
    assert yaml.safe_load(result.run.study_file.read_text())["plugins"] == [str(plugin)]
    with pytest.raises(RewardError, match="no plug-in file"):
        run(study_file, *overrides[:1], "plugins=[nothing.py]", "name=other")

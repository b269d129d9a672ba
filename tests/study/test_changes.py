"""What may change in a study whose run goes on, what may not, and that the run says what did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from proxygold.errors import StoreError
from proxygold.store import RunDirectory
from proxygold.study import stages
from proxygold.study.changes import FREE
from proxygold.study.loading import load_study
from proxygold.study.plan import print_plan
from proxygold.study.progress import StudyProgress
from proxygold.study.stages import run_study

Run = Callable[..., RunDirectory]


@pytest.fixture
def run(study_file: Path) -> Run:
    """Runs the study of one reward and two steps with overrides."""

    def runs(*overrides: str) -> RunDirectory:
        small = ("rewards={LI: LI}", "training.steps=2", *overrides)
        quiet = StudyProgress(Console(quiet=True))
        return run_study(load_study(study_file, small), study_file.parent / "runs", quiet).run

    return runs


@pytest.fixture
def unscored(run: Run, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run that was stopped before gold was needed."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "score_answers", stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    return RunDirectory(study_file.parent / "runs" / "tiny")


def steps_logged(run: RunDirectory, seed: int = 0) -> list[tuple[Any, ...]]:
    return [(row["step"], row["reward"], row["kl"], row["policy_loss"]) for row in run.arm("LI", seed).read_steps()]


def test_a_finished_study_trains_on(run: Run, one_thread: None) -> None:
    run()
    longer = run("training.steps=4")
    arm = longer.arm("LI", 0)
    assert arm.checkpoint_steps() == [2, 4]
    assert arm.score_steps() == [0, 2, 4]
    whole = run("training.steps=4", "name=whole")
    assert steps_logged(longer) == steps_logged(whole)
    assert arm.read_rollouts(4) == whole.arm("LI", 0).read_rollouts(4)
    # What it is now, and that it was not so from the beginning.
    assert longer.read_study()["training"]["steps"] == 4
    provenance = longer.read_provenance()
    assert provenance["requested"]["training"]["steps"] == 4
    [change] = provenance["changes"]
    assert change.endswith(" training.steps: 2 -> 4")
    [judged] = json.loads(longer.monotonicity_file.read_text())["rewards"]
    assert len(judged["seeds"][0]["overall"]["gold_means"]) == 3


def test_it_cannot_get_shorter_than_it_is(run: Run, study_file: Path) -> None:
    run("training.steps=4")
    with pytest.raises(StoreError, match=r"training\.steps \(was 4, is 2\)\. Step 4 is trained already\. Nothing was"):
        run()
    shorter = load_study(study_file, ["rewards={LI: LI}", "training.steps=2"])
    with pytest.raises(StoreError, match="Step 4 is trained already"):  # the plan of what would be refused
        print_plan(shorter, study_file.parent / "runs", Console(quiet=True))


def test_seeds_may_be_added(run: Run) -> None:
    first = run()
    before = steps_logged(first)
    both = run("seeds=[0, 7]")
    assert steps_logged(both) == before
    assert both.arm("LI", 7).score_steps() == [0, 2]
    with pytest.raises(StoreError, match=r"differ in seeds \(was \[0, 7\], is \[7\]\)"):
        run("seeds=[7]")


def test_what_decided_no_number_may_change(run: Run) -> None:
    before = run()
    scores = before.arm("LI", 0).scores(2)
    written = scores.stat().st_mtime_ns
    changed = run(
        "analysis.threshold=0.5",
        "gold.batch_size=2",
        "validation.batch_size=3",
        "training.max_nan_share=0.5",
        "training.save_every=1",
        "policy.device=cpu",
        "gold.dtype=float32" if _auto_is_float32() else "gold.dtype=bfloat16",
    )
    assert scores.stat().st_mtime_ns == written
    assert changed.read_study()["analysis"]["threshold"] == 0.5
    assert len(changed.read_provenance()["changes"]) == 7


def test_every_free_setting_exists(study_file: Path) -> None:
    study = load_study(study_file, ["encoder.model=all-minilm-l6-v2", "data.dev=dev.jsonl"]).model_dump(mode="json")
    for place in FREE:
        inner: Any = study
        for name in place.split("."):
            assert isinstance(inner, Mapping), place
            assert name in inner, place
            inner = inner[name]


def test_gold_may_be_corrected_until_it_has_scored(
    run: Run, unscored: RunDirectory, tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    assert unscored.arm("LI", 0).rollout_steps() == [0, 2]
    other = another_model(tiny_models[1], tmp_path / "gold", LlamaForSequenceClassification)
    before = unscored.read_provenance()["fixed"]["gold"]["weights"]
    done = run("gold.max_length=64", f"gold.model={other}")
    assert done.arm("LI", 0).score_steps() == [0, 2]
    assert done.read_study()["gold"] == yaml.safe_load(done.study_file.read_text())["gold"]
    assert (done.read_study()["gold"]["max_length"], done.read_study()["gold"]["model"]) == (64, str(other))
    assert done.read_provenance()["fixed"]["gold"]["weights"] != before
    with pytest.raises(StoreError, match=r"they differ in gold\.max_length \(was 64, is 32\)"):
        run("gold.max_length=32", f"gold.model={other}")


@pytest.mark.parametrize("role", ["policy", "gold"])
def test_changed_weights_are_noticed(run: Run, tiny_models: tuple[Path, Path], tmp_path: Path, role: str) -> None:
    kind = LlamaForCausalLM if role == "policy" else LlamaForSequenceClassification
    own = shutil.copytree(tiny_models[role == "gold"], tmp_path / role)
    run(f"{role}.model={own}")
    another_model(own, own, kind)
    with pytest.raises(StoreError, match=rf"cannot go on: {role}\.weights \(was .*the files of a model.*another name"):
        run(f"{role}.model={own}")


def another_model(like: Path, to: Path, kind: Any) -> Path:
    """The same model with other weights."""
    if like != to:
        shutil.copytree(like, to)
    model = kind.from_pretrained(like)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model.save_pretrained(to)
    return to


def _auto_is_float32() -> bool:
    from proxygold.models.causal_lm import pick_dtype

    return pick_dtype("auto", torch.device("cpu")) == torch.float32

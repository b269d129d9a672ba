"""Checkpoints that any trainer made: answered as a study answers its own, scored here or elsewhere, judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from proxygold.analysis.runs import analyse_run
from proxygold.errors import ConfigError, ModelError, RewardError, StoreError
from proxygold.store import NOT_SCORED, ArmDirectory, RunDirectory
from proxygold.study import validation
from proxygold.study.checkpoint_settings import CheckpointStudy
from proxygold.study.later_gold import score_gold
from proxygold.study.loading import load_study
from proxygold.study.progress import StudyProgress
from proxygold.study.stages import run_study
from proxygold.study.validation import validate_checkpoints

QUIET = StudyProgress(Console(quiet=True))
SAMPLING = {"max_new_tokens": 8, "batch_size": 4}


def asked(checkpoints: str | Path, start: Path, prompts: Path, **more: Any) -> CheckpointStudy:
    given = {
        "name": "v",
        "checkpoints": [str(checkpoints)],
        "policy": {"model": str(start), "prompt_template": "none", "dtype": "float32"},
        "data": {"validation": str(prompts)},
        "validation": SAMPLING,
        "analysis": {"draws": 200},
        **more,
    }
    return CheckpointStudy.model_validate(given)


def times(run: RunDirectory) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.path.rglob("step-*") if path.is_file()}


def column(arm: ArmDirectory, step: int, name: str) -> list[Any]:
    values: list[Any] = arm.read_scores(step)[name].to_pylist()
    return values


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, word_study_in: Any) -> tuple[RunDirectory, Path]:
    """A finished study of two steps, and the directory of its prompts."""
    directory = tmp_path_factory.mktemp("study")
    return run_study(load_study(word_study_in(directory)), directory / "runs", QUIET).run, directory


def test_answers_and_scores_are_a_studys_own(
    study: tuple[RunDirectory, Path], word_models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, directory = study
    policy, gold = word_models
    own = run.arm("LI", 0)
    # Adapters, merged into their base: another way to the same answers than the one that training took.
    adapters, prompts = own.path / "checkpoints" / "step-*", directory / "validation.jsonl"
    here = RunDirectory(tmp_path / "here")
    answered = validate_checkpoints(asked(adapters, policy, prompts), here, QUIET, proxy=False, gold=False)
    assert (answered.analysis, answered.report) == (None, None)
    arm = here.arm("proxy", 0)
    assert arm.rollout_steps() == [0, 1, 2]
    for step in (0, 1, 2):
        assert arm.rollouts(step).read_bytes() == own.rollouts(step).read_bytes()

    # On another machine, which has gold and nothing else.
    elsewhere = RunDirectory(tmp_path / "elsewhere")
    for part in ("study.yaml", "proxy/seed-0/rollouts"):
        source, to = here.path / part, elsewhere.path / part
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, to) if source.is_dir() else shutil.copy(source, to)
    scored = score_gold(elsewhere, [f"gold.model={gold}", "gold.dtype=float32"], QUIET)
    assert (scored.analysis, scored.report) == (None, None)  # without the proxy there is nothing to compare
    there = elsewhere.arm("proxy", 0)
    for step in (0, 1, 2):
        assert column(there, step, "gold") == column(own, step, "gold")
        assert set(column(there, step, "proxy_reason")) == {NOT_SCORED}

    # And with the reward, the verdict that the study has.
    settings = asked(adapters, policy, prompts, rewards={"proxy": "LI"}, gold={"model": str(gold), "dtype": "float32"})
    before = times(elsewhere)
    # Gold need not be here any more: it would be looked for in vain.
    with monkeypatch.context() as patch:
        patch.setattr(validation, "check_gold", lambda _: pytest.fail("gold has scored all there is"))
        done = validate_checkpoints(settings, elsewhere, QUIET, answer=False)
    assert column(there, 2, "proxy") == column(own, 2, "proxy")
    assert column(there, 2, "gold") == column(own, 2, "gold")
    assert done.analysis is not None
    [mine], [theirs] = (analyse_run(which).rewards for which in (elsewhere, run))
    assert repr(mine.seeds[0].overall) == repr(theirs.seeds[0].overall)  # as text, because NaN is not NaN
    page = elsewhere.report_file.read_text()
    assert "The checkpoints are another trainer's." in page
    assert "which took no part in training" not in page
    changed = {path for path, when in times(elsewhere).items() if before.get(path) != when}
    assert changed == {there.scores(step) for step in (0, 1, 2)}

    # A second time, nothing is done again, and nothing else is taken for the same.
    before = times(elsewhere)
    validate_checkpoints(settings, elsewhere, QUIET, answer=False)
    assert times(elsewhere) == before
    with pytest.raises(StoreError, match=r"holds something else; it differs in rewards\.proxy \(was 'LI', is 'RP'\)"):
        other = asked(adapters, policy, prompts, rewards={"proxy": "RP"}, gold=settings.gold)
        validate_checkpoints(other, elsewhere, QUIET, answer=False)
    with pytest.raises(StoreError, match=r"another one: gold\.max_length \(was None, is 9\)\. Put it back"):
        score_gold(elsewhere, ["gold.max_length=9"], QUIET)
    assert times(elsewhere) == before


def test_new_checkpoints_are_taken_in_and_changed_ones_noticed(
    study: tuple[RunDirectory, Path], word_models: tuple[Path, Path], tmp_path: Path
) -> None:
    run, directory = study
    policy, gold = word_models
    trained = tmp_path / "trained"
    shutil.copytree(run.arm("LI", 0).checkpoint(1), trained / "checkpoint-1")
    prompts = tmp_path / "prompts.jsonl"
    long = json.dumps({"id": "long", "prompt": "w1 " * 125, "query_type": "open_ended"})
    prompts.write_text((directory / "validation.jsonl").read_text() + long + "\n{broken\n")
    settings = asked(
        trained / "*", policy, prompts, rewards={"proxy": "LI"}, gold={"model": str(gold), "dtype": "float32"}
    )
    to = RunDirectory(tmp_path / "v")
    first = validate_checkpoints(settings, to, QUIET)
    assert [(row["split"], row["id"]) for row in first.rejected] == [("validation", "line-6"), ("validation", "long")]
    before = times(to)
    shutil.copytree(run.arm("LI", 0).checkpoint(2), trained / "checkpoint-2")
    validate_checkpoints(settings, to, QUIET)
    arm = to.arm("proxy", 0)
    assert arm.rollout_steps() == arm.score_steps() == [0, 1, 2]
    assert {path: when for path, when in times(to).items() if path in before} == before

    shutil.copy(trained / "checkpoint-2/adapter_model.safetensors", trained / "checkpoint-1/adapter_model.safetensors")
    with pytest.raises(StoreError, match=r"cannot go on: checkpoints\.0/1 \(.*\) changed since it began"):
        validate_checkpoints(settings, to, QUIET)
    prompts.write_text(prompts.read_text().replace("w5 w1", "w5 w7"))
    with pytest.raises(StoreError, match=r"cannot go on: .*prompts\.validation\.sha256"):
        validate_checkpoints(settings, to, QUIET)


def test_whole_models_of_another_architecture_answer_as_transformers_generate_does(
    word_models: tuple[Path, Path], word_tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("w1 w2 w3", "w4")))
    ends = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    config = GPT2Config(vocab_size=16, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.4, **ends)
    expected: dict[int, list[str]] = {}
    for step in (0, 10):
        torch.manual_seed(step)
        model = GPT2LMHeadModel(config).eval()
        model.save_pretrained(tmp_path / f"checkpoint-{step}")
        word_tokenizer.save_pretrained(tmp_path / f"checkpoint-{step}")
        expected[step] = []
        for text in ("w1 w2 w3", "w4"):
            ids = torch.tensor([word_tokenizer(text)["input_ids"]])
            with torch.no_grad():
                answer = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
            expected[step].append(word_tokenizer.decode(answer, skip_special_tokens=True))
    start = tmp_path / "checkpoint-0"
    greedy = asked(tmp_path / "checkpoint-*", start, prompts, validation={**SAMPLING, "temperature": 0.0})
    run = RunDirectory(tmp_path / "v")
    validate_checkpoints(greedy, run, QUIET)
    for step, answers in expected.items():
        assert [row.completion for row in run.arm("proxy", 0).read_rollouts(step)] == answers
    assert expected[0] != expected[10]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"rewards": {"proxy": "LI * nonsense"}}, RewardError, "unknown name 'nonsense'"),
        ({"rewards": {"proxy": "match(AR, LI)"}}, RewardError, "`match` that has not been measured"),
        ({"gold": {"model": "./nowhere"}}, ModelError, r"reward model './nowhere' is not a directory"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    word_models: tuple[Path, Path], tmp_path: Path, more: Any, error: type[Exception], message: str
) -> None:
    run = RunDirectory(tmp_path / "v")
    with pytest.raises(error, match=message):
        validate_checkpoints(asked(tmp_path / "*", word_models[0], tmp_path / "none.jsonl", **more), run, QUIET)
    assert not run.exists()


def test_gold_needs_a_run_with_answers_and_a_name(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "v")
    with pytest.raises(StoreError, match="is not a run"):
        score_gold(run, [], QUIET)
    assert not run.path.exists()
    run.write_study({"rewards": {"proxy": "LI"}, "seeds": [0], "gold": None})
    with pytest.raises(ConfigError, match=r"names no gold reward\. Give one: gold\.model=MODEL"):
        score_gold(run, [], QUIET)
    with pytest.raises(ConfigError, match=r"modl: unknown key\. Did you mean 'model'\?"):
        score_gold(run, ["gold.modl=x"], QUIET)
    with pytest.raises(StoreError, match="has no answers yet"):
        score_gold(run, ["gold.model=gold-mini"], QUIET)

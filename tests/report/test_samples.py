"""Which prompts are shown, and training logs made small."""

import ast
from pathlib import Path

import numpy as np
import pytest

from proxygold.report.samples import choose_prompts
from proxygold.report.training import MAX_POINTS, QUANTITIES, training_curves
from proxygold.store import RunDirectory

IDS = [f"p{i}" for i in range(40)]


def test_ten_prompts_half_of_each_type_in_order_and_always_the_same():
    types = ["open_ended" if i % 4 else "closed_ended" for i in range(40)]
    chosen = choose_prompts(IDS, types)
    assert chosen == choose_prompts(IDS, types)
    assert len(set(chosen)) == 10
    assert [types[IDS.index(prompt)] for prompt in chosen].count("open_ended") == 5
    assert chosen == sorted(chosen, key=IDS.index)


@pytest.mark.parametrize(("types", "expected"), [(["open_ended"] * 39 + ["closed_ended"], 10), ([None] * 40, 10)])
def test_types_that_are_rare_or_unknown_do_not_matter(types, expected):
    assert len(choose_prompts(IDS, types)) == expected


def test_fewer_prompts_than_ten_are_all_shown():
    assert choose_prompts(IDS[:3], [None] * 3) == IDS[:3]


def test_long_logs_are_thinned_without_changing_their_level(tmp_path):
    arm = RunDirectory(tmp_path).arm("R", 0)
    arm.path.mkdir(parents=True)
    values = np.random.default_rng(0).normal(size=2_000)
    arm.train_log.write_text("".join(f'{{"step": {i + 1}, "kl": {v}}}\n' for i, v in enumerate(values)))
    (curve,) = training_curves([arm], "kl")
    assert len(curve.steps) == MAX_POINTS
    assert curve.steps[-1] == 2_000
    np.testing.assert_allclose(curve.values[0], values[:5].mean())
    # The running mean over 5% of 400 points: 10 to each side.
    np.testing.assert_allclose(curve.smooth[200], curve.values[190:211].mean())
    np.testing.assert_allclose(curve.smooth[0], curve.values[:11].mean())


def test_null_and_absent_values_are_not_drawn(tmp_path):
    arm = RunDirectory(tmp_path).arm("R", 0)
    arm.append_step({"step": 1, "reward": None})
    arm.append_step({"step": 2, "reward": 0.5})
    (curve,) = training_curves([arm], "reward")
    assert curve.steps == (2,)
    assert training_curves([arm], "tokens") == []


def test_the_trainer_logs_what_the_report_draws():
    # Read as text: the trainer needs torch, the report does not.
    training = Path(__file__).parents[2] / "src/proxygold/training"
    keys = {
        key.value
        for source in (training / "ppo.py", training / "step_log.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert {key for key, _ in QUANTITIES} <= keys

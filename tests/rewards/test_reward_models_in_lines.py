"""`RM("model")` in a reward line: a real reward model as one node among others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load, save

from proxygold import Example, reward
from proxygold.errors import ModelError, RewardError
from proxygold.models.reward_models import load_reward_model
from proxygold.rewards.language import parse, to_line
from proxygold.rewards.score_engine import uses_models

EXAMPLES = [
    Example(prompt="Name an animal.", completion="A heron."),
    Example(prompt="Name an animal.", completion="A heron is a long-legged bird that waits in shallow water for fish."),
]


def test_a_reward_model_is_a_node_like_any_other(tiny_models: tuple[Path, Path]) -> None:
    gold = str(tiny_models[1])
    scored = reward(f"LI + 2 * RM({gold!r})").score(EXAMPLES)
    alone, _ = load_reward_model(gold).score(EXAMPLES)
    np.testing.assert_array_equal(scored.parts[f"RM({gold!r})"], alone)
    np.testing.assert_array_equal(scored.total, scored.parts["LI"] + 2 * alone)


def test_other_weights_at_the_same_place_make_another_reward(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = (Path(shutil.copytree(tiny_models[1], tmp_path / name)) for name in ("one", "two"))
    line = f"LI + RM({str(one)!r}) - RM({str(two)!r})"
    start = reward(line).reward_id
    for directory in (one, two):
        file = directory / "model.safetensors"
        weights = file.read_bytes()
        file.write_bytes(save({**load(weights), "score.weight": load(weights)["score.weight"] + 1}, {"format": "pt"}))
        assert file.stat().st_size == len(weights)
        assert reward(line).reward_id != start, directory.name
        file.write_bytes(weights)
        assert reward(line).reward_id == start


def test_a_reward_model_takes_its_settings_in_the_line(tiny_models: tuple[Path, Path]) -> None:
    gold = str(tiny_models[1])
    line = f"RM({gold!r}, template='ultrarm', max_length=20)"
    scored = reward(line).score(EXAMPLES)
    expected, _ = load_reward_model(gold, template="ultrarm", max_length=20).score(EXAMPLES)
    np.testing.assert_array_equal(scored.total, expected)
    assert not np.allclose(expected, load_reward_model(gold).score(EXAMPLES)[0])
    assert reward(line).reward_id != reward(f"RM({gold!r})").reward_id


@pytest.mark.parametrize(
    ("line", "canonical"),
    [
        ("RM('x', kind='auto', batch_size=16)", "RM('x')"),
        # In one order, numbers as whole numbers.
        ("RM('x', max_length=512.0, template='chatml')", "RM('x', template='chatml', max_length=512)"),
        ("RM(url='http://h:1/score')", "RM(url='http://h:1/score')"),
        ("RM('x', url='http://h:1/classify')", "RM('x', url='http://h:1/classify')"),
    ],
)
def test_lines_with_settings_have_one_form(line: str, canonical: str) -> None:
    assert to_line(parse(line)) == canonical
    assert parse(canonical) == parse(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RM()", r'RM got 0 arguments.*\n.*\n.*\nWrite RM\("model"\)'),
        ("RM(kind='remote')", "RM got 0 arguments"),
        ("RM('x', 'y')", "RM got 2 arguments"),
        ("RM(LI)", "RM takes the name of a reward model in quotes"),
        (
            "RM('x', templat='hh')",
            r"RM has no argument templat, at column 4\n.*\n.*\nIt takes: kind, .*Did you mean template",
        ),
        ("RM('x', template=LI)", "an argument must be a number, a text in quotes, True or False"),
        ("RM('x', template='hhh')", "there is no template called 'hhh'"),
        ("RM('x', max_length=0)", "max_length is 0"),
        ("RM('x', max_length=2.5)", "max_length is 2.5: input should be a valid integer"),
        ("RM('x', kind='value-head')", "give template, chatml for Starling-RM-34B"),
        (
            "RM(url='http://h/classifi')",
            "url must end with /classify, /pooling, /score or /get_reward, and is http://h/classifi",
        ),
        ("RM('x', url='http://h/score', template='hh')", "/score takes a pair of texts"),
        ("RM('x', model='y')", "RM has no argument model"),
    ],
)
def test_settings_that_do_not_fit_are_told_with_their_place(line: str, message: str) -> None:
    with pytest.raises(RewardError, match=message) as caught:
        reward(line)
    assert "^" in str(caught.value)


def test_a_remote_reward_model_needs_no_gpu_here_but_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from proxygold.models import remote_reward_model

    monkeypatch.setattr(remote_reward_model, "_FIRST_PAUSE", 0.001)
    remote = reward("LI * RM(url='http://127.0.0.1:9/classify', template='hh')")
    assert not uses_models(remote)
    assert uses_models(reward("LI * RM('x')"))
    for act in (lambda: remote.score(EXAMPLES), lambda: remote.reward_id):
        with pytest.raises(ModelError, match="cannot be reached"):
            act()

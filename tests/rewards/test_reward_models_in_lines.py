"""`RM("model")` in a reward line: a real reward model as one node among others."""

import shutil
from pathlib import Path

import numpy as np
from safetensors.torch import load, save

from proxygold import Example, reward
from proxygold.models.reward_models import load_reward_model

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

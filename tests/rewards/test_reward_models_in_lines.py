"""`RM("model")` in a reward line: a real reward model as one node among others."""

from pathlib import Path

import numpy as np

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


def test_its_weights_are_part_of_the_rewards_identity(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    gold = tiny_models[1]
    model = AutoModelForSequenceClassification.from_pretrained(gold)
    model.score.weight.data += 1
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(gold).save_pretrained(tmp_path)
    first, second = reward(f"RM({str(gold)!r})"), reward(f"RM({str(tmp_path)!r})")
    assert load_reward_model(str(gold)).fingerprint != load_reward_model(str(tmp_path)).fingerprint
    assert first.reward_id != second.reward_id
    assert first.reward_id == reward(f"RM({str(gold)!r})").reward_id

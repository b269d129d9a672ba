"""Which prompts a reward can score at all: found out with one plain answer before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.records import Example, PromptRecord
from proxygold.rewards.runtime import Reward

__all__ = ["unscorable_prompts"]

# A plain sentence that every feature can be computed on, so that what fails is the prompt's own lack.
_ANSWER = "This is a plain answer of more than three words."


def unscorable_prompts(reward: Reward, prompts: Sequence[PromptRecord]) -> tuple[str | None, ...]:
    """For each of n prompts why the reward cannot score an answer to it (no reference, say); None where it can."""
    examples = [
        Example(prompt.prompt, _ANSWER, prompt.reference, prompt.query_type, prompt.columns) for prompt in prompts
    ]
    return reward.score(examples).reasons

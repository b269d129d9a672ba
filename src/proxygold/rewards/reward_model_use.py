"""`RM("model", template="chatml", …)` of a reward line, checked against the settings that reward models have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxygold.errors import RewardError
from proxygold.features.registry import Argument, nearest
from proxygold.rewards.tree import RewardModelUse

__all__ = ["reward_model_use"]

WRITE = 'Write RM("model").'


def reward_model_use(names: Sequence[object], arguments: Mapping[str, Argument]) -> RewardModelUse:
    """The node of a reward model: what stands before its arguments (a name, or nothing), and these.

    As with features, what is equal to its default is left out, and numbers are as they are read. Raises RewardError for
    a name that is none or an argument that does not exist, ConfigError for values that are wrong or do not fit.
    """
    if len(names) > 1 or (not names and "url" not in arguments):
        raise RewardError(f"RM got {len(names)} arguments. {WRITE}")
    model = names[0] if names else ""
    if not isinstance(model, str) or (names and not model.strip()):
        raise RewardError(f"RM takes the name of a reward model in quotes. {WRITE}")
    if not arguments:
        return RewardModelUse(model)
    # Here, for pydantic takes a while to load, and most lines have no reward model.
    from proxygold.models.reward_settings import RewardModelSettings

    allowed = [name for name in RewardModelSettings.model_fields if name != "model"]
    for name in arguments:
        if name not in allowed:
            raise RewardError(f"RM has no argument {name}. It takes: {', '.join(allowed)}.{nearest(name, allowed)}")
    read = RewardModelUse(model, tuple(arguments.items())).settings.model_dump(exclude_defaults=True)
    return RewardModelUse(model, tuple((name, read[name]) for name in allowed if name in read))

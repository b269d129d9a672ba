"""Reward models that cannot be read: a transformer that gives a conversation one number. Gold is one of these.

Taken are Hugging Face sequence classifiers with one output, by hub id or directory, with their chat template or with a
named one (one without a template reads a pair of texts, as OpenAssistant's DeBERTa does); PEFT adapters with a head, by
their directory; Llama and its kin with a value head (Starling-RM-34B, UltraRM-13B); T5 preference models (SteamSHP);
endpoints of vLLM, OpenRLHF and `proxygold serve`; and `gold-mini`, which ships with the package
(`gold_mini/README.md` says what it is worth).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from proxygold.errors import ModelError
from proxygold.models.bundled import resolve_model
from proxygold.models.fingerprint import checkpoint_fingerprint
from proxygold.models.hub import find_checkpoint
from proxygold.models.reward_settings import RewardModelSettings, reward_model_settings
from proxygold.records import Example, FloatArray

__all__ = [
    "GOLD_MINI",
    "RewardModel",
    "check_reward_model",
    "find_reward_model",
    "load_reward_model",
    "open_reward_model",
    "reward_model_identity",
]

GOLD_MINI = "gold-mini"
_GOLD_MINI_DIRECTORY = Path(__file__).parent / "gold_mini"


class RewardModel(Protocol):
    """What scores, here or elsewhere. Threads may share one."""

    name: str

    def score(
        self, examples: Sequence[Example], progress: Callable[[int], None] | None = None
    ) -> tuple[FloatArray, tuple[str | None, ...]]:
        """Scores (n,) float64 and n reasons: None where the score is finite, else why it is NaN.

        `progress` is called with the number of examples scored so far.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all that decides a score, as far as it can be known."""
        ...


_loaded: dict[RewardModelSettings, RewardModel] = {}
_loading = threading.Lock()


def load_reward_model(
    name_or_path: str,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    batch_size: int = 16,
    **settings: Any,
) -> RewardModel:
    """The reward model called `name_or_path`, with other settings of `RewardModelSettings`. Loaded once in a process.

    Raises ModelError when it cannot be loaded or is no reward model, ConfigError for a wrong setting or an unusable
    device.
    """
    return open_reward_model(
        reward_model_settings(
            model=name_or_path, device=device, dtype=dtype, max_length=max_length, batch_size=batch_size, **settings
        )
    )


def open_reward_model(settings: RewardModelSettings) -> RewardModel:
    """The reward model of these settings. Loaded once in a process; raises as `load_reward_model` does."""
    settings = RewardModelSettings.model_validate(
        settings.model_dump()
    )  # equal whatever their class: gold's is its own
    with _loading:
        if settings not in _loaded:
            _loaded[settings] = _open(settings)
        return _loaded[settings]


def find_reward_model(name: str) -> str:
    """The directory or hub id of the reward model called `name`, without loading it. Raises ModelError."""
    if name.lower() == GOLD_MINI:
        if not (_GOLD_MINI_DIRECTORY / "adapter_config.json").is_file():
            raise ModelError("gold-mini is missing from this installation of proxygold: install the package again.")
        return str(_GOLD_MINI_DIRECTORY)
    directory = Path(resolve_model(name)).expanduser()
    if (directory / "adapter_config.json").is_file():
        return str(directory)
    return find_checkpoint(name, "reward model")


def reward_model_identity(settings: RewardModelSettings) -> str:
    """Hex SHA-256 that changes with the weights: by a look at the files, or by asking an endpoint what it serves.

    Raises ModelError when it is not there.
    """
    if settings.is_remote:
        from proxygold.models.remote_reward_model import RemoteRewardModel

        return RemoteRewardModel(settings).fingerprint
    weights = checkpoint_fingerprint(find_reward_model(settings.model))
    if settings.tokenizer is None:
        return weights
    return hashlib.sha256(f"{weights} {checkpoint_fingerprint(settings.tokenizer)}".encode()).hexdigest()


def check_reward_model(settings: RewardModelSettings) -> None:
    """Raise what `open_reward_model` would, as far as that can be told without reading the weights.

    For who needs the model late, such as a study its gold: that it is there, has one output and a tokenizer, reads
    `max_length` tokens, and, of a whole model in a directory, that its checkpoint lacks nothing. A remote one must
    score an example.
    """
    if settings.is_remote:
        from proxygold.models.remote_reward_model import RemoteRewardModel

        RemoteRewardModel(settings).check()
        return
    from proxygold.models.local_reward_kinds import check_local

    check_local(settings, find_reward_model(settings.model))


def _open(settings: RewardModelSettings) -> RewardModel:
    if settings.is_remote:
        from proxygold.models.remote_reward_model import RemoteRewardModel

        return RemoteRewardModel(settings)
    try:
        from proxygold.models.local_reward_kinds import load_local
    except ImportError as error:
        raise ModelError(
            f"a reward model needs {error.name}, which is not installed. Run: pip install 'proxygold[train]'"
        ) from error
    return load_local(settings, find_reward_model(settings.model))

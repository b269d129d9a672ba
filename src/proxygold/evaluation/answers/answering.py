"""A model as a subject: answers drawn with one random stream each, kept in a file as they come."""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.answer_file import AnswerFile, open_answers
from proxygold.evaluation.answers.subjects import Answer, AnyProgress, Request, no_progress
from proxygold.models.fingerprint import checkpoint_fingerprint
from proxygold.models.hub import find_checkpoint
from proxygold.models.policy_settings import LoraSettings, PolicySettings

if TYPE_CHECKING:
    from proxygold.evaluation.answers.engines import Engine
    from proxygold.models.prompt_tokens import PromptTokens

__all__ = ["AnsweringSettings", "ModelSubject", "Shelf"]

_ADAPTER = "adapter_config.json"
# What a directory or a repository has that holds a model, or an adapter that names its base.
_WHOLE = ("config.json", _ADAPTER)


@dataclass(frozen=True, slots=True)
class AnsweringSettings:
    """How every model of an evaluation answers. `batch_size` and `device` change nothing but the rounding of logits."""

    template: str = "chat"
    system: str | None = None
    engine: str = "auto"
    dtype: str = "auto"
    batch_size: int = 16
    device: str = "auto"


class Shelf:
    """Room for one loaded model: the one before is let go when the next is taken."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._owner: object = None

    def engine(self, owner: ModelSubject) -> Engine:
        """The engine of `owner`, loaded when it is not the one on the shelf."""
        if self._owner is not owner or self._engine is None:
            self.clear()
            self._engine = owner.load_engine()
            self._owner = owner
        return self._engine

    def clear(self) -> None:
        """Let the loaded model go, with its memory."""
        if self._engine is None:
            return
        self._engine, self._owner = None, None
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class ModelSubject:
    """A model, or `model` as an adapter on `base`. `left_out` and `about` are as `Subject` says."""

    def __init__(
        self,
        name: str,
        model: str,
        settings: AnsweringSettings,
        shelf: Shelf | None = None,
        *,
        base: str | None = None,
        force: bool = False,
    ) -> None:
        """Nothing is loaded yet. Raises ModelError when there is no such model, ConfigError for wrong settings."""
        from proxygold.evaluation.answers.engines import ENGINES

        self.name = name
        self.left_out: dict[str, str] = {}
        self._model, self._base = model, base
        self._settings = settings
        self._shelf = shelf or Shelf()
        self._force = force
        self._file: Path | None = None
        self._prompts: PromptTokens | None = None
        if settings.engine not in ENGINES:
            raise ConfigError(f"--engine is {settings.engine!r}; allowed: {', '.join(ENGINES)}.")
        try:
            self._policy_settings = PolicySettings.model_validate(
                {
                    "model": model,
                    "prompt_template": settings.template,
                    "system_prompt": settings.system,
                    "dtype": settings.dtype,
                    "device": settings.device,
                    "lora": LoraSettings(r=1, alpha=1),
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"--{first['loc'][0]}: {first['msg']} (given: {first['input']!r})") from error
        if base is None:
            find_checkpoint(model, "model", _WHOLE)
        else:
            find_checkpoint(base, "model", _WHOLE)
            find_checkpoint(model, "adapter", [_ADAPTER])
        self._about: dict[str, Any] = {"model": base or model, "adapter": model if base is not None else None}
        self._known = False

    @property
    def about(self) -> Mapping[str, Any]:
        """Paths, the hash of the weights' files, template, system message, dtype, engine."""
        if not self._known:
            self._about |= self._identity()
            self._known = True
        return self._about

    def _identity(self) -> dict[str, Any]:
        from proxygold.evaluation.answers.engines import pick_engine
        from proxygold.models.causal_lm import pick_device, pick_dtype

        device = pick_device(self._settings.device)
        return {
            "weights": _weights_hash(self._model, self._base),
            "template": self._settings.template,
            "system": self._settings.system,
            "dtype": str(pick_dtype(self._settings.dtype, device)).removeprefix("torch."),
            "engine": pick_engine(self._settings.engine),
            "device": str(device),
        }

    def answer(
        self, requests: Sequence[Request], file: Path, *, seed: int = 0, progress: AnyProgress = no_progress
    ) -> list[list[Answer]]:
        """See `Subject`. Raises StoreError for a file with answers of other settings, and what loading raises."""
        if file != self._file:
            self._file, self.left_out = file, {}
        numbered = [
            request if request.number is not None else replace(request, number=place)
            for place, request in enumerate(requests)
        ]
        twice = [id_ for id_, count in Counter(request.id for request in numbered).items() if count > 1]
        if twice:
            raise DataError(f"two questions have the id {twice[0]!r}. Give each an id of its own.")
        with open_answers(file, self.about, numbered, seed, force=self._force) as kept:
            self._answer_rest(numbered, kept, seed, progress)
            return [kept.answers(request) or [] for request in numbered]

    def _answer_rest(self, requests: Sequence[Request], kept: AnswerFile, seed: int, progress: AnyProgress) -> None:
        """Have what is not answered yet answered, where there is room for it."""
        rest = []
        for request in requests:
            if kept.answers(request) is not None:
                continue
            reason = self._no_room(request)
            if reason is None:
                rest.append(request)
            else:
                self.left_out[request.id] = reason
        progress(len(requests) - len(rest))
        if not rest:
            return
        for request, answers in self._shelf.engine(self).answers(rest, seed=seed):
            kept.add(request, answers, seed)
            progress(1)

    def _no_room(self, request: Request) -> str | None:
        """Why a request cannot be answered, told without the weights; None when it can."""
        if self._prompts is None:
            from proxygold.models.sampling_policy import load_sampling_prompts

            self._prompts = load_sampling_prompts(self._policy_settings, self._base)
        try:
            self._prompts.check_room(len(self._prompts.encode(request.prompt)), request.sampling.max_new_tokens)
        except DataError as error:
            return str(error)
        return None

    def release(self) -> None:
        """Let the loaded model go, whichever of those compared it is; it is loaded again when it is asked."""
        self._shelf.clear()

    def load_engine(self) -> Engine:
        """The loaded model. Raises ModelError when it cannot be loaded."""
        if self.about["engine"] == "vllm":
            from proxygold.evaluation.answers.vllm_engine import load_vllm

            return load_vllm(self._policy_settings, self._base, str(self.about["dtype"]))
        from proxygold.evaluation.answers.engines import TransformersEngine
        from proxygold.models.sampling_policy import load_sampling_policy

        policy = load_sampling_policy(self._policy_settings, self._base)
        return TransformersEngine(policy, self._settings.batch_size)


def _weights_hash(model: str, base: str | None) -> str:
    """A hash that changes with the files of a model, or of an adapter and what it is put on."""
    from proxygold.models.bundled import resolve_model
    from proxygold.models.classifiers import adapter_base

    parts = [checkpoint_fingerprint(model)]
    below = base or adapter_base(resolve_model(model))
    while below:
        # Fetched first where it is on the hub: a fingerprint is of the commit that is here.
        find_checkpoint(below, "model", _WHOLE)
        parts.append(checkpoint_fingerprint(below))
        below = adapter_base(resolve_model(below))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

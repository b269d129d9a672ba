"""Whose answers are evaluated: a model, a model with an adapter, or answers that exist already."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from proxygold.errors import ConfigError
from proxygold.evaluation.answers.outputs import GivenOutputs, read_outputs
from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import Prompt

__all__ = ["Answer", "AnyProgress", "Request", "Subject", "model_name", "no_progress", "open_subjects", "release"]

# Called with how many requests were answered since the last call.
AnyProgress = Callable[[int], None]


def no_progress(done: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a subject.

    `id` is unique within a benchmark; a second turn has one of its own, such as `81/2`. `samples` answers are drawn.
    `number` chooses their random streams; None: the request's place among those given together.
    """

    id: str
    prompt: Prompt
    sampling: SamplingSettings
    samples: int = 1
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a request. `text` is what was written, uncut, without special tokens.

    `tokens` counts the end-of-sequence token; `finished`: whether it came. Both are None where nobody wrote them down.
    `draw` counts the answers to one request from 0.
    """

    id: str
    text: str
    tokens: int | None
    finished: bool | None
    draw: int = 0


@runtime_checkable
class Subject(Protocol):
    """What answers."""

    @property
    def name(self) -> str:
        """What it is called in tables and files."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What it is, for results.json: model, adapter, hash of the weights, template, dtype, engine."""
        ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """Of the requests made with the last `file`, those that got no answer, by id, each with the reason."""
        ...

    def answer(
        self, requests: Sequence[Request], file: Path, *, seed: int = 0, progress: AnyProgress = no_progress
    ) -> list[list[Answer]]:
        """The answers to each request, in order; none to one that the model has no room for (`left_out`).

        They are written to `file` (JSONL) as they come, and taken from there when they are there. `progress` gets how
        many requests are done since its last call. Raises StoreError when `file` has answers of other settings.
        """
        ...


def open_subjects(
    models: Sequence[str] | None,
    adapters: Sequence[str] | None,
    outputs: Sequence[str] | None,
    *,
    template: str = "chat",
    system: str | None = None,
    engine: str = "auto",
    dtype: str = "auto",
    batch_size: int = 16,
    force: bool = False,
    device: str = "auto",
) -> list[Subject | GivenOutputs]:
    """What `--model`, `--adapter` and `--outputs` name, in that order, each as `[NAME=]WHAT`.

    No weights are loaded before a first answer is asked for, and one model is let go before the next is loaded.
    Raises ConfigError when nothing is given, when names are equal, or for adapters without the one model to put them
    on, ModelError for a model that is not there, and DataError for outputs that cannot be read.
    """
    models, adapters, outputs = models or (), adapters or (), outputs or ()
    if not (models or adapters or outputs):
        raise ConfigError(
            "there is nothing to evaluate. Give --model MODEL, --model MODEL with --adapter DIR, or --outputs FILE "
            "with answers that exist already; each more than once to compare several."
        )
    if adapters and len(models) > 1:
        raise ConfigError(
            f"--adapter is put on the one --model, and {len(models)} were given: {', '.join(models)}. Give one, or "
            "give each adapter as a --model of its own, which is then put on the base that it names."
        )
    opened: list[Subject | GivenOutputs] = []
    if models or adapters:
        from proxygold.evaluation.answers.answering import AnsweringSettings, ModelSubject, Shelf

        settings = AnsweringSettings(
            template=template, system=system, engine=engine, dtype=dtype, batch_size=batch_size, device=device
        )
        shelf = Shelf()
        base = _named(models[0])[1] if models else None
        if adapters:
            named = [(*_named(adapter), base) for adapter in adapters]
            opened += [ModelSubject(name, what, settings, shelf, base=on, force=force) for name, what, on in named]
        else:
            opened += [ModelSubject(*_named(model), settings, shelf, force=force) for model in models]
    for given in outputs:
        name, path = _named(given, of_file=True)
        opened.append(read_outputs(Path(path).expanduser(), name))
    _check_names([subject.name for subject in opened])
    return opened


def release(subjects: Sequence[Subject | GivenOutputs]) -> None:
    """Let the model go that is loaded, before another needs its memory: a classifier, an encoder."""
    for subject in subjects:
        if hasattr(subject, "release"):
            subject.release()


def _named(given: str, *, of_file: bool = False) -> tuple[str, str]:
    """The name and the rest of `[NAME=]WHAT`; without a name, one is made out of what it is."""
    name, equals, what = given.partition("=")
    if equals and name.strip() and not Path(given).expanduser().exists():
        if not what:
            raise ConfigError(f"{given!r} names nothing. Write NAME=MODEL or NAME=FILE.")
        return name.strip(), what
    return (_file_name(given) if of_file else model_name(given)), given


def model_name(model: str) -> str:
    """What a model is called when nobody says: a hub id or a bundled name is its own name, a directory its last one.

    A checkpoint has its training's name too.

    >>> model_name("runs/demo/LI_RP/seed-0/checkpoints/step-96"), model_name("grpo/checkpoint-500")
    ('LI_RP/seed-0/step-96', 'grpo/checkpoint-500')
    >>> model_name("org/model-7b"), model_name("/models/model-7b/")
    ('org/model-7b', 'model-7b')
    """
    parts = Path(model).parts
    if len(parts) >= 4 and parts[-2] == "checkpoints":
        return "/".join((*parts[-4:-2], parts[-1]))
    for place in range(len(parts) - 1, 0, -1):  # verl's are DIR/global_step_N/actor/huggingface
        if re.search(r"(?:checkpoint|step|iter)[-_]?\d+(?:_hf)?$", parts[place]):
            return "/".join(parts[place - 1 : place + 1]).lstrip("/")
    is_hub_id = len(parts) == 2 and parts[0] not in ("/", "..", "~") and not Path(model).exists()
    return model if is_hub_id or not parts else parts[-1]


def _file_name(path: str) -> str:
    """A file's name up to its format: `gpt4` of `out/gpt4.jsonl.gz`."""
    return re.sub(r"(\.(jsonl|ndjson|json|parquet))?(\.(gz|zst))?$", "", Path(path).name) or path


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"{twice[0]!r} is the name of more than one of those to compare. Give each its own: --model NAME=MODEL, "
            "--adapter NAME=DIR, --outputs NAME=FILE."
        )

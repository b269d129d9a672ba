"""What writes answers: our own sampling loop on transformers, or vLLM."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, Protocol

from proxygold.errors import ConfigError, ModelError
from proxygold.evaluation.answers.subjects import Answer, Request
from proxygold.models.generation import generate
from proxygold.models.policy import Policy

__all__ = ["ENGINES", "Engine", "EngineName", "TransformersEngine", "pick_engine"]

EngineName = Literal["transformers", "vllm"]
ENGINES = ("auto", "transformers", "vllm")


class Engine(Protocol):
    """A loaded model that answers."""

    def answers(self, requests: Sequence[Request], *, seed: int) -> Iterator[tuple[Request, list[Answer]]]:
        """All answers to each request (numbered, with room for them), in whatever order they are done."""
        ...


class TransformersEngine:
    """Our own loop: what is drawn does not depend on the batch, but where rounding decides between two tokens."""

    def __init__(self, policy: Policy, batch_size: int) -> None:
        self._policy = policy
        self._batch_size = batch_size

    def answers(self, requests: Sequence[Request], *, seed: int) -> Iterator[tuple[Request, list[Answer]]]:
        """See `Engine`. Prompts of like length share a batch, the longest first: what has no room in memory is known at
        once. Raises ModelError when a batch does not fit into the accelerator's memory."""
        for batch in self._batches(requests):
            yield from zip(batch, self._write(batch, seed), strict=True)

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        def kind(request: Request) -> tuple[object, int]:
            return request.sampling.model_dump_json(), request.samples

        for (_, samples), same in groupby(sorted(requests, key=kind), key=kind):
            longest_first = sorted(same, key=lambda one: len(self._policy.prompts.encode(one.prompt)), reverse=True)
            size = max(1, self._batch_size // samples)
            for start in range(0, len(longest_first), size):
                yield longest_first[start : start + size]

    def _write(self, batch: Sequence[Request], seed: int) -> list[list[Answer]]:
        from torch import OutOfMemoryError

        samples = batch[0].samples
        try:
            completions = generate(
                self._policy,
                [request.prompt for request in batch],
                batch[0].sampling,
                seed=seed,
                samples_per_prompt=samples,
                batch_size=len(batch) * samples,
                numbers=[request.number or 0 for request in batch],
            )
        except OutOfMemoryError as error:
            raise ModelError(
                f"{len(batch) * samples} answers at a time do not fit into the accelerator's memory. Give a smaller "
                "--batch-size: the same command goes on from what is written."
            ) from error
        answers = []
        for place, request in enumerate(batch):
            drawn = completions[place * samples : (place + 1) * samples]
            answers.append(
                [Answer(request.id, one.text, len(one.token_ids), one.finished, n) for n, one in enumerate(drawn)]
            )
        return answers


def pick_engine(name: str) -> EngineName:
    """`vllm` for `auto` where it is installed and a GPU is there, else `transformers`. Raises ConfigError."""
    if name not in ENGINES:
        raise ConfigError(f"--engine is {name!r}; allowed: {', '.join(ENGINES)}.")
    if name == "transformers":
        return "transformers"
    installed = importlib.util.find_spec("vllm") is not None
    if name == "vllm":
        if not installed:
            raise ConfigError("--engine vllm needs vLLM, which is not installed. Run: pip install vllm")
        return "vllm"
    import torch

    return "vllm" if installed and torch.cuda.is_available() else "transformers"

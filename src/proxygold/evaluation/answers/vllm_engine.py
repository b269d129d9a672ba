"""Answers by vLLM, where it is installed: the same prompt tokens and end tokens, and a random stream for each answer.

Written against vLLM 0.33: `LLM.generate` takes `{"prompt_token_ids": …}` with a `SamplingParams` each, keeps their
order, and gives token ids with the token that ended them. Its random numbers are its own: a seed gives other answers
than with the transformers engine, and the same again with vLLM, but for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from proxygold.errors import ModelError
from proxygold.evaluation.answers.subjects import Answer, Request
from proxygold.models.policy_settings import PolicySettings, SamplingSettings
from proxygold.models.prompt_tokens import PromptTokens

__all__ = ["VllmEngine", "load_vllm", "stream_seed"]

# Answers that are handed over at a time: enough to keep a GPU busy, and few enough that a stop loses seconds only.
_AT_A_TIME = 256


class VllmEngine:
    """A model in vLLM. Make one with `load_vllm`."""

    def __init__(self, llm: Any, prompts: PromptTokens, ends: frozenset[int]) -> None:
        """`ends`: the tokens that end an answer."""
        self._llm = llm
        self._prompts = prompts
        self._ends = ends

    def answers(self, requests: Sequence[Request], *, seed: int) -> Iterator[tuple[Request, list[Answer]]]:
        """See `Engine`. vLLM batches as its memory allows; a prompt that has several answers is read once."""
        start = 0
        while start < len(requests):
            some = [requests[start]]
            while start + len(some) < len(requests) and sum(one.samples for one in some) < _AT_A_TIME:
                some.append(requests[start + len(some)])
            start += len(some)
            yield from self._write(some, seed)

    def _write(self, requests: Sequence[Request], seed: int) -> Iterator[tuple[Request, list[Answer]]]:
        asked = [(request, draw) for request in requests for draw in range(request.samples)]
        encoded = {request.id: self._prompts.encode(request.prompt) for request in requests}
        outputs = iter(
            self._llm.generate(
                [{"prompt_token_ids": encoded[request.id]} for request, _ in asked],
                [self._params(request, draw, seed) for request, draw in asked],
                use_tqdm=False,
            )
        )
        for request in requests:
            yield request, [self._answer(request, draw, next(outputs).outputs[0]) for draw in range(request.samples)]

    def _params(self, request: Request, draw: int, seed: int) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            **_cut(request.sampling),
            temperature=request.sampling.temperature,
            max_tokens=request.sampling.max_new_tokens,
            seed=stream_seed(seed, request.number or 0, draw),
            stop_token_ids=sorted(self._ends),
            detokenize=False,  # with the tokenizer's own rules, as the other engine does
        )

    def _answer(self, request: Request, draw: int, output: Any) -> Answer:
        ids = list(output.token_ids)
        finished = output.finish_reason == "stop"
        text = self._prompts.tokenizer.decode(
            ids[:-1] if finished else ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Answer(request.id, text, len(ids), finished, draw)


def _cut(sampling: SamplingSettings) -> dict[str, Any]:
    """What cuts the tail of the distribution. No `top_k` is left unsaid: vLLM's own word for it has changed."""
    return {"top_p": sampling.top_p} | ({"top_k": sampling.top_k} if sampling.top_k else {})


def stream_seed(seed: int, number: int, draw: int) -> int:
    """The seed of one answer's random stream, from 0 to 2^63 - 1."""
    return int(np.random.SeedSequence([seed, number, draw]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def load_vllm(settings: PolicySettings, base: str | None, dtype: str) -> VllmEngine:
    """The model of `settings`, an adapter (put on `base`, where that is given) merged first. Raises ModelError."""
    from proxygold.models.bundled import resolve_model
    from proxygold.models.classifiers import adapter_base, first_line
    from proxygold.models.sampling_policy import end_tokens, load_sampling_prompts

    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # read when it is imported
    from vllm import LLM

    prompts = load_sampling_prompts(settings, base)
    with ExitStack() as stack:
        path = str(Path(resolve_model(settings.model)).expanduser())
        if base is not None or adapter_base(path) is not None:
            # Whole once loaded: the directory is not needed after that.
            path = stack.enter_context(TemporaryDirectory(prefix="proxygold-merged-"))
            _merge_into(path, settings.model, base, dtype, prompts.tokenizer)
        elif not Path(path).is_dir():
            path = settings.model
        try:
            llm = LLM(model=path, dtype=dtype, seed=0)
        except (ValueError, RuntimeError, OSError) as error:  # no room on the GPU, an architecture it does not know
            raise ModelError(
                f"vLLM cannot load {settings.model!r}: {first_line(error)}\n"
                "Give --engine transformers to do without it."
            ) from error
        return VllmEngine(llm, prompts, end_tokens(path, prompts.tokenizer))


def _merge_into(directory: str, adapter: str, base: str | None, dtype: str, tokenizer: Any) -> None:
    import torch

    from proxygold.models.causal_lm import load_causal_lm
    from proxygold.models.quiet import quiet_loading

    model = load_causal_lm(adapter, getattr(torch, dtype), torch.device("cpu"), base=base)
    with quiet_loading():
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)

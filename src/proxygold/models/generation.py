"""Sampling completions.

A loop of our own, because PPO needs three things that `generate` does not give together: each token's
log-probability from the pass that sampled it, the hidden states below the adapter, and memory that does not
grow with tokens x vocabulary. A prompt is read once for all its samples, and rows that have ended leave the
batch.

Each completion has random numbers of its own, one a token, inverted through the cumulative distribution: what
is drawn does not depend on which other prompts share the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxygold.models.decoding_cache import decoding_cache
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import SamplingSettings
from proxygold.models.token_batch import TokenBatch, pad_prompts, positions
from proxygold.records import Prompt

__all__ = ["Completion", "Samples", "generate", "sample", "sample_tokens"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `token_ids` has the end-of-sequence token when it came, which `finished` says; `text` never has."""

    text: str
    token_ids: tuple[int, ...]
    finished: bool


@dataclass(frozen=True, slots=True)
class Samples:
    """n sampled responses, those of one prompt next to each other.

    `batch`: the token ids with their masks, and the frozen hidden states if they were asked for. `logprobs`: (n, T)
    float32, each sampled token's log-probability, 0 where there is none. `finished`: (n,) bool.
    """

    batch: TokenBatch
    logprobs: Tensor
    finished: Tensor

    def response(self, row: int) -> list[int]:
        """The token ids of one response."""
        ids: list[int] = self.batch.response_ids[row][self.batch.response_mask[row]].tolist()
        return ids


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    sampling: SamplingSettings,
    *,
    seed: int,
    samples_per_prompt: int = 1,
    batch_size: int = 32,
    numbers: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Completion]:
    """`samples_per_prompt` completions of each prompt, in the order of `prompts`, those of one prompt next to
    each other.

    Prompts of like length share a batch of at most `batch_size` completions. `progress` is called with the
    number of completions done so far. Sample j of prompt i depends on the policy, the prompt, `seed`, i and j
    (its logits can differ in their last bits with the batch); `numbers` are the i of prompts that are some of more.
    Raises DataError for a prompt that leaves no room for its completion.
    """
    encoded = [policy.prompts.encode(prompt) for prompt in prompts]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    size = max(1, batch_size // samples_per_prompt)
    completions: dict[int, list[Completion]] = {}
    numbers = range(len(prompts)) if numbers is None else numbers
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        draws = np.stack(
            [
                np.random.default_rng([seed, numbers[index], draw]).random(sampling.max_new_tokens)
                for index in chosen
                for draw in range(samples_per_prompt)
            ]
        )
        samples = sample(policy, [encoded[index] for index in chosen], sampling, draws)
        for row, finished in enumerate(samples.finished.tolist()):
            ids = samples.response(row)
            text = policy.decode(ids[:-1] if finished else ids)
            completion = Completion(text, tuple(ids), finished)
            completions.setdefault(chosen[row // samples_per_prompt], []).append(completion)
        if progress is not None:
            progress(sum(map(len, completions.values())))
    return [completion for index in range(len(encoded)) for completion in completions[index]]


@torch.no_grad()
def sample(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingSettings,
    draws: NDArray[np.float64],
    *,
    keep_frozen_hidden: bool = False,
) -> Samples:
    """Sample the responses to `prompts` (token ids).

    `draws`: (n, max_new_tokens) uniform numbers in [0, 1), one row a response; n is a multiple of the number of
    prompts. `keep_frozen_hidden` keeps what enters the lowest adapted layer, so that training passes need not
    compute it again.
    """
    count, steps = draws.shape
    repeats = count // len(prompts)
    ids, prompt_mask = (tensor.to(policy.device) for tensor in pad_prompts(prompts, pad_token_id=policy.pad_token_id))
    width = ids.shape[1]
    policy.prompts.check_room(width, steps)
    uniforms = torch.from_numpy(draws).to(policy.device, torch.float32 if policy.device.type == "mps" else None)
    eos = torch.tensor(sorted(policy.eos_token_ids), device=policy.device)

    tokens = torch.full((count, steps), policy.pad_token_id, device=policy.device)
    logprobs = torch.zeros((count, steps), device=policy.device)
    lengths = torch.full((count,), steps, device=policy.device)
    finished = torch.zeros(count, dtype=torch.bool, device=policy.device)
    hidden_by_token: list[tuple[Tensor, Tensor]] = []  # rows, their hidden state (len(rows), 1, d)
    keep = keep_frozen_hidden and policy.frozen.depth > 0

    with policy.decoding(), policy.frozen.capture() as captured:
        decoder = _Decoder(policy, captured, ids, prompt_mask, repeats, room=width + steps)
        prompt_hidden = decoder.frozen if keep else None
        rows = torch.arange(count, device=policy.device)
        for step in range(steps):
            logits = decoder.logits().float()
            chosen, logprob = sample_tokens(logits, uniforms[rows, step], sampling)
            tokens[rows, step] = chosen
            logprobs[rows, step] = logprob
            ended = torch.isin(chosen, eos)
            finished[rows[ended]] = True
            lengths[rows[ended]] = step + 1
            if step + 1 == steps or bool(ended.all()):
                break
            if bool(ended.any()):
                going = (~ended).nonzero().squeeze(1)
                decoder.keep(going)
                rows, chosen = rows[going], chosen[going]
            decoder.step(chosen)
            if keep and decoder.frozen is not None:
                hidden_by_token.append((rows, decoder.frozen))

    longest = int(lengths.max())
    response_mask = torch.arange(longest, device=policy.device)[None, :] < lengths[:, None]
    mask = torch.cat([prompt_mask.repeat_interleave(repeats, dim=0), response_mask], dim=1)
    batch = TokenBatch(
        input_ids=torch.cat([ids.repeat_interleave(repeats, dim=0), tokens[:, :longest]], dim=1),
        attention_mask=mask,
        position_ids=positions(mask),
        response_mask=response_mask,
        prompt_width=width,
        rows_per_prompt=repeats,
        frozen_hidden=(
            None
            if prompt_hidden is None
            else _assemble(prompt_hidden.repeat_interleave(repeats, dim=0), hidden_by_token, longest)
        ),
    )
    return Samples(batch, logprobs[:, :longest], finished)


def _assemble(prompt_hidden: Tensor, by_token: list[tuple[Tensor, Tensor]], longest: int) -> Tensor:
    """(n, P + longest - 1, d): the hidden states of prompts (n, P, d) and of later tokens, 0 after a row's end."""
    count, width, size = prompt_hidden.shape
    full = prompt_hidden.new_zeros(count, width + longest - 1, size)
    full[:, :width] = prompt_hidden
    for offset, (rows, hidden) in enumerate(by_token):
        full[rows, width + offset] = hidden[:, 0]
    return full


class _Decoder:
    """The trunk with its key-value cache: reads prompts (k, P) once, then goes on with `repeats` rows of each.

    `hidden`: (n, d), from which the next tokens are predicted. `frozen`: what left the frozen layers in the last pass,
    (k, P, d) of the prompts and then (n, 1, d), None without frozen layers.
    """

    def __init__(
        self,
        policy: Policy,
        captured: list[Tensor],
        ids: Tensor,
        mask: Tensor,
        repeats: int,
        *,
        room: int,
    ) -> None:
        self._policy, self._captured = policy, captured
        self._cache = decoding_cache(policy.causal_lm.config, room)
        self.frozen: Tensor | None = None
        first = positions(mask)
        self.hidden = self._pass(ids, mask, first).repeat_interleave(repeats, dim=0)
        if repeats > 1:
            self._cache.batch_repeat_interleave(repeats)
        self._mask = mask.repeat_interleave(repeats, dim=0)
        self._position = first[:, -1:].repeat_interleave(repeats, dim=0)
        self._fast = policy.step_decoder()  # after the prompts' pass, whose memory is free again

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (indices among the current ones) only."""
        self._cache.batch_select_indices(rows)
        self._mask, self._position = self._mask[rows], self._position[rows]

    def logits(self) -> Tensor:
        """(n, V), of the next tokens."""
        found = None if self._fast is None else self._fast.project(self.hidden)
        return self._policy.project(self.hidden) if found is None else found

    def step(self, tokens: Tensor) -> None:
        """Add a token (n,) to each row."""
        self._position = self._position + 1
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        if self._fast is None:
            self.hidden = self._pass(tokens[:, None], self._mask, self._position)
        else:
            self.hidden, self.frozen = self._fast.step(
                tokens, self._position, self._mask, self._cache, self._policy.frozen.depth
            )

    def _pass(self, ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        """The trunk's own pass over some tokens more: their last hidden state, (rows, d)."""
        output = self._policy.trunk(
            input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=self._cache, use_cache=True
        )
        self.frozen = self._captured.pop() if self._captured else None
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden


def sample_tokens(logits: Tensor, uniforms: Tensor, sampling: SamplingSettings) -> tuple[Tensor, Tensor]:
    """Tokens (n,) for logits (n, V) float32 and uniform numbers (n,) in [0, 1), and their log-probabilities
    (n,) float32.

    Log-probabilities are those at `sampling.temperature` (at 1 when greedy), before `top_k` and `top_p` cut the tail.
    """
    if sampling.temperature == 0:
        tokens = logits.argmax(dim=-1, keepdim=True)
        return tokens.squeeze(1), logits.log_softmax(dim=-1).gather(1, tokens).squeeze(1)
    scaled = logits / sampling.temperature if sampling.temperature != 1 else logits
    below_best = scaled - scaled.amax(dim=-1, keepdim=True)
    # Below e^-80 of the most probable token's, a probability is 0. It could not be drawn anyway, and below e^-87
    # float32 has denormal numbers only, with which CPUs are 40 times slower (22 ms a token against 0.5).
    weights = torch.nn.functional.threshold(below_best, -80.0, -torch.inf).exp_()
    total = weights.sum(dim=-1, keepdim=True, dtype=_precise(logits))
    candidates = None
    if sampling.top_k or sampling.top_p < 1:
        weights, candidates = weights.sort(dim=-1, descending=True)
        if sampling.top_k:
            weights[:, sampling.top_k :] = 0
        if sampling.top_p < 1:
            # A token stays while the mass before it is below top_p: the smallest set that reaches it, never empty.
            before = weights.cumsum(dim=-1) - weights
            weights[before >= sampling.top_p * weights.sum(dim=-1, keepdim=True)] = 0
    tokens = _invert(weights, uniforms)
    if candidates is not None:
        tokens = candidates.gather(1, tokens)
    logprobs = below_best.gather(1, tokens) - total.log().to(below_best.dtype)
    return tokens.squeeze(1), logprobs.squeeze(1)


_BLOCK = 256  # tokens


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """(n, 1) tokens: in each row of `weights` (n, V), the first whose cumulative weight exceeds the draw's share.

    One of weight 0 never is, whatever the rounding. In float64: in float32, the sum over a large vocabulary would lose
    what the smallest weights add to it. First the block of tokens is found, then the token in it: a cumulative sum
    over a whole vocabulary would cost more than everything else here.
    """
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % _BLOCK)).view(len(weights), -1, _BLOCK)
    by_block = blocks.sum(dim=-1, dtype=_precise(weights)).cumsum(dim=-1)
    point = uniforms[:, None].to(by_block.dtype) * by_block[:, -1:]
    # The last block that has any weight is the last that can be drawn from.
    last = torch.searchsorted(by_block, by_block[:, -1:].contiguous())
    block = torch.searchsorted(by_block, point, right=True).minimum(last)
    before = torch.where(block > 0, by_block.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(len(blocks), device=blocks.device), block[:, 0]]
    within = inside.cumsum(dim=-1, dtype=by_block.dtype)
    # Summed in another order, a block's own sum may differ from this in its last bits: stay within the block.
    last = torch.searchsorted(within, within[:, -1:].contiguous())
    return block * _BLOCK + torch.searchsorted(within, point - before, right=True).minimum(last)


def _precise(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64  # Apple's GPUs have no float64

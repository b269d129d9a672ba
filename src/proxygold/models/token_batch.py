"""Prompts and their completions as one rectangle of token ids, with the masks and positions that go with it.

    pad pad  p   p   p | r   r   r  pad          P = 5 prompt columns, T = 4 response columns
     0   0   0   1   2 | 3   4   5   5           position ids

Prompts are padded on the left and responses on the right, so that every response begins at column P. Masks come
from lengths, never from token ids: in many tokenizers the padding token is also the end-of-sequence token,
which is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["TokenBatch", "pad_prompts", "positions"]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """n prompts with a response each.

    `input_ids`, `attention_mask` (bool), `position_ids`: (n, P + T). `response_mask`: (n, T) bool.
    `prompt_width`: P. `frozen_hidden`: (n, P + T - 1, d) or None, the hidden states that enter the lowest
    trained layer, for every token but the last column, which nothing is predicted from. `rows_per_prompt`: so many
    rows, next to each other, answer the same prompt.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    response_mask: Tensor
    prompt_width: int
    frozen_hidden: Tensor | None = None
    rows_per_prompt: int = 1

    @classmethod
    def build(
        cls,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        pad_token_id: int,
        device: torch.device | str = "cpu",
    ) -> TokenBatch:
        """Lay out `prompts` and `responses` (equally many, none empty)."""
        ids, prompt_mask = pad_prompts(prompts, pad_token_id=pad_token_id)
        lengths = torch.tensor([len(response) for response in responses])
        width = int(lengths.max())
        response_mask = torch.arange(width)[None, :] < lengths[:, None]
        padded = [[*response, *[pad_token_id] * (width - len(response))] for response in responses]
        mask = torch.cat([prompt_mask, response_mask], dim=1)
        return cls(
            input_ids=torch.cat([ids, torch.tensor(padded)], dim=1).to(device),
            attention_mask=mask.to(device),
            position_ids=positions(mask).to(device),
            response_mask=response_mask.to(device),
            prompt_width=ids.shape[1],
        )

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def response_ids(self) -> Tensor:
        """(n, T)."""
        return self.input_ids[:, self.prompt_width :]

    def rows(self, index: Tensor) -> TokenBatch:
        """The rows at `index` (k,), without the columns that are padding in all of them."""
        response_mask = self.response_mask[index]
        left = int(self.attention_mask[index].int().argmax(dim=1).min())
        width = int(response_mask.sum(dim=1).max())
        right = self.prompt_width + width
        hidden = self.frozen_hidden
        return replace(
            self,
            input_ids=self.input_ids[index, left:right],
            attention_mask=self.attention_mask[index, left:right],
            position_ids=self.position_ids[index, left:right],
            response_mask=response_mask[:, :width],
            prompt_width=self.prompt_width - left,
            frozen_hidden=None if hidden is None else hidden[index, left : right - 1],
            rows_per_prompt=self.rows_per_prompt if self._whole_prompts(index) else 1,
        )

    def _whole_prompts(self, index: Tensor) -> bool:
        """Whether the rows at `index` are all those of some prompts, in their order."""
        if len(index) % self.rows_per_prompt:
            return False
        groups = index.view(-1, self.rows_per_prompt)
        first = groups[:, :1]
        following = first + torch.arange(self.rows_per_prompt, device=index.device)
        return bool((first % self.rows_per_prompt == 0).all()) and torch.equal(groups, following)


def pad_prompts(prompts: Sequence[Sequence[int]], *, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids (n, P), padded on the left, and their mask (n, P), bool."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    return ids, torch.arange(width)[None, :] >= width - lengths[:, None]


def positions(mask: Tensor) -> Tensor:
    """Position ids (n, L) for a mask (n, L): 0 at the first token of each row, padding on the left 0 as well."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)

"""What a reward model reads: a prompt with one completion, as token ids, in training and in scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxygold.errors import DataError
from proxygold.records import Message, Prompt
from proxygold.templates import message_text

__all__ = ["as_messages", "encode_completion", "rightmost_is_never"]


def as_messages(prompt: Prompt) -> list[Message]:
    """A prompt as messages of text: text is one user turn, of multimodal content the text parts stay."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": message["role"], "content": message_text(message)} for message in prompt]


def encode_completion(
    tokenizer: Any, prompt: Prompt, completion: str, max_length: int | None = None
) -> dict[str, list[int]]:
    """A prompt and its completion as `input_ids`, and `token_type_ids` where the tokenizer has them.

    With a chat template the two are one conversation that ends with the assistant's turn, as reward models
    of conversations are trained. Without one they are a pair of texts, with the separators that the
    tokenizer puts between two texts; of several messages the contents are joined by blank lines.

    What exceeds `max_length` goes from the start of a conversation, so that the answer keeps its end, and
    from the end of the longer one of two texts. Raises DataError when the chat template refuses the
    conversation (roles that do not take turns, say).
    """
    if not tokenizer.chat_template:
        text = "\n\n".join(message["content"] for message in as_messages(prompt))
        limits = {} if max_length is None else {"truncation": "longest_first", "max_length": max_length}
        pair = tokenizer(text, completion, **limits)
        return {name: pair[name] for name in ("input_ids", "token_type_ids") if name in pair}
    from jinja2 import TemplateError

    conversation = [*as_messages(prompt), {"role": "assistant", "content": completion}]
    try:
        ids: list[int] = tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False)
    except TemplateError as error:
        raise DataError(f"the reward model's chat template refuses the conversation: {error}") from error
    return {"input_ids": ids if max_length is None else ids[-max_length:]}


def rightmost_is_never(sequences: Sequence[Sequence[int]], preferred: int | None, vocabulary: int) -> int:
    """A token id to pad with that no sequence ends with: `preferred` where it will do.

    transformers' classifiers read the score at the rightmost token that is not the padding token. Where a
    conversation ends with that very token (SmolLM2 pads with the token that ends a turn) they would read it
    one token too early.
    """
    last = {sequence[-1] for sequence in sequences if sequence}
    if preferred is not None and preferred not in last:
        return preferred
    return next(token for token in range(vocabulary) if token not in last)

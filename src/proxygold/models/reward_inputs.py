"""What a reward model reads: a prompt with one completion, as token ids. Training and scoring both go through here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxygold.errors import DataError
from proxygold.records import Message, Prompt

__all__ = ["as_messages", "encode_completion", "rightmost_is_never"]


def as_messages(prompt: Prompt) -> list[Message]:
    """A prompt as messages: text is one user turn."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def encode_completion(tokenizer: Any, prompt: Prompt, completion: str, max_length: int | None) -> list[int]:
    """The token ids of a prompt and its completion.

    With a chat template the two are one conversation that ends with the assistant's turn, as reward models of conversations are
    trained. Without one they are a pair of texts, with the separators that the tokenizer puts between two texts; of several
    messages the contents are joined by blank lines.

    What exceeds `max_length` goes from the start, so that the answer keeps its end; of a pair of texts, from the longer one's end.
    Raises DataError when the chat template refuses the conversation (roles that do not take turns, say).
    """
    if not tokenizer.chat_template:
        text = "\n\n".join(message["content"] for message in as_messages(prompt))
        limits = {} if max_length is None else {"truncation": "longest_first", "max_length": max_length}
        ids: list[int] = tokenizer(text, completion, **limits)["input_ids"]
        return ids
    from jinja2 import TemplateError

    conversation = [*as_messages(prompt), {"role": "assistant", "content": completion}]
    try:
        ids = tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False)
    except TemplateError as error:
        raise DataError(f"the reward model's chat template refuses the conversation: {error}") from error
    return ids if max_length is None else ids[-max_length:]


def rightmost_is_never(sequences: Sequence[Sequence[int]], preferred: int | None, vocabulary: int) -> int:
    """A token id to pad with that no sequence ends with: `preferred` where it will do.

    transformers' classifiers read the score at the rightmost token that is not the padding token. Where a conversation ends with
    that very token (SmolLM2 pads with the token that ends a turn) they would read it one token too early.
    """
    last = {sequence[-1] for sequence in sequences if sequence}
    if preferred is not None and preferred not in last:
        return preferred
    return next(token for token in range(vocabulary) if token not in last)

"""What a reward model reads: a prompt with one completion, as token ids, in training and in scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxygold.errors import ConfigError, DataError
from proxygold.models.reward_templates import as_ultrarm, conversation_text
from proxygold.records import Message, Prompt
from proxygold.templates import message_text

__all__ = [
    "Encode",
    "as_messages",
    "encode_completion",
    "encode_pair",
    "encode_preference",
    "encode_written",
    "pair_text",
    "rightmost_is_never",
]

# Tokenizer, prompt, completion, most tokens; gives `input_ids`, and `token_type_ids` where the tokenizer has them.
Encode = Callable[[Any, Prompt, str, int | None], dict[str, list[int]]]


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
    of conversations are trained. Without one they are a pair of texts, as `encode_pair` writes it.

    What exceeds `max_length` goes from the start of a conversation, so that the answer keeps its end. Raises DataError
    when the chat template refuses the conversation (roles that do not take turns, say).
    """
    if not tokenizer.chat_template:
        return encode_pair(tokenizer, prompt, completion, max_length)
    from jinja2 import TemplateError

    conversation = [*as_messages(prompt), {"role": "assistant", "content": completion}]
    try:
        ids: list[int] = tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False)
    except TemplateError as error:
        raise DataError(f"the reward model's chat template refuses the conversation: {error}") from error
    return {"input_ids": ids if max_length is None else ids[-max_length:]}


def pair_text(prompt: Prompt) -> str:
    """The first of a pair of texts: a plain prompt itself, of several messages the contents, by blank lines."""
    return "\n\n".join(message["content"] for message in as_messages(prompt))


def encode_pair(tokenizer: Any, prompt: Prompt, completion: str, max_length: int | None = None) -> dict[str, list[int]]:
    """Prompt and completion as a pair of texts, with the separators that the tokenizer puts between two texts.

    What exceeds `max_length` goes from the end of the longer one.
    """
    limits = {} if max_length is None else {"truncation": "longest_first", "max_length": max_length}
    pair = tokenizer(pair_text(prompt), completion, **limits)
    return {name: pair[name] for name in ("input_ids", "token_type_ids") if name in pair}


def encode_written(
    template: str, tokenizer: Any, prompt: Prompt, completion: str, max_length: int | None = None
) -> dict[str, list[int]]:
    """Prompt and completion as one text of a named format, with the special tokens that the tokenizer adds to a text.

    What exceeds `max_length` goes from the start, and the special tokens stay. Raises DataError for a conversation that
    the format cannot write.
    """
    try:
        text = "".join(conversation_text(template, prompt, completion))
    except ConfigError as error:
        raise DataError(str(error)) from error
    tokenizer.truncation_side = "left"
    limits = {} if max_length is None else {"truncation": True, "max_length": max_length}
    return {"input_ids": tokenizer(text, **limits)["input_ids"]}


def encode_preference(
    tokenizer: Any, prompt: Prompt, completion: str, max_length: int | None = None
) -> dict[str, list[int]]:
    """The question of SteamSHP's model card, with the completion as response A and a full stop as response B.

    The card allows no line breaks in the texts, and wants the context cut before the responses: what exceeds
    `max_length` goes from the context's start, then from the completion's end. Of several messages the context is
    "Human: … Assistant: …" on one line, which the card leaves open. Raises DataError when not even the question fits.
    """
    context = _one_line(prompt if isinstance(prompt, str) else _dialogue(prompt))
    answer = _one_line(completion)
    while True:
        text = f"POST: {context} \n\n RESPONSE A: {answer}\n\n RESPONSE B: .\n\n Which response is better? RESPONSE"
        ids: list[int] = tokenizer(text)["input_ids"]
        over = 0 if max_length is None else len(ids) - max_length
        if over <= 0:
            return {"input_ids": ids}
        if context:
            context = _shorter(tokenizer, context, over, from_start=True)
        elif answer:
            answer = _shorter(tokenizer, answer, over, from_start=False)
        else:
            raise DataError(f"max_length is {max_length} tokens, and the question alone has {len(ids)}")


def _dialogue(messages: list[Message]) -> str:
    """A single question as it is, else who said what."""
    if [message["role"] for message in messages] == ["user"]:
        return message_text(messages[0])
    try:
        return as_ultrarm(messages, " ").removesuffix(" Assistant: ")
    except ConfigError as error:
        raise DataError(str(error)) from error


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shorter(tokenizer: Any, text: str, over: int, *, from_start: bool) -> str:
    """`text` without `over` of its tokens, or a little more: always shorter than before."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    kept = ids[over:] if from_start else ids[: max(0, len(ids) - over)]
    shorter: str = tokenizer.decode(kept, skip_special_tokens=True).strip()
    if len(shorter) < len(text):
        return shorter
    return text[over:] if from_start else text[: max(0, len(text) - over)]


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

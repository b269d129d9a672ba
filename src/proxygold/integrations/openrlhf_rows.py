"""What OpenRLHF says about a completion, as an example; and scores, as OpenRLHF takes them.

OpenRLHF 0.11 sends three texts for each completion, over HTTP as well as to a function of the user's own:

- `query`: the prompt and the response as one text, decoded with special tokens;
- `prompt`: the prompt as the policy saw it, with its template;
- `label`: what the data holds under `data.label_key`, the only channel for anything else.

A label is plain text, which is the reference, or JSON with any of `prompt`, `reference` and `query_type`:

    {"prompt": "Where is Oslo?", "reference": "In Norway.", "query_type": "closed_ended", "source": "mine"}

Its `prompt` is what the user asked, without the template: QR compares the response with it, where it is given. Every
other entry is a column, for features of one's own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from proxygold.data.rows import example_from_row
from proxygold.errors import DataError, ProxygoldError
from proxygold.integrations.batching import Batcher, ScoredRow
from proxygold.records import Example

__all__ = ["answer_rows", "example_from_openrlhf", "response_of", "row_of", "submit_rows"]

_KNOWN = frozenset({"prompt", "reference", "query_type"})

# Special tokens as tokenizers write them out: <|im_end|>, <｜end▁of▁sentence｜>, </s>, <eos>.
_SPECIAL = r"(?:<[|｜][^<>|｜\s]{1,40}[|｜]>|</?s>|<(?:bos|eos|pad|unk|end_of_turn)>)"
_LEADING = re.compile(rf"^(?:\s|\ufffd|{_SPECIAL})+")
_LAST = re.compile(rf"{_SPECIAL}\Z")
_LONGEST_SPECIAL = 44

# Characters of a prompt, white space not counted, that must be there for a prompt cut on the left to be recognised.
_ENOUGH = 16


def example_from_openrlhf(query: object, prompt: object, label: object = None) -> Example:
    """The example that one query, prompt and label stand for. Raises DataError when they do not make one."""
    for name, text in (("query", query), ("prompt", prompt)):
        if not isinstance(text, str):
            raise DataError(f"{name} is {type(text).__name__}; text is needed")
    values = {"prompt": prompt, **_label_values(label), "completion": response_of(str(query), str(prompt))}
    return example_from_row(values)


def response_of(query: str, prompt: str) -> str:
    r"""What follows the prompt in the query, without the special tokens at its end.

    White space may differ, as decoding adds and drops it. Of a prompt that was too long for the policy only the end is
    in the query: at least 16 characters of it must be.

    Raises DataError when the query does not begin with the prompt.

    >>> response_of("<|user|>Hi<|assistant|>Hello!<|end|>", "<|user|>Hi<|assistant|>")
    'Hello!'
    """
    if query.startswith(prompt):
        return _without_end_tokens(query[len(prompt) :])
    written = "".join(prompt.split())
    for text in (query, _LEADING.sub("", query)):
        length = _overlap(written, "".join(text.split()))
        if length >= min(len(written), _ENOUGH):
            return _without_end_tokens(text[_place(text, length) :].lstrip())
    raise DataError(
        f"the query does not begin with its prompt: it begins with {query[:40]!r}, the prompt with {prompt[:40]!r}"
    )


def submit_rows(
    batcher: Batcher, queries: Sequence[object], prompts: Sequence[object], labels: Sequence[object]
) -> list[Future[list[ScoredRow]]]:
    """A future for each of n completions, to be read by `row_of`: one that is malformed spoils no other.

    Raises QueueFullError and RewardError as `Batcher.submit` does.
    """
    read: list[Example | DataError] = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        try:
            read.append(example_from_openrlhf(query, prompt, label))
        except DataError as error:
            read.append(error)
    taken = iter(batcher.submit_each(item for item in read if isinstance(item, Example)))
    return [next(taken) if isinstance(item, Example) else _failed(item) for item in read]


def row_of(result: list[ScoredRow] | BaseException) -> ScoredRow:
    """The row that a future of `submit_rows` gave; for what it raised, a row without a score and with the reason."""
    if isinstance(result, list):
        return result[0]
    if isinstance(result, ProxygoldError):
        return ScoredRow(math.nan, {}, str(result))
    if isinstance(result, Exception):
        return ScoredRow(math.nan, {}, f"{type(result).__name__}: {result}")
    raise result


def answer_rows(
    rows: Sequence[ScoredRow], leaves: Iterable[str], fallback: float
) -> tuple[list[float], dict[str, list[float]]]:
    """The rewards and the extra logs of n rows, every number finite, as OpenRLHF must have it.

    A row without a score gets `fallback`. The logs have the same keys whatever the rows: `not_scored` (1 where the
    fallback stands) and for each leaf of the reward its value, and `LEAF/computed`: 0 where the leaf has no value, as
    in the arm of a branch that was not selected, and its value is written as 0. OpenRLHF averages logs over
    completions: the mean of a leaf over those that have it is the one average divided by the other.
    """
    rewards = [fallback if row.reason is not None else row.total for row in rows]
    logs = {"not_scored": [float(row.reason is not None) for row in rows]}
    for leaf in leaves:
        values = [row.parts.get(leaf, math.nan) for row in rows]
        logs[leaf] = [0.0 if math.isnan(value) else value for value in values]
        logs[f"{leaf}/computed"] = [float(not math.isnan(value)) for value in values]
    return rewards, logs


def _failed(error: DataError) -> Future[list[ScoredRow]]:
    future: Future[list[ScoredRow]] = Future()
    future.set_exception(error)
    return future


def _label_values(label: object) -> Mapping[str, Any]:
    """A label's fields; a text that is no JSON object with a known one is the reference itself."""
    if isinstance(label, str):
        try:
            read = json.loads(label)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, dict) and _KNOWN & read.keys():
            label = read
    if isinstance(label, Mapping):
        given = {str(key): value for key, value in label.items()}
        # A null stands for what is not there: the prompt is then the one beside the label.
        return {key: value for key, value in given.items() if key != "prompt" or value is not None}
    if label is None or label == "":
        return {}
    if isinstance(label, str | int | float):
        return {"reference": str(label)}
    raise DataError(f"the label is {type(label).__name__}; text, or JSON with reference and query_type, is needed")


def _without_end_tokens(text: str) -> str:
    end = len(text)
    while True:
        last = end
        while last and text[last - 1].isspace():
            last -= 1
        found = _LAST.search(text[max(0, last - _LONGEST_SPECIAL) : last])
        if found is None:
            return text[:end]
        end = last - len(found[0])


def _overlap(prompt: str, query: str) -> int:
    """The length of the longest end of `prompt` that `query` begins with; linear in both."""
    if query.startswith(prompt):
        return len(prompt)
    # The failure function of Knuth, Morris and Pratt, run over the query and then along the prompt.
    pattern = query[: len(prompt)]
    failure = [0] * len(pattern)
    matched = 0
    for place in range(1, len(pattern)):
        while matched and pattern[place] != pattern[matched]:
            matched = failure[matched - 1]
        matched += pattern[place] == pattern[matched]
        failure[place] = matched
    matched = 0
    for letter in prompt:
        while matched and (matched == len(pattern) or letter != pattern[matched]):
            matched = failure[matched - 1]
        if pattern and letter == pattern[matched]:
            matched += 1
    return matched


def _place(text: str, letters: int) -> int:
    """Where `text` goes on after its first `letters` characters that are not white space."""
    for place, letter in enumerate(text):
        if letters == 0:
            return place
        letters -= not letter.isspace()
    return len(text)

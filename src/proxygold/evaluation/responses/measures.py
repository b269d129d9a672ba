"""What can be counted in an answer, and what the bi-encoder says of its sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proxygold.evaluation.responses.found import Response
from proxygold.features.context import FeatureContext
from proxygold.features.relevant_sentences import relevant_sentences
from proxygold.features.word_batch import WordBatch
from proxygold.models.encoder import EncoderSettings, load_encoder
from proxygold.records import Example, FloatArray, PromptRecord
from proxygold.text import sentences

__all__ = ["count_tokens", "encoder_relevance", "has_sentence", "surface_measures"]

# Answers that are encoded together.
_CHUNK = 64


def surface_measures(answers: Sequence[Response | None], ngram: int = 4) -> dict[str, FloatArray]:
    """By name n numbers, NaN where there is no answer or nobody counted:

    - `tokens`, with the end-of-sequence token, of the answer as it was written
    - `words`: as in LI, runs of punctuation are words
    - `repetition_N`: 1 - different n-grams / n-grams of these words, 0 in an answer of fewer than N words (as RP)
    - `ended`: 100 where the model ended its answer itself, 0 where it was cut off: the mean is the EOS share
    """
    batch = WordBatch([answer.text if answer is not None else "" for answer in answers], "wordpunct")
    total = batch.counts - ngram + 1
    repeated = np.where(total > 0, 1.0 - batch.distinct_ngrams(ngram) / np.maximum(total, 1), 0.0)
    missing = np.array([answer is None for answer in answers], dtype=np.bool_)
    return {
        "tokens": _numbers(answers, lambda answer: answer.tokens),
        "words": np.where(missing, np.nan, batch.counts.astype(np.float64)),
        f"repetition_{ngram}": np.where(missing, np.nan, repeated),
        "ended": _numbers(answers, lambda answer: None if answer.finished is None else 100.0 * answer.finished),
    }


def count_tokens(answers: Sequence[Response | None], tokenizer: str) -> FloatArray:
    """Tokens of each answer's text by the tokenizer of a model, and one for its end where nobody says it did not end.

    Raises ModelError when there is no such tokenizer.
    """
    from proxygold.models.causal_lm import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    return _numbers(
        answers,
        lambda answer: len(loaded(answer.text, add_special_tokens=False)["input_ids"]) + (answer.finished is not False),
    )


def encoder_relevance(
    records: Sequence[PromptRecord],
    answers: Sequence[Response | None],
    settings: EncoderSettings,
    threshold: float,
    progress: Callable[[int], None] = lambda done: None,
) -> FloatArray:
    """The share of each answer's sentences whose relevance to the query is at least `threshold`, in percent.

    The feature `relevant_sentences`; NaN for an answer without a sentence.
    """
    shares = np.full(len(answers), np.nan)
    places = [place for place, answer in enumerate(answers) if has_sentence(answer)]
    progress(len(answers) - len(places))
    encoder = load_encoder(settings) if places else None
    for start in range(0, len(places), _CHUNK):
        chosen = places[start : start + _CHUNK]
        examples = [Example(records[place].prompt, _text(answers[place])) for place in chosen]
        assert encoder is not None
        found = relevant_sentences(examples, FeatureContext(embed=encoder.embed), threshold=threshold)
        shares[chosen] = 100.0 * found.values
        progress(len(chosen))
    return shares


def has_sentence(answer: Response | None) -> bool:
    """Whether there is a sentence to be judged: an empty answer has none, nor one of signs alone."""
    return answer is not None and bool(sentences(answer.text))


def _text(answer: Response | None) -> str:
    return "" if answer is None else answer.text


def _numbers(answers: Sequence[Response | None], of: Callable[[Response], float | None]) -> FloatArray:
    values = [None if answer is None else of(answer) for answer in answers]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

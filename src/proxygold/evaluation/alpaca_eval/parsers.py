"""What a judge's words mean, by the parsers that AlpacaEval's annotator configs name.

A preference is a number from 1, the first answer shown is better, to 2, the second is; 1.5 is a tie. Each parser has
the name, the arguments and the result that it has in AlpacaEval 0.6 (`completion_parsers.py`), for one comparison a
prompt. Where AlpacaEval logs an error and goes on with NaN, these raise ValueError with what is wrong.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxygold.errors import ConfigError

__all__ = ["PARSERS", "PreferenceParser", "preference_parser"]

# A judge's words in, a preference from 1 to 2 out.
PreferenceParser = Callable[[str], float]

TIE = 1.5


def preference_parser(name: str, arguments: Mapping[str, Any]) -> PreferenceParser:
    """The parser that a config names. What it returns raises ValueError for words that hold not one preference.

    Raises ConfigError for a name that is not known, and for arguments that it does not take.

    >>> parse = preference_parser("ranking_parser", {})
    >>> parse("[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]")
    2.0
    """
    steps = arguments.get("parsers_to_kwargs") if name == "pipeline_meta_parser" else {name: arguments}
    if not isinstance(steps, Mapping) or not steps:
        raise ConfigError(
            "pipeline_meta_parser needs parsers_to_kwargs, the parsers in order, each with its arguments."
        )
    prepared = [_prepared(step, given or {}) for step, given in steps.items()]

    def parse(text: str) -> float:
        found: list[Any] = [text]
        for step in prepared:
            found = [value for given in found for value in step(given)]
        if len(found) != 1:
            raise ValueError(f"{len(found)} preferences where one is needed")
        return _preference(found[0])

    return parse


def _preference(value: Any) -> float:
    try:
        preference = float(value)
    except (TypeError, ValueError):
        preference = math.nan
    if preference == 0.0:  # how AlpacaEval used to write a tie
        return TIE
    if not 1.0 <= preference <= 2.0:  # NaN too
        raise ValueError(f"{str(value)[:40]!r} is no preference from 1 to 2")
    return preference


_Step = Callable[[Any], list[Any]]


def _prepared(name: str, arguments: Mapping[str, Any]) -> _Step:
    """A parser with its arguments bound."""
    if name not in PARSERS:
        raise ConfigError(f"the parser {name!r} is not known. Known: {', '.join((*PARSERS, 'pipeline_meta_parser'))}.")
    try:
        return PARSERS[name](**arguments)
    except TypeError as error:
        raise ConfigError(f"{name} does not take the arguments {dict(arguments)}: {error}.") from error


def _ranking(model_1_name: str = "model_1") -> _Step:
    """A list of dicts with `model` and `rank`: the rank of the first answer's model."""

    def parse(given: Any) -> list[Any]:
        ranked = _literal(given) if isinstance(given, str) else given
        try:
            rank = next(entry["rank"] for entry in ranked if entry["model"] == model_1_name)
        except (TypeError, KeyError, StopIteration) as error:
            raise ValueError(f"no list that ranks {model_1_name}") from error
        if rank not in (1, 2):
            raise ValueError(f"the rank {str(rank)[:40]!r} is neither 1 nor 2")
        return [rank]

    return parse


def _regex(outputs_to_match: Mapping[Any, str]) -> _Step:
    """The keys of the expressions that match, in the order in which they do."""
    try:
        patterns = {key: re.compile(pattern) for key, pattern in outputs_to_match.items()}
    except (re.error, TypeError, AttributeError) as error:
        raise ConfigError(
            f"outputs_to_match must map preferences to regular expressions, and one is none: {error}."
        ) from error

    def parse(given: Any) -> list[Any]:
        text = str(given)
        found: list[Any] = []
        while True:
            matches = [(match.start(), match.end(), key) for key, p in patterns.items() if (match := p.search(text))]
            if not matches:
                return found
            # Of those that begin at one place the first of the config counts.
            start = min(begin for begin, _, _ in matches)
            end, key = next((end, key) for begin, end, key in matches if begin == start)
            found.append(key)
            if end == 0:
                raise ConfigError("an expression of outputs_to_match matches nothing at all, and would do so forever.")
            text = text[end:]

    return parse


def _lmsys() -> _Step:
    """Two scores in the first line, the better answer's the higher."""

    def parse(given: Any) -> list[Any]:
        words = str(given).split("\n")[0].replace(",", " ").split(" ")
        if len(words) != 2:
            raise ValueError("the first line is not two scores")
        try:
            first, second = map(float, words)
        except ValueError:
            raise ValueError("the first line is not two scores") from None
        return [TIE if first == second else 1 if first > second else 2]

    return parse


def _json(annotation_key: str | None) -> _Step:
    """The value at a key of a JSON object, in a ```json block or bare, or of each in an array."""

    def parse(given: Any) -> list[Any]:
        text = str(given)
        if (block := re.search(r"```json(.*?)```", text, re.DOTALL)) is not None:
            text = block[1]
        try:
            loaded = json.loads(text)
            objects = [loaded] if isinstance(loaded, dict) else list(loaded)
            return objects if annotation_key is None else [value[annotation_key] for value in objects]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"no JSON with {annotation_key}") from error

    return parse


def _eval() -> _Step:
    """A Python literal, or each of a list of them."""

    def parse(given: Any) -> list[Any]:
        value = _literal(str(given))
        return value if isinstance(value, list) else [value]

    return parse


def _replace(replacer: Mapping[Any, Any], default_replacer: Any = "auto") -> _Step:
    """What a config puts in the place of what was said."""

    def parse(given: Any) -> list[Any]:
        return [replacer.get(given, given if default_replacer == "auto" else default_replacer)]

    return parse


def _logprob(
    numerator_token: str,
    denominator_tokens: Sequence[str],
    is_binarize: bool = True,
    log_prob_index: int | str = "batch",
) -> _Step:
    """How probable the token that stands for the first answer is among those that stand for either, as 2 less that.

    `given` is a reply with log-probabilities, as JSON (`llm.call`). Binarised: 1 when it is the most probable, else 2.
    """

    def of_token(place: Mapping[str, Any]) -> float:
        known = {numerator_token, *denominator_tokens}
        top = {each["token"]: float(each["logprob"]) for each in place["top_logprobs"] if each["token"] in known}
        if not top:
            raise ValueError(f"none of {', '.join(sorted(known))} is among the most probable tokens")
        first = top.get(numerator_token, -math.inf)
        if is_binarize:
            others = (top.get(token, -math.inf) for token in denominator_tokens if token != numerator_token)
            return 1.0 if all(first > other for other in others) else 2.0
        both = sum(math.exp(top.get(token, -math.inf)) for token in denominator_tokens)
        if both == 0.0:
            raise ValueError(f"none of {', '.join(denominator_tokens)} is among the most probable tokens")
        return 2.0 - math.exp(first) / both

    def parse(given: Any) -> list[Any]:
        try:
            places = json.loads(str(given))["logprobs"]["content"]
            chosen = places if log_prob_index == "batch" else [places[int(log_prob_index)]]
            return [of_token(place) for place in chosen]
        except (KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
            raise ValueError("no log-probabilities in the reply") from error

    return parse


def _literal(text: str) -> Any:
    """A Python literal; never more than that. Raises ValueError for anything else."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("not a Python list") from error


PARSERS: Mapping[str, Callable[..., _Step]] = {
    "regex_parser": _regex,
    "ranking_parser": _ranking,
    "lmsys_parser": _lmsys,
    "json_parser": _json,
    "eval_parser": _eval,
    "replace_parser": _replace,
    "logprob_parser": _logprob,
}

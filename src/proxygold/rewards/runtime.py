"""The `Reward` object: a reward line with all that it needs to score, as Python and as trainers call it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from proxygold.errors import ConfigError, RewardError
from proxygold.features import Feature, FeatureContext, find_feature, load_plugin
from proxygold.features.plugins import restore_feature
from proxygold.features.registry import nearest
from proxygold.models.encoder import Encoder, EncoderSettings, load_encoder
from proxygold.models.fingerprint import checkpoint_fingerprint
from proxygold.records import Example, Prompt, Scored
from proxygold.rewards.calibration import measure, unresolved
from proxygold.rewards.columns import Completion, examples_from_columns
from proxygold.rewards.composing import Composable
from proxygold.rewards.embeddings import shared_embeddings
from proxygold.rewards.language import check_tree, parse, to_line
from proxygold.rewards.presets import DEFAULT_MAX_NEW_TOKENS, named_rewards
from proxygold.rewards.scoring import score_tree
from proxygold.rewards.tree import (
    Binary,
    FeatureUse,
    Negative,
    Node,
    RewardModelUse,
    number,
    required_columns,
    walk,
)
from proxygold.templates import get_template, message_text
from proxygold.text import GENERIC_STOP_STRINGS, readable

__all__ = ["OnError", "Reward", "RewardSettings", "reward"]

OnError = Literal["nan", "raise"]

# Examples scored at a time: enough to batch by length, few enough that a million rows need little memory.
_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """What a reward's scores depend on besides its line, and its failure policy."""

    encoder: EncoderSettings
    stop_strings: tuple[str, ...] = GENERIC_STOP_STRINGS
    on_error: OnError = "nan"


def reward(
    line: str,
    *,
    encoder: str | EncoderSettings | Mapping[str, Any] | None = None,
    template: str | None = None,
    stop_strings: Sequence[str] | None = None,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    on_error: OnError = "nan",
    plugins: Iterable[str | Path] = (),
) -> Reward:
    """A reward from a line such as `LI * RP * QR` or from a named reward such as `RER`.

    - `line`: the reward line.
    - `encoder`: the bi-encoder of QR and AR, by name or with its settings; loaded when first needed.
    - `template`: the prompt template whose stop strings end a completion for LI and RP.
    - `stop_strings`: exactly these instead. Without either, the three that hold for any template.
    - `max_new_tokens`: the longest rollout, which the preset RER needs with Contriever.
    - `on_error`: what becomes of an example that cannot be scored: `nan`, with a reason, or `raise`, a RewardError.
    - `plugins`: Python files with features of one's own, run before the line is read.

    Raises RewardError for a line or a setting that is not allowed. Nothing heavy is loaded yet.
    """
    for plugin in plugins:
        load_plugin(plugin)
    if on_error not in ("nan", "raise"):
        raise RewardError(f"on_error={on_error!r} is not allowed; it is 'nan' or 'raise'.")
    if template is not None and stop_strings is not None:
        raise RewardError("give template or stop_strings, not both: a template brings its stop strings.")
    if isinstance(stop_strings, str):
        raise RewardError(f"stop_strings={stop_strings!r} is one text; give a list of texts.")
    if max_new_tokens < 1:
        raise RewardError(f"max_new_tokens={max_new_tokens} is not allowed; give 1 or more.")
    if stop_strings is None:
        stop_strings = get_template(template).stop_strings if template else GENERIC_STOP_STRINGS
    if "" in stop_strings:
        raise RewardError("an empty stop string would end every completion at once; leave it out.")
    settings = RewardSettings(
        encoder=_encoder_settings(encoder),
        stop_strings=tuple(stop_strings),
        on_error=on_error,
    )
    return Reward(parse(line, named_rewards(settings.encoder, max_new_tokens)), settings)


class Reward(Composable):
    """A reward, made by `reward()`, by operators on rewards, or by `calibrate`. `str()` of it is its canonical line.

    It is safe to share between threads, pickles as its line, settings and plug-in files, and is itself a TRL reward
    function.
    """

    def __init__(self, tree: Node, settings: RewardSettings) -> None:
        check_tree(tree)
        self.tree = tree
        self.settings = settings
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    # --- what it is ---------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return to_line(self.tree)

    def __repr__(self) -> str:
        return f"reward({str(self)!r}, encoder={self.settings.encoder.model!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reward):
            return NotImplemented
        return self.tree == other.tree and self.settings == other.settings

    def __hash__(self) -> int:
        return hash((str(self), self.settings))

    @property
    def resolved(self) -> bool:
        """Whether every `match` has been measured, so that the reward can score."""
        return not unresolved(self.tree)

    @property
    def required_columns(self) -> frozenset[str]:
        """The columns, besides prompt and completion, that data for this reward must have."""
        return required_columns(self.tree)

    @cached_property
    def line_hash(self) -> str:
        """A hash of the canonical line, 16 hexadecimal digits."""
        return _hash(str(self))

    @cached_property
    def reward_id(self) -> str:
        """A hash of all that decides a score: line, encoder weights and settings, reward models, stop strings,
        feature code.

        Loads the encoder when the line uses it. Of other models only the files are looked at; a remote reward model is
        asked what it is.
        """
        weights: dict[str, str] = {}
        for part in walk(self.tree):
            if isinstance(part, RewardModelUse):
                # The whole text: two may differ by their tokenizer alone.
                from proxygold.models.reward_models import reward_model_identity

                weights[to_line(part)] = reward_model_identity(part.settings)
            elif isinstance(part, FeatureUse) and (feature := find_feature(part.name)) is not None:
                defaults = {name: parameter.default for name, parameter in feature.parameters.items()}
                models = feature.models(defaults | dict(part.arguments))
                weights.update((model, checkpoint_fingerprint(model)) for model in models)
        ordered = [weights[name] for name in sorted(weights)]
        return _hash([self._identity, self._load_encoder().fingerprint if self.uses_encoder else None, *ordered])

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """All that decides a score, but for the encoder."""
        features = self._features()
        cuts = any(feature.uses_stop_strings for feature in features)
        return {
            "line": str(self),
            "features": {feature.name: [feature.version, feature.source] for feature in features},
            # Rewards that never cut a completion are the same with any stop strings.
            "stop_strings": self.settings.stop_strings if cuts else None,
        }

    @property
    def leaves(self) -> tuple[str, ...]:
        """The texts of the features and reward models in the line, each once: keys of `Scored.parts`."""
        nodes = (node for node in walk(self.tree) if isinstance(node, FeatureUse | RewardModelUse))
        return tuple(dict.fromkeys(to_line(node) for node in nodes))

    def _features(self) -> list[Feature]:
        names = sorted({part.name for part in walk(self.tree) if isinstance(part, FeatureUse)})
        return [feature for name in names if (feature := find_feature(name)) is not None]

    @property
    def uses_encoder(self) -> bool:
        """Whether a feature of the line embeds texts."""
        return any(feature.uses_encoder for feature in self._features())

    @property
    def __name__(self) -> str:
        """A name for logs, unlike any other reward's: trainers merge the columns of equal names."""
        slug = re.sub(r"[^A-Za-z0-9]+", "_", str(self)).strip("_")[:40].rstrip("_")
        # The encoder's settings stand in for its fingerprint, for which it would have to be loaded.
        encoder = asdict(self.settings.encoder) if self.uses_encoder else {}
        encoder.pop("cache", None)  # where embeddings are kept changes no score
        return f"{slug}_{_hash([self._identity, encoder or None])[:6]}"

    # --- scoring ------------------------------------------------------------------------------------------

    def score(self, examples: Iterable[Example]) -> Scored:
        """Score n examples: the total, (n,) float64, the value of every node, and reasons where the total is NaN.

        Raises RewardError when a `match` has not been measured, and, with `on_error="raise"`, when an example
        cannot be scored.
        """
        examples = list(examples)
        self._check_ready(examples)
        examples = [_readable(example) for example in examples]
        return self._apply_policy(self._score(self.tree, examples))

    def calibrate(self, examples: Iterable[Example]) -> Reward:
        """This reward with every `match` measured on the given completions: the start policy's, in a study.

        A reward without `match` is returned as it is. Raises RewardError when the completions do not suffice.
        """
        examples = list(examples)
        _check_examples(examples)
        return Reward(measure(self.tree, lambda tree: self._score(tree, examples)), self.settings)

    def _score(self, tree: Node, examples: Sequence[Example]) -> Scored:
        embeddings = shared_embeddings(self.settings.encoder)
        chunks = [
            score_tree(
                tree,
                examples[start : start + _CHUNK],
                FeatureContext(self.settings.stop_strings, embeddings.recent, embeddings.kept),
            )
            for start in range(0, max(len(examples), 1), _CHUNK)
        ]
        return Scored(
            total=np.concatenate([chunk.total for chunk in chunks]),
            parts={part: np.concatenate([chunk.parts[part] for chunk in chunks]) for part in chunks[0].parts},
            reasons=tuple(reason for chunk in chunks for reason in chunk.reasons),
        )

    def _check_ready(self, examples: Sequence[Example]) -> None:
        _check_examples(examples)
        missing = unresolved(self.tree)
        if missing:
            first = to_line(missing[0])
            raise RewardError(
                f"{first} has not been measured, so this reward cannot score yet. Measure it with "
                "reward.calibrate(examples), on completions of the policy that training starts from, "
                f"or put numbers of your own: rescale({to_line(missing[0].operand)}, 0, highest, 0, new_highest)."
            )

    def _apply_policy(self, scored: Scored) -> Scored:
        """The one place that decides what a failed row means: NaN with its reason, or an error."""
        failed = [row for row, reason in enumerate(scored.reasons) if reason is not None]
        if failed and self.settings.on_error == "raise":
            shown = "; ".join(f"row {row}: {scored.reasons[row]}" for row in failed[:3])
            raise RewardError(
                f"{len(failed)} of {len(scored.reasons)} examples cannot be scored ({shown}). "
                'Mend the data, or let them be NaN with on_error="nan".'
            )
        return scored

    def _load_encoder(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                self._encoder = load_encoder(self.settings.encoder)
            return self._encoder

    # --- as a TRL reward function -------------------------------------------------------------------------

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        completion_ids: object = None,
        trainer_state: object = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """TRL's call: one float a completion, None where it cannot be computed.

        Completions are texts or lists of messages. Every other column comes with one entry per completion;
        features see them. The value of each feature goes to `log_extra`, its mean to `log_metric`, under
        this reward's `__name__`.

        Raises RewardError when a required column is missing, before anything is computed.
        """
        examples = examples_from_columns(prompts, completions, columns, self.required_columns)
        scored = self.score(examples)
        name = self.__name__
        for leaf in self.leaves:
            values = scored.parts[leaf]
            if log_extra is not None:
                log_extra(f"{name}/{leaf}", [_or_none(value) for value in values])
            # TRL averages what was logged over processes, so a batch without a value logs none.
            if log_metric is not None and np.isfinite(values).any():
                log_metric(f"{name}/{leaf}", float(np.nanmean(values)))
        if log_metric is not None and len(scored.reasons):
            failed = sum(reason is not None for reason in scored.reasons)
            log_metric(f"{name}/not_scored", failed / len(scored.reasons))
        return [_or_none(value) for value in scored.total]

    # --- composing and storing ----------------------------------------------------------------------------

    def _negative(self) -> Self:
        return type(self)(Negative(self.tree), self.settings)

    def _combine(self, operator: str, left: object, right: object) -> Self:
        nodes = []
        for side in (left, right):
            if isinstance(side, Reward):
                if side.settings != self.settings:
                    raise RewardError(
                        f"{left!r} and {right!r} differ in their settings (encoder, stop strings or on_error). "
                        "Make both with the same settings, or write one line."
                    )
                nodes.append(side.tree)
            elif isinstance(side, int | float) and not isinstance(side, bool):
                nodes.append(number(side))
            else:
                return NotImplemented  # type: ignore[no-any-return]
        return type(self)(Binary(operator, *nodes), self.settings)

    def __reduce__(self) -> tuple[Any, ...]:
        origins = [(used.name, used.module, used.file) for used in self._features() if used.source]
        return _restore, (str(self), self.settings, tuple(origins))


def _encoder_settings(given: str | EncoderSettings | Mapping[str, Any] | None) -> EncoderSettings:
    if isinstance(given, Mapping):
        known = [field.name for field in fields(EncoderSettings)]
        for name in given:
            if name not in known:
                raise ConfigError(f"unknown setting encoder.{name}.{nearest(name, known)} Allowed: {', '.join(known)}.")
        return EncoderSettings(**given)
    return EncoderSettings(model=given) if isinstance(given, str) else given or EncoderSettings()


def _restore(line: str, settings: RewardSettings, origins: Sequence[tuple[str, str, str]]) -> Reward:
    for name, module, file in origins:
        restore_feature(name, module, file)
    return Reward(parse(line), settings)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _readable(example: Example) -> Example:
    """The same example with text that every tokenizer takes; one bad character must not fail a whole batch."""
    prompt = example.prompt
    if isinstance(prompt, str):
        prompt = readable(prompt)
    elif any(readable(message_text(message)) != message_text(message) for message in prompt):
        prompt = [{"role": message["role"], "content": readable(message_text(message))} for message in prompt]
    completion = readable(example.completion)
    reference = None if example.reference is None else readable(example.reference)
    if (prompt, completion, reference) == (example.prompt, example.completion, example.reference):
        return example
    return replace(example, prompt=prompt, completion=completion, reference=reference)


def _check_examples(examples: Sequence[Example]) -> None:
    for row, example in enumerate(examples):
        if not isinstance(example, Example):
            raise RewardError(f"row {row} is {type(example).__name__}; an Example(prompt, completion) is needed.")
        if not isinstance(example.prompt, str | list):
            raise RewardError(
                f"the prompt of row {row} is {type(example.prompt).__name__}; a text or messages are needed."
            )
        if not isinstance(example.completion, str):
            raise RewardError(f"the completion of row {row} is {type(example.completion).__name__}; a text is needed.")

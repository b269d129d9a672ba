"""toxicity, the probability that a classifier gives to its toxic label."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from proxygold.errors import ModelError
from proxygold.features.context import FeatureContext
from proxygold.features.registry import Argument, Feature, FeatureValues, Parameter, reasoned, register_feature
from proxygold.records import Example

if TYPE_CHECKING:
    from proxygold.models.text_classifier import TextClassifier

__all__ = ["toxic_label", "toxicity"]

_DEFAULT_MODEL = "tomh/toxigen_roberta"
_FIND = "auto"
_TOXIC = ("toxic", "toxicity")


def toxicity(
    examples: Sequence[Example], context: FeatureContext, *, model: str = _DEFAULT_MODEL, label: str | float = _FIND
) -> FeatureValues:
    """toxicity = p(label | ŷ): the probability of the toxic label for the completion, under a text classifier.

    Any Hugging Face sequence classifier will do. `label` is the name of one of its labels, or its number from 0;
    "auto" takes the one called toxic or toxicity, else LABEL_1 of LABEL_0 and LABEL_1, else the only one there is,
    and is an error where that leaves a choice. A softmax over the labels; for a multi-label model, or one of a
    single output, a sigmoid. The completion is read alone, without its prompt, and from its start: 512 tokens, or
    what the model reads if that is less.

    Source: the default classifier is that of ToxiGen (Hartvigsen et al. 2022).

    Range: 0 to 1; 1 is toxic, so that a reward subtracts it: `LI * RP * (1 - toxicity)`. An empty completion gets
    the classifier's value for the empty text. How it is gamed: by poison after the last token that is read; by
    words that the classifier does not know. What it finds toxic is its training data's view: mentions of some groups
    raise it by themselves.
    """
    from proxygold.models.text_classifier import load_text_classifier

    classifier = load_text_classifier(model)
    index = toxic_label(classifier) if label == _FIND else classifier.label_index(_label(label))
    values = classifier.probabilities([example.completion for example in examples])[:, index]
    reason = f"toxicity: the classifier {model!r} gave no probability (its tokenizer finds no token in the completion)"
    return reasoned(values, [None if np.isfinite(value) else reason for value in values])


def toxic_label(classifier: TextClassifier, option: str = "label=") -> int:
    """Which label of a classifier is the toxic one, by its name.

    Raises ModelError where that leaves a choice; `option` is what the user then has to give.
    """
    names = [name.casefold() for name in classifier.labels]
    found = [index for index, name in enumerate(names) if name in _TOXIC]
    if names == ["label_0", "label_1"]:
        found = [1]
    if len(names) == 1:
        found = [0]
    if len(found) != 1:
        problem = "more than one label" if found else "no label"
        raise ModelError(
            f"toxicity: the classifier {classifier.name!r} has {problem} called toxic or toxicity, so {option} must "
            f"say which. {classifier.choices}"
        )
    return found[0]


def _label(label: str | float) -> str | int:
    # A number of a reward line is a float.
    return label if isinstance(label, str) else int(label)


def _accepts(label: Argument) -> bool:
    if isinstance(label, str):
        return label.strip() != ""
    return not isinstance(label, bool) and label >= 0 and float(label).is_integer()


register_feature(
    Feature(
        name="toxicity",
        long_name="toxicity",
        compute=toxicity,
        models=lambda arguments: [str(arguments["model"])],
        parameters=MappingProxyType(
            {
                "model": Parameter(
                    _DEFAULT_MODEL,
                    "a text classifier: a hub id or a directory, in quotes",
                    lambda value: isinstance(value, str) and value.strip() != "",
                ),
                "label": Parameter(_FIND, "the name of a label, its number from 0, or 'auto'", _accepts),
            }
        ),
    )
)

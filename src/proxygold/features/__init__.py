"""White-box features of a completion, one a file. Importing this package registers the built-in ones."""

from proxygold.features import answer_relevance, length_incentive, query_relevance, repetition_penalty
from proxygold.features.context import FeatureContext
from proxygold.features.custom import feature, load_plugin
from proxygold.features.registry import (
    Feature,
    FeatureValues,
    Parameter,
    find_feature,
    reasoned,
    register_feature,
)

__all__ = [
    "Feature",
    "FeatureContext",
    "FeatureValues",
    "Parameter",
    "answer_relevance",
    "feature",
    "find_feature",
    "length_incentive",
    "load_plugin",
    "query_relevance",
    "reasoned",
    "register_feature",
    "repetition_penalty",
]

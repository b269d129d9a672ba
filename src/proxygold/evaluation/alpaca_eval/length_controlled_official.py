"""AlpacaEval's own length-controlled win rate (`length_controlled_v1`), for those who have its `df_gamed.csv`.

The model of `length_controlled.py` with difficulties, fitted together with the annotations of models that were told
to be short or long, each of which weighs 0.1, by scikit-learn's L1-penalised logistic regression, whose strength 5
folds of cross-validation choose. So it is in AlpacaEval 0.6 (`metrics/glm_winrate.py`), and the result is the same to
the digit with the same scikit-learn. Its standard error is that of the predictions' mean over instructions: it knows
nothing of how well the regression is determined, and is far too small as an uncertainty.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from proxygold.errors import ConfigError
from proxygold.evaluation.results import Metric
from proxygold.records import FloatArray

__all__ = ["OFFICIAL", "official_metric"]

OFFICIAL = "length_controlled_win_rate_official"

_GAMED_WEIGHT = 0.2 / 2  # there are two gamed models
_FOLDS = 5


def official_metric(wins: FloatArray, longer: FloatArray, difficulties: FloatArray, gamed: FloatArray) -> Metric:
    """In percent, with AlpacaEval's standard error and no interval. Arguments as in `length_controlled_metric`;
    `gamed`: (m, 3) as in `Difficulties`. Raises ConfigError without scikit-learn."""
    spread = float(longer.std(ddof=1))
    shorter = -longer / spread if spread > 0.0 else np.zeros(len(longer))
    ours = np.stack([wins, shorter, difficulties], axis=1)
    rows = np.concatenate([gamed, ours])
    is_ours = np.arange(len(rows)) >= len(gamed)
    scored = ~np.isnan(rows[:, 0])
    rows, is_ours = rows[scored], is_ours[scored]
    features = np.stack([np.tanh(rows[:, 1]), rows[:, 2], is_ours.astype(float)], axis=1)
    model = _fit(features, rows[:, 0], np.where(is_ours, 1.0, _GAMED_WEIGHT))
    equal = np.stack([np.zeros(len(wins)), difficulties, np.ones(len(wins))], axis=1)
    predicted = model.predict_proba(equal)[:, 1]
    return Metric(
        OFFICIAL,
        float(predicted.mean() * 100),
        int((~np.isnan(wins)).sum()),
        len(wins),
        standard_error=float(predicted.std(ddof=1) / np.sqrt(len(predicted)) * 100),
        interval="none: AlpacaEval's standard error is of the predictions' mean",
        headline=False,
    )


def _fit(features: FloatArray, wins: FloatArray, weights: FloatArray) -> Any:
    """scikit-learn takes classes, not probabilities: each row is given twice, as a win and as a loss, each weighing as
    much as it is probable."""
    try:
        import sklearn
        from sklearn.linear_model import LogisticRegressionCV
        from sklearn.metrics import make_scorer
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise ConfigError(
            "AlpacaEval's own length control needs scikit-learn, which is not installed. Run: pip install "
            "scikit-learn, or leave the difficulties out: the length-controlled win rate of our own needs none."
        ) from error
    chance, weight = np.concatenate([wins, 1.0 - wins]), np.concatenate([weights, weights])
    label, group = np.repeat([1, 0], len(wins)), np.tile(np.arange(len(wins)), 2)
    with sklearn.config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # how the penalty is named changes with the version
        scorer = make_scorer(_log_loss, response_method="predict_proba", greater_is_better=False)
        scorer = scorer.set_score_request(true_sample_weight=True, true_prob=True)
        model = LogisticRegressionCV(
            cv=GroupKFold(n_splits=_FOLDS),
            scoring=scorer,
            random_state=123,
            dual=False,
            penalty="l1",
            solver="liblinear",
            fit_intercept=False,
        ).set_fit_request(sample_weight=True)
        twice = np.concatenate([features, features])
        fit = {"groups": group, "true_sample_weight": weight, "true_prob": chance}
        return model.fit(twice, label, sample_weight=chance * weight, **fit)


def _log_loss(label: Any, predicted: Any, true_prob: Any, true_sample_weight: Any) -> float:
    """The log loss of probabilities against probabilities."""
    won = np.where(label == 1, true_prob, 1 - true_prob)
    predicted = np.clip(predicted, 1e-15, 1 - 1e-15)
    losses = won * np.log(predicted) + (1 - won) * np.log(1 - predicted)
    return float(-np.mean(losses * true_sample_weight))

"""How far two labellings of the same queries agree, beyond what their shares alone would give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxygold.records import FloatArray
from proxygold.training.pair_accuracy import wilson_interval

__all__ = ["Agreement", "cohens_kappa", "measure_agreement"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `n` queries the share `agree` has the same label twice; `kappa` is Cohen's.

    The interval of the share is Wilson's at 95%; kappa's is the percentile interval of a bootstrap over the queries.
    `counts`: (first label, second label) to how many. Kappa is NaN when both labellings use one and the same label
    only: nothing could disagree.
    """

    n: int
    agree: float
    agree_low: float
    agree_high: float
    kappa: float
    kappa_low: float
    kappa_high: float
    counts: dict[tuple[str, str], int]


def measure_agreement(first: Sequence[str], second: Sequence[str], *, draws: int = 10_000, seed: int = 0) -> Agreement:
    """The agreement of two labellings of n queries, n at least 1."""
    names = sorted({*first, *second})
    place = {name: index for index, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    np.add.at(table, ([place[name] for name in first], [place[name] for name in second]), 1)
    n = len(first)
    agree = float(np.trace(table)) / n
    # To draw n queries with replacement is to draw the cells of the table.
    drawn = np.random.default_rng(seed).multinomial(n, (table / n).ravel(), size=draws)
    kappas = cohens_kappa(drawn.reshape(draws, len(names), len(names)).astype(np.float64))
    kappas = kappas[np.isfinite(kappas)]
    low, high = np.quantile(kappas, (0.025, 0.975)) if len(kappas) else (math.nan, math.nan)
    counts = {(a, b): int(table[place[a], place[b]]) for a in names for b in names}
    return Agreement(
        n, agree, *wilson_interval(agree, n), float(cohens_kappa(table[None])[0]), float(low), float(high), counts
    )


def cohens_kappa(tables: FloatArray) -> FloatArray:
    """Cohen's kappa (1960) of each of m tables of counts, (m, k, k): (m,).

    (p - e) / (1 - e), with p the share of agreement and e what the two labellings' own shares would give by chance.
    NaN where e is 1.
    """
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=2) * shares.sum(axis=1)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappas: FloatArray = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return kappas

"""Numbers as text: three significant digits, the sign where it carries meaning, a dash where there is none."""

from __future__ import annotations

import math

from proxygold.analysis.bootstrap import Estimate

__all__ = ["DASH", "correlation", "interval", "measured", "number", "p_value"]

DASH = "–"
MINUS = "−"


def number(value: float | None, *, sign: bool = False) -> str:
    """A number to three significant digits.

    >>> number(0.12345), number(-1234.5), number(0.5, sign=True), number(float("nan"))
    ('0.123', '−1,234', '+0.500', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    magnitude = abs(value)
    if magnitude != 0 and (magnitude < 1e-3 or magnitude >= 1e6):
        text = f"{magnitude:.2e}"
    else:
        decimals = 2 if magnitude == 0 else min(3, max(0, 2 - math.floor(math.log10(magnitude))))
        text = f"{magnitude:,.{decimals}f}"
    return (MINUS if value < 0 else "+" if sign and value > 0 else "") + text


def correlation(value: float) -> str:
    """A correlation, always with two decimals, so that a column of them lines up.

    >>> correlation(1.0), correlation(-0.666)
    ('1.00', '−0.67')
    """
    if math.isnan(value):
        return DASH
    return f"{value:.2f}".replace("-", MINUS)


def interval(estimate: Estimate, *, of_correlation: bool = False) -> str:
    """The interval of an estimate: `0.87 to 1.00`."""
    if math.isnan(estimate.low):
        return DASH
    if of_correlation:
        return f"{correlation(estimate.low)} to {correlation(estimate.high)}"
    return f"{_as_precise(estimate.low, estimate)} to {_as_precise(estimate.high, estimate)}"


def measured(estimate: Estimate, *, sign: bool = False) -> str:
    """The value of an estimate, with as many decimals as its interval deserves.

    >>> measured(Estimate(1.23456, 0.9, 1.5), sign=True), interval(Estimate(1.23456, 0.9, 1.5))
    ('+1.23', '0.90 to 1.50')
    """
    if math.isnan(estimate.value):
        return DASH
    return _as_precise(estimate.value, estimate, sign=sign)


def _as_precise(value: float, estimate: Estimate, *, sign: bool = False) -> str:
    """`value` with two digits of the interval's width; three of its own where there is no width."""
    width = estimate.high - estimate.low
    if not width > 0 or width < 1e-6:
        return number(value, sign=sign)
    usual = 2 if max(abs(estimate.low), abs(estimate.high)) < 10 else 0  # so that a column of them lines up
    decimals = max(usual, 1 - math.floor(math.log10(width)))
    text = f"{abs(value):,.{decimals}f}"
    zero = not any(digit in text for digit in "123456789")
    return ("" if zero else MINUS if value < 0 else "+" if sign else "") + text


def p_value(value: float) -> str:
    """A p-value.

    >>> p_value(0.00002), p_value(0.0312)
    ('< 0.001', '0.031')
    """
    if math.isnan(value):
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"

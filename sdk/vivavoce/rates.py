"""Error rates that were counted: the exact interval around each, without scipy, which the runtime does not bring."""

from __future__ import annotations

import math

from .bundle import Rate

__all__ = ["clopper_pearson"]

ITERATIONS = 100
"""Halvings of the unit interval, and terms of a fraction where the terms do not end it: more than float64 can tell."""


def clopper_pearson(errors: int, trials: int, *, level: float = 0.95) -> Rate:
    """`errors` among `trials` with the interval of Clopper and Pearson (1934), which covers at least `level` of the time.

    It takes the trials for independent draws of the same population. It stays exact for a threshold that was chosen to make
    so many errors among these trials: its ends are those of the order statistics beside the threshold (Wilks, 1941).
    """
    tail = (1 - level) / 2
    low = _beta_quantile(tail, errors, trials - errors + 1) if errors else 0.0
    high = _beta_quantile(1 - tail, errors + 1, trials - errors) if errors < trials else 1.0
    return Rate(value=errors / trials, low=low, high=high, trials=trials)


def _beta_quantile(p: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(ITERATIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _beta_below(middle, a, b) < p else (low, middle)
    return (low + high) / 2


def _beta_below(x: float, a: float, b: float) -> float:
    """The distribution function of the beta distribution at 0 < x < 1."""
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(scale) * _fraction(x, a, b) / a
    return 1 - math.exp(scale) * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method (Thompson and Barnett, "Coulomb and Bessel
    functions of complex arguments and order", 1986). It takes some multiple of the root of the larger argument in terms."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, ITERATIONS + 10 * math.isqrt(int(max(a, b)))):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value

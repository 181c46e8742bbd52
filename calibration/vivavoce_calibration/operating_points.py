"""Operating points: from an error rate to the threshold that has it, with what the trials' number allows to say.

A name is "eer", "llr=0" (as likely from either), "fpr=P%" (at most P % of the spoofs accepted) or "fnr=P%" (at most P % of the
bona fide trials rejected).
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.bundle import OperatingPoint
from vivavoce.errors import ConfigurationError
from vivavoce.rates import clopper_pearson

from .metrics import FloatArray, eer_threshold

__all__ = ["NAMES", "clopper_pearson", "operating_point", "table", "trials_needed"]

NAMES = ("eer", "llr=0", *(f"{kind}={percent}%" for kind in ("fpr", "fnr") for percent in ("0.1", "0.5", "1", "2", "5", "10")))
"""The operating points that `table` looks for."""

PROMISELESS = ("eer", "llr=0")
"""Those that promise no rate, and need no number of trials."""

NEEDED = 3
"""Errors that a rate must make expect: N trials without a single one show with 95 % confidence only that it is below 3 / N."""


def table(bonafide: ArrayLike, spoof: ArrayLike, *, corpus: str) -> tuple[OperatingPoint, ...]:
    """The operating points of `NAMES` that the trials support. Raises ConfigurationError as `operating_point` does."""
    sizes = {"fpr": np.size(spoof), "fnr": np.size(bonafide)}
    supported = [name for name in NAMES if name in PROMISELESS or sizes[name[:3]] >= trials_needed(name)]
    return tuple(operating_point(name, bonafide, spoof, corpus=corpus) for name in supported)


def operating_point(name: str, bonafide: ArrayLike, spoof: ArrayLike, *, corpus: str) -> OperatingPoint:
    """The threshold of that name on the scores of both classes, and the error rates that it has there.

    Of all thresholds with the named error rate it is the one that makes fewest errors of the other kind, and lies halfway
    between the scores that it parts, as far as possible from both. "llr=0" is 0 itself.

    Raises ConfigurationError where the name is none, a class has no scores or one that is not finite, or has fewer trials
    than `trials_needed`: no outcome with so few could show the rate.
    """
    share = _share(name)
    genuine, fake = (np.sort(np.asarray(scores, np.float64)) for scores in (bonafide, spoof))
    if not (genuine.size and fake.size and np.isfinite(genuine).all() and np.isfinite(fake).all()):
        raise ConfigurationError("A class has no scores, or one that is not finite. Score trials of both classes.")
    rated, kind = (fake, "spoofed") if name.startswith("fpr") else (genuine, "bona fide")
    if share and rated.size < trials_needed(name):
        raise ConfigurationError(
            f'{rated.size} {kind} trials cannot show "{name}". Give at least {trials_needed(name)}, or choose a higher rate.'
        )
    if name == "llr=0":
        return _measured(name, 0.0, genuine, fake, corpus)
    if share is None:
        edge = eer_threshold(genuine, fake)
    elif rated is fake:
        # The highest spoof that must be rejected; what scores above it is accepted.
        edge = math.nextafter(fake[-1 - math.floor(share * fake.size)], math.inf)
    else:
        edge = genuine[math.floor(share * genuine.size)]
    return _measured(name, _halfway(np.concatenate((genuine, fake)), edge), genuine, fake, corpus)


def _measured(name: str, threshold: float, genuine: FloatArray, fake: FloatArray, corpus: str) -> OperatingPoint:
    return OperatingPoint(
        name=name,
        threshold=threshold,
        fpr=clopper_pearson(int(np.count_nonzero(fake >= threshold)), fake.size),
        fnr=clopper_pearson(int(np.count_nonzero(genuine < threshold)), genuine.size),
        corpus=corpus,
    )


def trials_needed(name: str) -> int:
    """How many trials of the rated class an operating point takes: 3 over the rate; 1 for those that promise no rate.

    The rule of three: where none of N trials is an error, the upper 95 % confidence bound of the error rate is 3 / N (Hanley
    and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983). The better known rule of 30 errors
    (Doddington et al., "The NIST speaker recognition evaluation", Speech Communication 2000) asks for ten times as many, to
    know a rate to within 30 % of itself; what is known instead is told by each rate's interval.
    """
    share = _share(name)
    return 1 if share is None else math.ceil(NEEDED / share)


def _share(name: str) -> Fraction | None:
    """The rate that a name asks for, exactly; None for those that promise none."""
    if name in PROMISELESS:
        return None
    found = re.fullmatch(r"(?:fpr|fnr)=(\d+(?:\.\d+)?)%", name)
    share = Fraction(found[1]) / 100 if found else Fraction(0)
    if not 0 < share < 1:
        raise ConfigurationError(f'"{name}" is no operating point. Choose eer, llr=0, fpr=P% or fnr=P%, P between 0 and 100.')
    return share


def _halfway(scores: FloatArray, edge: float) -> float:
    """The middle between the lowest score that `edge` accepts and the highest that it rejects; `edge` where one is missing."""
    accepted, rejected = scores[scores >= edge], scores[scores < edge]
    if not (accepted.size and rejected.size):
        return float(edge)
    low, high = float(rejected.max()), float(accepted.min())
    middle = low + (high - low) / 2
    # Between neighbouring floats there is no middle.
    return middle if low < middle else high

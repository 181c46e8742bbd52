"""Countermeasure and speaker verification together: t-DCF, a-DCF, t-EER and the equal error rates of SASV.

A verifier has three kinds of trial: targets, who are who they claim to be, nontargets, who are not, and spoofed trials, which
imitate the claimed speaker. Scores are higher for targets; a trial is accepted when its score is at least the threshold. Rates
run from 0 to 1. Scores that are not numbers, and kinds without trials, raise ConfigurationError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.errors import ConfigurationError

from ..metrics import FloatArray, Point, checked, det_curve, eer, eer_point, error_rates

__all__ = [
    "ADCF_ASVSPOOF5",
    "ADCF_PAPER",
    "ASVSPOOF5_ASV",
    "AdcfCosts",
    "AsvErrorRates",
    "TandemCosts",
    "TandemPoint",
    "asv_error_rates",
    "asv_error_rates_at_eer",
    "min_adcf",
    "min_adcf_point",
    "min_tdcf_2019",
    "min_tdcf_2021",
    "sasv_eer",
    "t_eer",
    "t_eer_point",
]


# The verifier.


class AsvErrorRates(NamedTuple):
    """Error rates of a speaker verifier: targets rejected, other speakers accepted, spoofs accepted."""

    miss: float
    false_alarm: float
    spoof_false_alarm: float


ASVSPOOF5_ASV = AsvErrorRates(0.01880141010575793, 0.01881016557566423, 0.4607082907604729)
"""Those of the verifier that ASVspoof 5 evaluates countermeasures with."""


def asv_error_rates(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, threshold: float) -> AsvErrorRates:
    """Error rates of a speaker verifier that accepts scores >= threshold, from its scores for three kinds of trial."""
    miss, false_alarm = error_rates(target, nontarget, threshold)
    return AsvErrorRates(miss, false_alarm, error_rates(target, spoof, threshold).fpr)


def asv_error_rates_at_eer(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike) -> AsvErrorRates:
    """The verifier's error rates where ASVspoof 2019, 2021 and 5 let it work: at the EER between targets and nontargets.

    The threshold is that of `eer_point`, the highest score that is rejected there, and scores at it are accepted all the same:
    that is how the challenges' code has it, and with equal scores it makes a difference.
    """
    return asv_error_rates(target, nontarget, spoof, eer_point(target, nontarget).threshold)


# t-DCF.


@dataclass(frozen=True, slots=True)
class TandemCosts:
    """Priors of the three kinds of trial and costs of errors; the defaults are those of ASVspoof 2019, 2021 and 5."""

    p_target: float = 0.9405
    p_nontarget: float = 0.0095
    p_spoof: float = 0.05
    c_miss: float = 1.0
    c_fa: float = 10.0
    c_fa_spoof: float = 10.0

    def weights(self, asv: AsvErrorRates) -> tuple[float, float, float]:
        """C0, C1 and C2: the cost of the verifier's own errors, and what a miss and a false alarm of the countermeasure add.

        Raises ConfigurationError where the verifier errs so often that C1 or C2 is not positive.
        """
        own = self.p_target * self.c_miss * asv.miss + self.p_nontarget * self.c_fa * asv.false_alarm
        miss = self.p_target * self.c_miss - own
        false_alarm = self.p_spoof * self.c_fa_spoof * asv.spoof_false_alarm
        if not (miss > 0 and false_alarm > 0):
            raise ConfigurationError(
                f"The tandem cost would weigh misses {miss:.4g} and false alarms {false_alarm:.4g}. "
                "Choose a verifier for which both are above 0: one that accepts some spoofs and few other speakers."
            )
        return own, miss, false_alarm


COSTS = TandemCosts()


def min_tdcf_2019(
    bonafide: ArrayLike, spoof: ArrayLike, *, asv: AsvErrorRates = ASVSPOOF5_ASV, costs: TandemCosts = COSTS
) -> float:
    """The lowest normalised tandem cost of a countermeasure before a given verifier in ASVspoof 2019's form, from 0 to 1.

    (C1 FNR + C2 FPR) / min(C1, C2), with `TandemCosts.weights`: what the verifier errs by itself does not count. ASVspoof 2019
    has a verifier of its own, so pass its rates. Kinnunen et al., "t-DCF: a detection cost function for the tandem assessment
    of spoofing countermeasures and automatic speaker verification", Odyssey 2018; the code of 2021 and 5 calls it legacy.
    """
    _, miss, false_alarm = costs.weights(asv)
    fnr, fpr, _ = det_curve(bonafide, spoof)
    return float(np.min(miss * fnr + false_alarm * fpr) / min(miss, false_alarm))


def min_tdcf_2021(
    bonafide: ArrayLike, spoof: ArrayLike, *, asv: AsvErrorRates = ASVSPOOF5_ASV, costs: TandemCosts = COSTS
) -> float:
    """The lowest normalised tandem cost of a countermeasure before a given verifier in the form of ASVspoof 2021 and 5.

    (C0 + C1 FNR + C2 FPR) / (C0 + min(C1, C2)), with `TandemCosts.weights`. It runs from C0 / (C0 + min(C1, C2)), the cost of a
    perfect countermeasure, to 1. Kinnunen et al., "Tandem assessment of spoofing countermeasures and automatic speaker
    verification: fundamentals", IEEE/ACM TASLP 2020, equation 10.
    """
    own, miss, false_alarm = costs.weights(asv)
    fnr, fpr, _ = det_curve(bonafide, spoof)
    return float(np.min(own + miss * fnr + false_alarm * fpr) / (own + min(miss, false_alarm)))


# One score for both questions: a-DCF and the equal error rates of SASV.


@dataclass(frozen=True, slots=True)
class AdcfCosts:
    """Priors of the three kinds of trial and costs of errors of one system that verifies and detects spoofs."""

    p_target: float
    p_nontarget: float
    p_spoof: float
    c_miss: float
    c_fa_nontarget: float
    c_fa_spoof: float

    def weights(self) -> tuple[float, float, float]:
        """What a miss, the acceptance of a nontarget and that of a spoof weigh: prior times cost."""
        return self.c_miss * self.p_target, self.c_fa_nontarget * self.p_nontarget, self.c_fa_spoof * self.p_spoof


ADCF_ASVSPOOF5 = AdcfCosts(0.9405, 0.0095, 0.05, 1.0, 10.0, 10.0)
"""Those of ASVspoof 5, track 2."""

ADCF_PAPER = AdcfCosts(0.9, 0.05, 0.05, 1.0, 10.0, 20.0)
"""Those of the paper's a-DCF1, the default of its package."""


def min_adcf(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, *, costs: AdcfCosts = ADCF_ASVSPOOF5) -> float:
    """The lowest normalised architecture-agnostic cost of spoofing-aware speaker verification, from 0 to 1.

    It takes the scores of the whole system, verifier and countermeasure fused: the primary metric of ASVspoof 5, track 2. The
    cost of misses and of both kinds of false alarm is divided by that of the better of accepting and rejecting all. Shim et
    al., "a-DCF: an architecture agnostic metric with application to spoofing-robust speaker verification", Odyssey 2024; equal
    scores are counted as in its code.
    """
    return min_adcf_point(target, nontarget, spoof, costs=costs).value


def min_adcf_point(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, *, costs: AdcfCosts = ADCF_ASVSPOOF5) -> Point:
    """The `min_adcf` with the threshold that its code prints beside it."""
    miss, nontarget_fa, spoof_fa = costs.weights()
    (misses, nontargets, spoofs), thresholds = _curves(target, nontarget, spoof)
    cost = miss * misses + nontarget_fa * nontargets + spoof_fa * spoofs
    point = np.argmin(cost)
    return Point.of(cost[point] / min(miss, nontarget_fa + spoof_fa), point, thresholds)


def sasv_eer(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, *, eer: Callable[[ArrayLike, ArrayLike], float] = eer
) -> float:
    """SASV-EER, as SASVC 2022 names it: of targets against nontargets and spoofs. Its SV-EER and SPF-EER are `eer` of targets
    against one of both.

    It is ASVspoof's EER by default; `eer=eer_interpolated` is that of SASVC 2022's own code, which differs where scores tie.
    """
    others, spoofs = checked(nontarget, "nontarget"), checked(spoof, "spoofed")
    return eer(target, np.concatenate((others, spoofs)))


# t-EER.


class TandemPoint(NamedTuple):
    """The concurrent t-EER, its two thresholds (the highest rejected scores), and the lowest t-EER on the path."""

    value: float
    asv_threshold: float
    cm_threshold: float
    lowest: float


def t_eer(
    bonafide: ArrayLike, spoof: ArrayLike, target: ArrayLike, nontarget: ArrayLike, attack: ArrayLike, *, rho: float = 0.5
) -> float:
    """The concurrent tandem equal error rate of countermeasure and verifier, from 0 to 1: all three errors are equal there.

    `bonafide` and `spoof` are the countermeasure's scores; `target`, `nontarget` and `attack` the verifier's, the last for
    spoofed trials. Where both thresholds are such that the tandem rejects as many bona fide targets as it accepts trials of
    either other kind, the prior of spoofing plays no part; among finitely many scores `rho`, that prior, still decides which
    points are close. ASVspoof 5 takes 0.5.

    For each threshold of the verifier, the countermeasure's is where tandem miss and false alarm are closest: the path. Of its
    points, at which the verifier alone must reject less than it accepts, the one counts where the verifier's nontarget over
    spoof acceptance is closest to FPR / (1 - FNR) of the countermeasure; the value is the product of both spoof acceptances.
    Kinnunen et al., "t-EER: parameter-free tandem evaluation of countermeasures and biometric comparators", IEEE TPAMI 2023.
    """
    return t_eer_point(bonafide, spoof, target, nontarget, attack, rho=rho).value


def t_eer_point(
    bonafide: ArrayLike, spoof: ArrayLike, target: ArrayLike, nontarget: ArrayLike, attack: ArrayLike, *, rho: float = 0.5
) -> TandemPoint:
    """The `t_eer` with its thresholds, and the lowest tandem equal error rate that any pair of thresholds on the path has."""
    if not 0 <= rho <= 1:
        raise ConfigurationError(f"No prior of spoofing is rho={rho}. Choose one from 0 to 1.")
    fnr, fpr, cm_thresholds = det_curve(bonafide, spoof)
    (misses, nontargets, spoofs), asv_thresholds = _curves(target, nontarget, attack)
    allowed = np.flatnonzero(misses < (1 - rho) * nontargets + rho * spoofs)
    misses, nontargets, spoofs = misses[allowed], nontargets[allowed], spoofs[allowed]

    def errors(point: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Tandem miss and false alarm with the countermeasure at `point` of its curve, for each threshold of the verifier."""
        passed = 1 - fnr[point]
        return fnr[point] + passed * misses, (1 - rho) * passed * nontargets + rho * fpr[point] * spoofs

    def excess(point: NDArray[np.intp]) -> FloatArray:
        miss, false_alarm = errors(point)
        return miss - false_alarm

    # Along the countermeasure's curve the excess never falls, so the closest point is beside its change of sign.
    above = _first(lambda point: excess(point) >= 0, len(fnr), allowed.size)
    below = np.maximum(above - 1, 0)
    gap = excess(below)
    below = _first(lambda point: excess(point) >= gap, len(fnr), allowed.size)
    chosen = np.where(np.abs(excess(below)) <= np.abs(excess(above)), below, above)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(nontargets / spoofs - fpr[chosen] / (1 - fnr[chosen]))
    best = np.argmin(np.where(np.isnan(distance), np.inf, distance))
    value = spoofs[best] * fpr[chosen[best]]
    return TandemPoint(
        float(value),
        Point.of(value, allowed[best], asv_thresholds).threshold,
        Point.of(value, chosen[best], cm_thresholds).threshold,
        float(np.min(np.mean(errors(chosen), axis=0))),
    )


def _first(reached: Callable[[NDArray[np.intp]], NDArray[np.bool_]], points: int, searches: int) -> NDArray[np.intp]:
    """The first of the points from which on `reached` is true, for many searches side by side; the last where it never is."""
    low, high = np.zeros(searches, dtype=np.intp), np.full(searches, points - 1, dtype=np.intp)
    for _ in range(points.bit_length()):
        middle = (low + high) // 2
        there = reached(middle)
        low, high = np.where(there, low, np.minimum(middle + 1, high)), np.where(there, middle, high)
    return high


def _curves(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike) -> tuple[tuple[FloatArray, ...], FloatArray]:
    """Miss, false alarm and spoof false alarm rate at each point of the curve, (trials + 1,), and the lowest accepted scores.

    Of equal scores targets are rejected first, then nontargets.
    """
    classes = [checked(target, "target"), checked(nontarget, "nontarget"), checked(spoof, "spoofed")]
    scores = np.concatenate(classes)
    order = np.argsort(scores, kind="stable")
    owner = np.repeat(np.arange(3), [values.size for values in classes])[order]
    rejected = [np.concatenate(([0], np.cumsum(owner == kind))) / values.size for kind, values in enumerate(classes)]
    thresholds = np.append(scores[order], math.nextafter(scores[order[-1]], math.inf))
    return (rejected[0], 1 - rejected[1], 1 - rejected[2]), thresholds

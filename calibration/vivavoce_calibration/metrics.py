"""Error rates of a countermeasure from its scores, as the ASVspoof challenges define them, with confidence intervals.

Every metric takes the scores of bona fide and of spoofed trials, higher for bona fide, as two arrays. Rates run from 0
to 1. A trial is accepted as bona fide when its score is at least the threshold. Infinite scores are allowed; a score
that is not a number, or a class without scores, raises ConfigurationError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.errors import ConfigurationError

__all__ = [
    "ErrorRates",
    "FloatArray",
    "Interval",
    "Metric",
    "Point",
    "Speakers",
    "act_dcf",
    "bayes_threshold",
    "bootstrap_draws",
    "checked",
    "cllr",
    "det_curve",
    "ece",
    "eer",
    "eer_interpolated",
    "eer_point",
    "eer_threshold",
    "error_rates",
    "interval",
    "joint_interval",
    "min_dcf",
    "min_dcf_point",
    "paired_interval",
    "roc_auc",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Metric = Callable[[FloatArray, FloatArray], float]


# Error rates over all thresholds.


def det_curve(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """False negative rates, false positive rates and thresholds, each (trials + 1,), from accept all to reject all.

    Point k rejects the k lowest scores; its threshold is the lowest score that is still accepted, and just above the
    highest score at the end. Scores are sorted stably with bona fide before spoof, as in the ASVspoof challenges' code:
    of equal scores the bona fide are rejected first, so among equal scores the curve visits points that no threshold
    reaches, on the pessimistic side. (That code lists the highest rejected score as the threshold; so does `Point`.)
    """
    genuine, fake = checked(bonafide, "bona fide"), checked(spoof, "spoofed")
    scores = np.concatenate((genuine, fake))
    order = np.argsort(scores, kind="stable")
    rejected = np.concatenate(([0], np.cumsum(order < genuine.size)))
    accepted = fake.size - (np.arange(scores.size + 1) - rejected)
    thresholds = np.append(scores[order], math.nextafter(scores[order[-1]], math.inf))
    return rejected / genuine.size, accepted / fake.size, thresholds


class Point(NamedTuple):
    """A metric, and where on the curve it is reached: the highest score that is rejected there.

    The challenges' code prints this score as the threshold. A system that accepts scores at or above it accepts one trial more
    than were counted, or as many more as share the score; `eer_threshold` is the lowest accepted score instead.
    """

    value: float
    threshold: float

    @classmethod
    def of(cls, value: float, index: np.intp, lowest_accepted: FloatArray) -> Point:
        """The point `index` of a curve whose thresholds are the lowest scores that are accepted."""
        below = lowest_accepted[index - 1] if index else math.nextafter(lowest_accepted[0], -math.inf)
        return cls(float(value), float(below))


def eer(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """The equal error rate: the mean of the two error rates at the first point of `det_curve` where they are closest.

    This is the definition of the ASVspoof 2019, 2021 and 5 evaluation code; it neither interpolates nor takes the
    convex hull. Scores that are all equal give 1, for no bona fide trial outranks a spoof.
    """
    return eer_point(bonafide, spoof).value


def eer_point(bonafide: ArrayLike, spoof: ArrayLike) -> Point:
    """The `eer` with the threshold that the challenges print beside it."""
    fnr, fpr, thresholds = det_curve(bonafide, spoof)
    point = np.argmin(np.abs(fnr - fpr))
    return Point.of((fnr[point] + fpr[point]) / 2, point, thresholds)


def eer_threshold(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """The threshold of the point that gives the `eer`; `error_rates` are that point's unless it parts equal scores."""
    fnr, fpr, thresholds = det_curve(bonafide, spoof)
    return float(thresholds[np.argmin(np.abs(fnr - fpr))])


def eer_interpolated(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """The equal error rate of SASVC 2022: where FPR = FNR on the ROC drawn straight from one distinct score to the next.

    Equal scores are averaged over where `eer` takes their worst order. Jung et al., "SASV 2022: the first spoofing-aware
    speaker verification challenge", Interspeech 2022, whose code solves for this on scikit-learn's ROC.
    """
    genuine, fake = np.sort(checked(bonafide, "bona fide")), np.sort(checked(spoof, "spoofed"))
    edges = np.unique(np.concatenate((genuine, fake)))
    fnr = np.append(np.searchsorted(genuine, edges) / genuine.size, 1.0)
    fpr = np.append(1 - np.searchsorted(fake, edges) / fake.size, 0.0)
    after = int(np.argmax(fnr >= fpr))
    gap = fpr - fnr
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def roc_auc(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """The area under the ROC curve: the probability that a bona fide trial outscores a spoof, ties counting half."""
    genuine, fake = checked(bonafide, "bona fide"), np.sort(checked(spoof, "spoofed"))
    below_or_equal = np.searchsorted(fake, genuine, "left") + np.searchsorted(fake, genuine, "right")
    return float(below_or_equal.sum() / (2 * genuine.size * fake.size))


# Error rates and costs at one threshold.


class ErrorRates(NamedTuple):
    """What a threshold does: the shares of bona fide trials rejected and of spoofs accepted, and their mean."""

    fnr: float
    fpr: float

    @property
    def hter(self) -> float:
        return (self.fnr + self.fpr) / 2


def error_rates(bonafide: ArrayLike, spoof: ArrayLike, threshold: float) -> ErrorRates:
    """False negative and false positive rate, and through `hter` their mean, when scores >= threshold are accepted."""
    if np.isnan(threshold):
        raise ConfigurationError("The threshold is not a number. Choose a number, or plus or minus infinity.")
    genuine, fake = checked(bonafide, "bona fide"), checked(spoof, "spoofed")
    return ErrorRates(float(np.mean(genuine < threshold)), float(np.mean(fake >= threshold)))


def bayes_threshold(p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0) -> float:
    """The threshold on log-likelihood ratios that costs least; -0.6419 for the costs of ASVspoof 5.

    `p_spoof` is the prior of a spoof, `c_miss` the cost of rejecting bona fide speech, `c_fa` of accepting a spoof.
    """
    miss, false_alarm = _weights(p_spoof, c_miss, c_fa)
    return float(np.log(false_alarm / miss))


def min_dcf(bonafide: ArrayLike, spoof: ArrayLike, *, p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0) -> float:
    """The lowest normalised detection cost on `det_curve`, from 0 to 1: the primary metric of ASVspoof 5, track 1.

    The cost is c_miss (1 - p_spoof) FNR + c_fa p_spoof FPR, divided by that of the better of accepting and rejecting
    all (0.5 by default). Wang et al., "ASVspoof 5: crowdsourced speech data, deepfakes, and adversarial attacks at
    scale", 2024.
    """
    return min_dcf_point(bonafide, spoof, p_spoof=p_spoof, c_miss=c_miss, c_fa=c_fa).value


def min_dcf_point(
    bonafide: ArrayLike, spoof: ArrayLike, *, p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0
) -> Point:
    """The `min_dcf` with the threshold that ASVspoof 5 prints beside it."""
    miss, false_alarm = _weights(p_spoof, c_miss, c_fa)
    fnr, fpr, thresholds = det_curve(bonafide, spoof)
    cost = (miss * fnr + false_alarm * fpr) / min(miss, false_alarm)
    point = np.argmin(cost)
    return Point.of(cost[point], point, thresholds)


def act_dcf(bonafide: ArrayLike, spoof: ArrayLike, *, p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0) -> float:
    """The normalised detection cost at `bayes_threshold`, 0 or more; meaningful for log-likelihood ratios only."""
    miss, false_alarm = _weights(p_spoof, c_miss, c_fa)
    rates = error_rates(bonafide, spoof, bayes_threshold(p_spoof, c_miss, c_fa))
    return float((miss * rates.fnr + false_alarm * rates.fpr) / min(miss, false_alarm))


def cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """The cost of log-likelihood ratios in bits, natural logarithm in: 0 for perfect ones, 1 for ones that are all 0.

    Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006.
    """
    genuine, fake = checked(bonafide, "bona fide"), checked(spoof, "spoofed")
    nats = np.mean(np.logaddexp(0.0, -genuine)) + np.mean(np.logaddexp(0.0, fake))
    return float(nats / (2 * np.log(2)))


def ece(bonafide: ArrayLike, spoof: ArrayLike, log_odds: float = 0.0) -> float:
    """The empirical cross-entropy in bits of log-likelihood ratios at prior log odds ln(P(bona fide) / P(spoof)): what is left
    to learn of a trial's class once its ratio is told. At odds of 1 it is `cllr`.

    Ramos and Gonzalez-Rodriguez, "Reliable support: measuring calibration of likelihood ratios", 2013.
    """
    genuine, fake = checked(bonafide, "bona fide"), checked(spoof, "spoofed")
    prior = 1 / (1 + math.exp(-log_odds))
    living, spoofed = np.mean(np.logaddexp(0.0, -genuine - log_odds)), np.mean(np.logaddexp(0.0, fake + log_odds))
    return float((prior * living + (1 - prior) * spoofed) / np.log(2))


def _weights(p_spoof: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """What a miss and a false alarm weigh in the detection cost."""
    if not (0 < p_spoof < 1 and c_miss > 0 and c_fa > 0):
        raise ConfigurationError(
            f"No detection cost has p_spoof={p_spoof}, c_miss={c_miss}, c_fa={c_fa}. "
            "Choose a prior between 0 and 1 and costs above 0."
        )
    return c_miss * (1 - p_spoof), c_fa * p_spoof


def checked(scores: ArrayLike, name: str) -> FloatArray:
    """The scores of one kind of trial as an array (n,) of float64. Raises ConfigurationError for none, and for NaN."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ConfigurationError(
            f"The scores of {name} trials have the shape {values.shape}. Give one score for each of at least one trial."
        )
    if bad := int(np.isnan(values).sum()):
        raise ConfigurationError(
            f"{bad} of {values.size} scores of {name} trials are not a number. Find the trials whose scoring failed."
        )
    return values


# Confidence intervals.


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric, or a difference of two, and the range that a share `level` of the bootstrap's draws falls in."""

    value: float
    low: float
    high: float
    level: float
    clusters: int
    """How many speakers were drawn from; a trial whose speaker is not known counts as one."""


def bootstrap_draws(trials: int) -> int:
    """Draws of the bootstrap: each takes time as trials do, and the more trials, the less the interval's ends matter."""
    return min(1000, max(100, 10_000_000 // trials))


Speakers = Sequence[str | None] | None
Scores = tuple[ArrayLike, ArrayLike]
TWO = ("bona fide", "spoofed")


def interval(
    metric: Metric,
    bonafide: ArrayLike,
    spoof: ArrayLike,
    *,
    bonafide_speakers: Speakers = None,
    spoof_speakers: Speakers = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A metric with its bootstrap percentile interval.

    Each draw takes as many speakers as there are, with replacement, and all trials of each, because trials of one
    speaker are alike and drawing them one by one gives intervals that are too narrow (Bolle et al., "Error analysis of
    pattern recognition systems: the subsets bootstrap", 2004). A speaker of both classes is one speaker. A trial whose
    speaker is None, and any trial where no speakers are given, is drawn for itself. A draw without one of the classes
    is taken again. `metric` is any function of the two arrays of scores that does not depend on their order, such as
    `eer`.

    Raises ConfigurationError when there is not one speaker for each score, or a class has fewer than two speakers.
    """
    classes = dict(zip(TWO, (bonafide, spoof), strict=True))
    speakers = dict(zip(TWO, (bonafide_speakers, spoof_speakers), strict=True))
    return joint_interval(metric, classes, speakers=speakers, draws=draws, level=level, seed=seed)


def joint_interval(
    metric: Callable[..., float],
    classes: Mapping[str, ArrayLike],
    *,
    speakers: Mapping[str, Speakers] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A metric of any number of kinds of trial with its bootstrap percentile interval, as `interval` for two.

    `classes` are the scores by the kinds' names, in the order of the metric's arguments; `speakers` those of some or all kinds.
    A speaker of several kinds is one speaker, drawn with all trials of each: so verifier and countermeasure are drawn together.

        joint_interval(min_adcf, {"target": target, "nontarget": nontarget, "spoofed": spoof})
        kinds = {"bona fide": bonafide, "spoofed": spoof, "target": target, "nontarget": nontarget, "spoofed targets": attacks}
        joint_interval(t_eer, kinds, speakers=speakers)

    Raises ConfigurationError as `interval` does.
    """
    names, scores = tuple(classes), tuple(classes.values())
    resample = _resampler(names, scores)
    sizes = [np.size(values) for values in scores]
    clusters = _clusters(names, sizes, [(speakers or {}).get(name) for name in names])
    return _percentiles(lambda counts: metric(*resample(counts)), sizes, clusters, draws, level, seed)


def paired_interval(
    metric: Metric,
    scores: Scores,
    reference: Scores,
    *,
    bonafide_speakers: Speakers = None,
    spoof_speakers: Speakers = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The metric of one system minus that of another on the same trials, with its bootstrap percentile interval.

    `scores` and `reference` are pairs (bona fide, spoof), with the trials in the same order. Both systems are drawn the
    same speakers, as in `interval`, so what the trials have in common cancels out: a range without 0 tells them apart.

    Raises ConfigurationError as `interval` does, and when the two have different numbers of scores.
    """
    sizes = [np.size(values) for values in scores]
    if sizes != [np.size(values) for values in reference]:
        raise ConfigurationError("The two systems have different numbers of scores. Score the same trials with both.")
    one, other = _resampler(TWO, scores), _resampler(TWO, reference)
    clusters = _clusters(TWO, sizes, (bonafide_speakers, spoof_speakers))
    return _percentiles(lambda counts: metric(*one(counts)) - metric(*other(counts)), sizes, clusters, draws, level, seed)


def _resampler(names: Sequence[str], classes: Sequence[ArrayLike]) -> Callable[[IntArray], list[FloatArray]]:
    """A function from how often each trial is drawn, one class after the other, to the drawn scores of each class.

    They come sorted, so that a metric that sorts them again has little to do.
    """
    scores = [checked(values, name) for name, values in zip(names, classes, strict=True)]
    starts = np.cumsum([0, *(values.size for values in scores)])
    orders = [start + np.argsort(values) for start, values in zip(starts, scores, strict=False)]
    scores = [np.sort(values) for values in scores]
    return lambda counts: [np.repeat(values, counts[order]) for values, order in zip(scores, orders, strict=True)]


def _clusters(names: Sequence[str], sizes: Sequence[int], speakers: Sequence[Speakers]) -> IntArray:
    """The number of the speaker of each trial, one class after the other, counted from 0."""
    numbers: dict[str | int, int] = {}
    clusters: list[int] = []
    for name, size, given in zip(names, sizes, speakers, strict=True):
        known = [None] * size if given is None else given
        if len(known) != size:
            raise ConfigurationError(f"{size} {name} trials have {len(known)} speakers. Give one for each, or None.")
        own = [numbers.setdefault(len(numbers) if who is None else who, len(numbers)) for who in known]
        if len(set(own)) < 2:
            raise ConfigurationError(
                f"The {size} {name} trials have one speaker, which tells nothing of others. "
                "Evaluate more speakers, or leave the speakers out to draw trials."
            )
        clusters += own
    return np.array(clusters)


def _percentiles(
    statistic: Callable[[IntArray], float],
    sizes: Sequence[int],
    clusters: IntArray,
    draws: int,
    level: float,
    seed: int,
) -> Interval:
    if draws < 1 or not 0 < level < 1:
        raise ConfigurationError(
            f"No interval has draws={draws} and level={level}. Choose at least one draw and a level between 0 and 1."
        )
    rng = np.random.default_rng(seed)
    total = int(clusters.max()) + 1
    values: list[float] = []
    ends = np.cumsum(sizes)[:-1]
    while len(values) < draws:
        counts = np.bincount(rng.integers(total, size=total), minlength=total)[clusters]
        if all(part.any() for part in np.split(counts, ends)):
            values.append(statistic(counts))
    # Without interpolation, which has no answer between infinite values.
    low = np.quantile(values, (1 - level) / 2, method="lower")
    high = np.quantile(values, (1 + level) / 2, method="higher")
    return Interval(statistic(np.ones_like(clusters)), float(low), float(high), level, total)

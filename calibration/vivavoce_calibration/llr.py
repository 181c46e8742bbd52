"""Calibration of scores: an affine map from an engine's score to a log-likelihood ratio (not the activation ranges of INT8).

The map keeps the order of the scores, so it changes no EER; it gives the score a meaning that thresholds, priors and other
systems' scores can be combined with. It is fitted on a development set and never on the trials that are reported.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from vivavoce.bundle import Calibration
from vivavoce.errors import ConfigurationError

from .metrics import FloatArray, checked, cllr

__all__ = ["best_llrs", "engine_scores", "fit", "llr", "min_cllr"]


def fit(bonafide: ArrayLike, spoof: ArrayLike, *, corpus: str, prior: float = 0.5) -> Calibration:
    """The map under which the scores of bona fide (n,) and spoofed (m,) trials cost least when read as probabilities.

    The cost is the cross-entropy with the classes weighted to the effective prior P(bona fide) = `prior`, whatever their
    numbers are: prior-weighted logistic regression (Brümmer and du Preez, "Application-independent evaluation of speaker
    detection", 2006). The targets are not 1 and 0 but (n + 1) / (n + 2) and 1 / (m + 2), what so many trials can
    support: classes that do not overlap would otherwise ask for an infinite scale (Platt, "Probabilistic outputs for support
    vector machines", 1999, section 2.2).

    Raises ConfigurationError where a class has no scores, a score is not finite, all are equal, the prior is not between 0
    and 1, or spoofs score higher than bona fide trials, for a map that turns the order round has no positive scale.
    """
    if not 0 < prior < 1:
        raise ConfigurationError(f"A prior of {prior} is impossible. Choose P(bona fide) between 0 and 1, such as 0.5.")
    genuine, fake = _finite(bonafide, "bona fide"), _finite(spoof, "spoofed")
    scores = np.concatenate((genuine, fake))
    if not (spread := float(np.std(scores))) > 0:
        raise ConfigurationError(f"All {scores.size} scores are {scores[0]:g}. Score with an engine that tells trials apart.")
    centre = float(np.mean(scores))
    slope, intercept = _regression((genuine - centre) / spread, (fake - centre) / spread, prior)
    if slope <= 0:
        raise ConfigurationError(
            "Spoofs score higher than bona fide trials. Check the corpus' labels and which output of the network is its score."
        )
    scale = slope / spread
    offset = intercept - scale * centre - math.log(prior / (1 - prior))
    return Calibration(scale=scale, offset=offset, prior=prior, corpus=corpus, bonafide=genuine.size, spoof=fake.size)


def llr(calibration: Calibration | None, scores: ArrayLike) -> FloatArray:
    """Log-likelihood ratios from an engine's scores of any shape; the scores themselves where there is no calibration."""
    values = np.asarray(scores, np.float64)
    return values if calibration is None else calibration.scale * values + calibration.offset


def engine_scores(calibration: Calibration | None, ratios: ArrayLike) -> FloatArray:
    """The inverse of `llr`. It holds for recordings too, since their score is a weighted mean of their windows'."""
    values = np.asarray(ratios, np.float64)
    return values if calibration is None else (values - calibration.offset) / calibration.scale


def min_cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """The least Cllr, in bits from 0 to 1, that any calibration keeping the order of the scores has on these very trials.

    What Cllr has beyond it is the calibration's fault, what is left is the detector's: Brümmer and du Preez,
    "Application-independent evaluation of speaker detection", 2006. Raises ConfigurationError as `eer` does.
    """
    return cllr(*best_llrs(bonafide, spoof))


def best_llrs(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Log-likelihood ratios that fit the labels of bona fide (n,) and spoofed (m,) trials best, some of them infinite.

    They are found by pooling adjacent violators, so they rise with the scores, and equal scores have equal ones.
    """
    genuine, fake = checked(bonafide, "bona fide"), checked(spoof, "spoofed")
    distinct, group = np.unique(np.concatenate((genuine, fake)), return_inverse=True)
    trials = np.bincount(group, minlength=distinct.size)
    living = np.bincount(group[: genuine.size], minlength=distinct.size)
    probability = np.asarray(isotonic_regression(living / trials, sample_weight=trials, y_min=0, y_max=1), np.float64)
    with np.errstate(divide="ignore"):
        ratios = np.log(probability) - np.log1p(-probability) - math.log(genuine.size / fake.size)
    return ratios[group[: genuine.size]], ratios[group[genuine.size :]]


def _regression(genuine: FloatArray, fake: FloatArray, prior: float) -> tuple[float, float]:
    """Slope and intercept of the log odds. Each trial counts as both classes, by its target."""
    high, low = (genuine.size + 1) / (genuine.size + 2), 1 / (fake.size + 2)
    one, other = prior / genuine.size, (1 - prior) / fake.size
    weights = [one * high, one * (1 - high), other * low, other * (1 - low)]
    sizes = [genuine.size, genuine.size, fake.size, fake.size]
    # The weights of all trials sum to 1 without the factor, and the solver's tolerance would be that of one trial.
    total = genuine.size + fake.size
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8, max_iter=1000)
    model.fit(
        np.concatenate((genuine, genuine, fake, fake))[:, None],
        np.repeat([1, 0, 1, 0], sizes),
        sample_weight=total * np.repeat(weights, sizes),
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _finite(scores: ArrayLike, name: str) -> FloatArray:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not values.size:
        raise ConfigurationError(f"The scores of {name} trials have the shape {values.shape}. Give at least one, as (n,).")
    if bad := int(np.count_nonzero(~np.isfinite(values))):
        raise ConfigurationError(f"{bad} of {values.size} scores of {name} trials are not finite. Find out why scoring failed.")
    return values

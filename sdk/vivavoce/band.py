"""Bands: from which score on a recording is accepted, below which it is rejected, and how often either happened."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .bundle import Bundle, Manifest, OperatingPoint, Rate
from .errors import ConfigurationError, real
from .rates import clopper_pearson

__all__ = ["Band", "Choice", "Shares", "choose", "symmetric"]

Choice = str | float | None
"""A threshold as a user names it: an operating point's name, a log-likelihood ratio, or None for the bundle's default."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What became of the trials of one class: each share with its count of trials and its interval of 95 %."""

    accepted: Rate
    """Those that scored at `Band.accept` or above."""
    between: Rate
    """Those for which more is asked: they scored below `Band.accept`, and at `Band.reject` or above."""
    rejected: Rate
    """Those that scored below `Band.reject`."""

    def all(self) -> tuple[Rate, Rate, Rate]:
        """The three, from the highest scores to the lowest."""
        return self.accepted, self.between, self.rejected


@dataclass(frozen=True, slots=True)
class Band:
    """The two thresholds by which a verdict is given: "bonafide" from `accept` on, "spoof" below `reject`, and "undecided" with
    the reason "between" for what lies between them.

    No score above 0 is called spoof: of a calibrated bundle it says that the recording is likelier from a living voice.
    """

    name: str
    """As it was chosen: "eer", "accept fpr=1%, reject fnr=2%", or the number."""
    accept: float
    """The lowest log-likelihood ratio that is accepted."""
    reject: float
    """The lowest log-likelihood ratio that is not rejected; at most `accept`."""
    living: Shares | None = None
    """What became of living voices where both thresholds were measured; None where they were not, on the same trials."""
    synthetic: Shares | None = None
    """The same of spoofs."""
    corpus: str | None = None
    """Where they were measured."""


def choose(bundle: Bundle, operating_point: Choice = None, accept: Choice = None, reject: Choice = None) -> Band:
    """The band of one threshold, `operating_point` (None is the bundle's default), or of two, `accept` and `reject`.

    Where `accept` lies below `reject`, because one threshold can keep both error rates, both become the middle between them.
    Raises ConfigurationError for a threshold that the bundle has not or that is no number, for one of two, and for both ways
    at once.
    """
    manifest = bundle.manifest
    if accept is None and reject is None:
        one = _point(bundle, manifest.default_operating_point if operating_point is None else operating_point)
        return _band(manifest, one.name, one, one)
    if operating_point is not None:
        raise ConfigurationError("operating_point and accept with reject exclude each other. Give one threshold, or two.")
    if accept is None or reject is None:
        raise ConfigurationError("accept and reject belong together. Give both, or operating_point for a single threshold.")
    upper, lower = _point(bundle, accept), _point(bundle, reject)
    if upper.threshold < lower.threshold and not (upper.fpr and lower.fnr):
        raise ConfigurationError(
            f"accept={accept} lies below reject={reject}. Give the higher threshold as accept, the lower as reject."
        )
    return _band(manifest, f"accept {upper.name}, reject {lower.name}", upper, lower)


def symmetric(bundle: Bundle) -> Iterator[Band]:
    """The bands whose two error rates are the same number, the strictest first."""
    names = {point.name for point in bundle.manifest.operating_points}
    rates = {name.removeprefix("fpr=") for name in names if name.startswith("fpr=")}
    for rate in sorted(rates, key=lambda rate: float(rate.rstrip("%"))):
        if f"fnr={rate}" in names:
            yield choose(bundle, accept=f"fpr={rate}", reject=f"fnr={rate}")


def _band(manifest: Manifest, name: str, upper: OperatingPoint, lower: OperatingPoint) -> Band:
    accept, reject = upper.threshold, lower.threshold
    if accept < reject:
        accept = reject = (accept + reject) / 2
    if manifest.calibration:
        reject = min(reject, 0.0, accept)
    measured = {point.threshold: point for point in manifest.operating_points if point.corpus == upper.corpus}
    high, low = measured.get(accept), measured.get(reject)
    if high is None or low is None:
        return Band(name, accept, reject)
    living = _shares(high.fnr, low.fnr, accepts=False)
    synthetic = _shares(high.fpr, low.fpr, accepts=True)
    return Band(name, accept, reject, living, synthetic, upper.corpus)


def _shares(high: Rate | None, low: Rate | None, *, accepts: bool) -> Shares | None:
    """From the rates at both thresholds: of spoofs that were accepted, or of living voices that were rejected."""
    if high is None or low is None or high.trials != low.trials:
        return None
    trials = high.trials
    above, from_low = (round(rate.value * trials) for rate in (high, low))
    if not accepts:
        above, from_low = trials - above, trials - from_low
    counts = (above, from_low - above, trials - from_low)
    return Shares(*(clopper_pearson(count, trials) for count in counts))


def _point(bundle: Bundle, chosen: str | float) -> OperatingPoint:
    """An operating point by its name, or one that was never measured, by its threshold."""
    value = _number(chosen)
    if value is None:
        return bundle.operating_point(str(chosen))
    if not math.isfinite(value):
        raise ConfigurationError(f"A threshold of {value} decides nothing. Give a finite number.")
    return OperatingPoint(name=f"{value:+g}", threshold=value)


def _number(chosen: object) -> float | None:
    """A threshold: a number of any type, or one as it is written."""
    if not isinstance(chosen, str):
        return real(chosen)
    try:
        return float(chosen)
    except ValueError:
        return None

"""Policies: when a stream raises an alarm and when it takes it back, in terms that a user sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from .band import Choice
from .bundle import Manifest
from .errors import ConfigurationError

__all__ = ["Policy", "alarm_threshold", "whole"]

SHORTEST_HOP = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a stream gives its verdicts, and by which thresholds.

    Raises ConfigurationError for values out of range.
    """

    alarm_after: int = 1
    """Windows in a row below the threshold that make the verdict "spoof", with the mean of their scores."""
    clear_after: int = 1
    """Windows in a row that are accepted, which make it "bonafide" in the same way."""
    hop: float | None = None
    """Seconds between windows, 0.1 or more; None is the bundle's."""
    forget_after: float = 5.0
    """Seconds without speech after which the next speaker is judged afresh."""
    scores: bool = False
    """Whether every window is an event."""
    false_alarms_per_hour: float | None = None
    """Lowers the threshold for "spoof" until living speakers who talk without a pause are expected to be called so at most
    that often, as far as the counts in the bundle can support it."""
    operating_point: Choice = None
    """A single threshold in place of the detector's; see `Detector`."""
    accept: Choice = None
    """With `reject`, two thresholds in place of the detector's: from this on the verdict is "bonafide"."""
    reject: Choice = None
    """Below this the verdict is "spoof"; between the two it is "undecided" until one side has its windows in a row."""

    def __post_init__(self) -> None:
        for name in ("alarm_after", "clear_after"):
            whole(name, getattr(self, name), "windows")
        if self.hop is not None and not SHORTEST_HOP <= _number("hop", self.hop) < math.inf:
            raise ConfigurationError(f"hop={self.hop} is not possible. Give {SHORTEST_HOP} seconds or more.")
        if not _number("forget_after", self.forget_after) > 0:
            raise ConfigurationError(f"forget_after={self.forget_after} is not possible. Give more than 0 seconds.")
        limit = self.false_alarms_per_hour
        if limit is not None and not _number("false_alarms_per_hour", limit) > 0:
            raise ConfigurationError(f"false_alarms_per_hour={limit} cannot be promised. Give more than 0.")


def whole(name: str, value: object, of: str) -> None:
    """Raises ConfigurationError where a setting is not a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigurationError(f"{name}={value!r} is not a number of {of}. Give 1 or more.")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigurationError(f"{name}={value!r} is not a number. Give one.")
    return float(value)


def alarm_threshold(policy: Policy, manifest: Manifest, threshold: float) -> float:
    """The score below which a window counts towards an alarm: `threshold`, or lower where the policy limits false alarms.

    An operating point was measured on `trials` living speakers; the upper end of the interval around its `fnr` bounds the
    windows of living speech below its threshold. Each alarm takes `alarm_after` such windows for itself, hence alarms an hour
    <= windows an hour * fnr / alarm_after, however the windows depend on each other. Raises ConfigurationError where no
    operating point in the bundle was measured on enough speakers.
    """
    limit = policy.false_alarms_per_hour
    if limit is None:
        return threshold
    hop = policy.hop or manifest.audio.hop / manifest.audio.sample_rate
    alarms = {
        point.threshold: point.fnr.high * 3600 / hop / policy.alarm_after
        for point in manifest.operating_points
        if point.fnr and point.threshold <= threshold
    }
    supported = [point for point, rate in alarms.items() if rate <= limit + 1e-9]
    if supported:
        return max(supported)
    best = (
        f"the fewest that its counts support is {_rounded_up(min(alarms.values()))} an hour" if alarms else "none was measured"
    )
    raise ConfigurationError(
        f'The bundle "{manifest.name}" cannot promise {limit:g} false alarms an hour with alarm_after={policy.alarm_after} '
        f"and a hop of {hop:g} s: {best}. Raise alarm_after or hop, or leave false_alarms_per_hour out."
    )


def _rounded_up(rate: float) -> float:
    return math.ceil(rate * 1000 - 1e-6) / 1000

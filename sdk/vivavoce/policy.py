"""Policies: when a stream raises an alarm and when it takes it back, in terms that a user sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .band import Band, Choice
from .bundle import Manifest, Monitoring
from .errors import ConfigurationError, number, whole

__all__ = ["Alarms", "Policy", "alarm_threshold", "settle"]

SHORTEST_HOP = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a stream gives its verdicts, and by which thresholds.

    Raises ConfigurationError for values out of range.
    """

    alarm_after: int | None = None
    """Windows in a row below the threshold that make the verdict "spoof", with the mean of their scores; None is 1, or what
    a limit on false alarms takes."""
    clear_after: int | None = None
    """Windows in a row that are accepted, which make it "bonafide" in the same way; None is as for `alarm_after`."""
    hop: float | None = None
    """Seconds between windows, 0.1 or more; None is the bundle's, or what a limit on false alarms takes."""
    forget_after: float = 5.0
    """Seconds without speech after which the next speaker is judged afresh."""
    scores: bool = False
    """Whether every window is an event."""
    false_alarms_per_hour: float | None = None
    """The most alarms that living speakers who talk without a pause are to raise. Of the settings that the bundle was measured
    with it takes the one that catches most. Where it was measured with none, it lowers the threshold for "spoof" as far as the
    counts of the operating points can support."""
    operating_point: Choice = None
    """A single threshold in place of the detector's; see `Detector`."""
    accept: Choice = None
    """With `reject`, two thresholds in place of the detector's: from this on the verdict is "bonafide"."""
    reject: Choice = None
    """Below this the verdict is "spoof"; between the two it is "undecided" until one side has its windows in a row."""

    def __post_init__(self) -> None:
        for name in ("alarm_after", "clear_after"):
            if (windows := getattr(self, name)) is not None:
                whole(name, windows, "windows")
        if self.hop is not None and not SHORTEST_HOP <= number("hop", self.hop) < math.inf:
            raise ConfigurationError(f"hop={self.hop} is not possible. Give {SHORTEST_HOP} seconds or more.")
        if not number("forget_after", self.forget_after) > 0:
            raise ConfigurationError(f"forget_after={self.forget_after} is not possible. Give more than 0 seconds.")
        limit = self.false_alarms_per_hour
        if limit is not None and not number("false_alarms_per_hour", limit) > 0:
            raise ConfigurationError(f"false_alarms_per_hour={limit} cannot be promised. Give more than 0.")


@dataclass(frozen=True, slots=True)
class Alarms:
    """When a stream raises alarms, settled for a bundle: `after` windows in a row `below`, one every `hop` seconds."""

    after: int
    clear_after: int
    hop: float
    below: float
    measured: Monitoring | None = None
    """What this setting brought where it was measured; None where it was not."""


def settle(policy: Policy, manifest: Manifest, band: Band) -> Alarms:
    """What a policy comes to with a bundle and its thresholds.

    Raises ConfigurationError where the bundle's counts cannot support the policy's limit on false alarms.
    """
    hop = policy.hop or manifest.audio.hop / manifest.audio.sample_rate
    after, limit = policy.alarm_after or 1, policy.false_alarms_per_hour
    fitting = [row for row in manifest.monitoring if _fits(policy, row, band)]
    if limit is None:
        same = [row for row in fitting if (row.alarm_after, row.hop, row.threshold) == (after, hop, band.reject)]
        return Alarms(after, policy.clear_after or 1, hop, band.reject, same[0] if same else None)
    if supported := [row for row in fitting if row.false_alarms.high <= limit]:
        best = max(supported, key=lambda row: (row.caught.value, -row.false_alarms.value))
        return Alarms(best.alarm_after, policy.clear_after or best.alarm_after, best.hop, best.threshold, best)
    if not fitting:
        return Alarms(after, policy.clear_after or 1, hop, alarm_threshold(policy, manifest, band.reject))
    fewest = min(fitting, key=lambda row: row.false_alarms.high)
    most = fewest.false_alarms.high
    raise ConfigurationError(
        f'The bundle "{manifest.name}" cannot promise {limit:g} false alarms an hour: the fewest that its measurements support '
        f"are {_rounded_up(most)}, with alarm_after={fewest.alarm_after}, and {fewest.caught.value:.0%} of synthetic voices "
        f"are then caught within a minute. Give false_alarms_per_hour={math.ceil(most)} or more."
    )


def _fits(policy: Policy, row: Monitoring, band: Band) -> bool:
    """Whether a setting that was measured is one that the policy and the thresholds leave open."""
    asked = (policy.alarm_after in (None, row.alarm_after), policy.clear_after in (None, row.alarm_after))
    return all(asked) and policy.hop in (None, row.hop) and row.threshold <= band.reject and row.clears_at <= band.accept


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
    hop, after = policy.hop or manifest.audio.hop / manifest.audio.sample_rate, policy.alarm_after or 1
    alarms = {
        point.threshold: point.fnr.high * 3600 / hop / after
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
        f'The bundle "{manifest.name}" cannot promise {limit:g} false alarms an hour with alarm_after={after} '
        f"and a hop of {hop:g} s: {best}. Raise alarm_after or hop, or leave false_alarms_per_hour out."
    )


def _rounded_up(rate: float) -> float:
    return math.ceil(rate * 1000 - 1e-6) / 1000

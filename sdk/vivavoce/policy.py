"""Policies: when a stream raises an alarm and when it takes it back, in terms that a user sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .bundle import Manifest
from .errors import ConfigurationError

__all__ = ["Policy", "alarm_threshold"]

SHORTEST_HOP = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a stream gives its verdicts.

    `alarm_after` windows in a row below the threshold make the verdict "spoof", `clear_after` windows in a row at or above it
    "bonafide"; the score of a verdict is the mean of these windows. `hop` is the seconds between windows, 0.1 or more; None is
    the bundle's. After `forget_after` seconds without speech the next speaker is judged afresh. `scores` asks for an event for
    every window. `false_alarms_per_hour` lowers the threshold for "spoof" until living speakers who talk without a pause are
    expected to be called so at most that often, as far as the counts in the bundle can support it.

    Raises ConfigurationError for values out of range.
    """

    alarm_after: int = 1
    clear_after: int = 1
    hop: float | None = None
    forget_after: float = 5.0
    scores: bool = False
    false_alarms_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name in ("alarm_after", "clear_after"):
            if (windows := getattr(self, name)) < 1 or int(windows) != windows:
                raise ConfigurationError(f"{name}={windows} is not a number of windows. Give 1 or more.")
        if self.hop is not None and not SHORTEST_HOP <= self.hop < math.inf:
            raise ConfigurationError(f"hop={self.hop} is not possible. Give {SHORTEST_HOP} seconds or more.")
        if not self.forget_after > 0:
            raise ConfigurationError(f"forget_after={self.forget_after} is not possible. Give more than 0 seconds.")
        limit = self.false_alarms_per_hour
        if limit is not None and not limit > 0:
            raise ConfigurationError(f"false_alarms_per_hour={limit} cannot be promised. Give more than 0.")


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

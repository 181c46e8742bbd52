"""What a detector answers: frozen records, plain enough to log, to compare and to turn into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

__all__ = ["REMEDIES", "Event", "EventKind", "Reason", "Result", "Segment", "Verdict"]

Verdict: TypeAlias = Literal["bonafide", "spoof", "undecided"]

Reason: TypeAlias = Literal[
    "empty", "not finite", "out of range", "silent", "too short", "no speech", "too little speech", "clipped"
]
"""Why a recording is undecided: the first of these that is true of it."""

REMEDIES: Mapping[Reason, str] = MappingProxyType(
    {
        "empty": "It holds no samples. Record again.",
        "not finite": "It holds NaN or infinite samples. Repair what produces it; they are not audio.",
        "out of range": "It holds samples beyond 10 times full scale. Give floats within -1 to 1, integers as int16 or int32.",
        "silent": "It never rises above -70 dB of full scale. Unmute the microphone or raise its gain.",
        "too short": "It is shorter than the speech that the bundle needs. Record for longer.",
        "no speech": "Nobody speaks in it. Record again, nearer to the microphone.",
        "too little speech": "It holds less speech than the bundle needs. Record for longer.",
        "clipped": "It is overloaded until little of the waveform is left. Lower the gain and record again.",
    }
)
"""What to do about each reason, for people to read."""

EventKind: TypeAlias = Literal[
    "speech-started",
    "speech-ended",
    "score",
    "verdict",
    "invalid",
    "gap",
    "overflow",
    "device-lost",
    "device-back",
    "finished",
]


@dataclass(frozen=True, slots=True)
class Segment:
    """One window's score: `start` and `end` in seconds from the beginning, `score` a log-likelihood ratio."""

    start: float
    end: float
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one recording or stream.

    `score` is the calibrated log-likelihood ratio (natural logarithm; > 0 leans bona fide), `threshold` the score from which
    the verdict is "bonafide", `probability` P(bona fide) at the bundle's prior (None for a bundle without calibration, whose
    scores are the network's own). An "undecided" verdict has neither score nor probability, but a `reason`; otherwise that is
    None. `duration` and `speech` are seconds of audio and of speech in it; `missing` is how many of those seconds were lost on
    the way or held no usable samples. `segments` are in order of time; a stream keeps the last 4,096.
    `engine` is the bundle's file that scored, and what it ran on.
    """

    verdict: Verdict
    score: float | None
    probability: float | None
    threshold: float
    reason: Reason | None
    duration: float
    speech: float
    missing: float = 0.0
    segments: tuple[Segment, ...] = ()
    engine: str | None = None

    @property
    def remedy(self) -> str | None:
        """What to do about `reason`, a sentence or two for people; None where there is a verdict."""
        return REMEDIES[self.reason] if self.reason else None

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a stream, from `start` to `time`, both in seconds of audio from the stream's beginning.

    | kind | from `start` to `time` | and |
    | --- | --- | --- |
    | speech-started | the first sound of somebody speaking | reported when 0.25 s of speech are certain |
    | speech-ended | the speech that ended | reported after 1 s without speech |
    | score | one window | its `score`; only where the policy asks |
    | verdict | the windows that decided | `verdict`, their mean `score`, its `probability`; `changed` where it is news |
    | invalid | where samples begin that are not finite or far out of range | they are taken for silence |
    | gap | audio that never arrived | `lost` seconds, taken for silence |
    | overflow | audio that a device or a full queue dropped | `lost` seconds, taken for silence; 0 where unknown |
    | device-lost | where a device disappeared | gaps follow until it is back |
    | device-back | what was missing since the last gap | `lost` seconds, taken for silence |
    | finished | everything | `result`, and its `verdict`, `score` and `probability` |
    """

    kind: EventKind
    start: float
    time: float
    verdict: Verdict | None = None
    score: float | None = None
    probability: float | None = None
    changed: bool = False
    lost: float = 0.0
    result: Result | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON-ready dictionary."""
        return asdict(self)

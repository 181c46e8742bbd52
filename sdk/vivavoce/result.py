"""What a detector answers: frozen records, plain enough to log, to compare and to turn into JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from .errors import ConfigurationError

__all__ = ["REMEDIES", "Event", "EventKind", "Provenance", "Reason", "Result", "Segment", "Verdict", "lowest_stretch"]

Verdict: TypeAlias = Literal["bonafide", "spoof", "undecided"]

Reason: TypeAlias = Literal[
    "empty", "not finite", "out of range", "silent", "too short", "no speech", "too little speech", "clipped", "between"
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
        "between": "Its score lies between the two thresholds. Ask for more: another recording, or another proof.",
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
    """One window's score."""

    start: float
    """Where it begins, in seconds from the beginning of the recording or stream."""
    end: float
    """Where it ends, in the same seconds."""
    score: float
    """Its log-likelihood ratio."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What gave a verdict: enough to find it again, months later."""

    bundle: str
    """The bundle's name."""
    version: str
    """The bundle's version."""
    manifest_sha256: str
    """The sha256 of its manifest, with thresholds, calibration and the sha256 of every file; `vivavoce verify` shows it."""
    engine: str
    """The bundle's file that scored, and what it ran on."""
    operating_point: str
    """The threshold or the two, as they were chosen: "eer", "+0.5", "accept fpr=1%, reject fnr=2%"."""
    vivavoce: str
    """This library's version."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one recording or stream. It is neither true nor false: ask for `accepted`."""

    verdict: Verdict
    """"bonafide" from `threshold` on, "spoof" below `reject_below`, "undecided" where there is a `reason`."""
    score: float | None
    """The calibrated log-likelihood ratio (natural logarithm; > 0 leans bona fide), a mean over windows. None where nothing
    could be judged; "between" is a reason for "undecided" that has one."""
    probability: float | None
    """P(bona fide) at the bundle's prior; None without a score, or for a bundle without calibration."""
    threshold: float
    """The lowest score that is accepted."""
    reject_below: float
    """The score below which the verdict is "spoof": the same, or lower; of a calibrated bundle never above 0."""
    reason: Reason | None
    """Why it is undecided; otherwise None."""
    duration: float
    """Seconds of audio."""
    speech: float
    """Seconds of speech in it."""
    missing: float = 0.0
    """How many of the seconds of audio were lost on the way, or held no usable samples."""
    segments: tuple[Segment, ...] = ()
    """The windows, in order of time; a stream keeps the last 4,096."""
    provenance: Provenance | None = None
    """What gave the verdict; None only in results that were made by hand."""
    channel: int | None = None
    """The one of several that was judged by itself; None where all were mixed."""

    @property
    def accepted(self) -> bool:
        """Whether the verdict is "bonafide". What is undecided is not accepted."""
        return self.verdict == "bonafide"

    @property
    def remedy(self) -> str | None:
        """What to do about `reason`, a sentence or two for people; None where there is a verdict."""
        return REMEDIES[self.reason] if self.reason else None

    def __bool__(self) -> bool:
        raise ConfigurationError(
            "A result is neither true nor false, for it may be undecided. Ask for result.accepted, or for result.verdict."
        )

    def __str__(self) -> str:
        score = "" if self.score is None else f", score {self.score:+.2f}"
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.verdict}{why}{score}, {self.speech:.1f} s of speech in {self.duration:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON-ready dictionary, with the remedy."""
        return {**asdict(self), "remedy": self.remedy}

    def to_json(self) -> str:
        """The same as one line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        """The result that `to_dict` gave, also when it went through JSON. Raises ConfigurationError for anything else."""
        try:
            segments = tuple(_record(Segment, one) for one in values["segments"])
            made = values["provenance"] and _record(Provenance, values["provenance"])
            return _record(cls, {**values, "segments": segments, "provenance": made})
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"These are not the values of a result: {error}. Give what to_dict gave.") from error


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a stream, from `start` to `time`, both in seconds of audio from the stream's beginning, on
    `channel`, where one is followed by itself.

    | kind | from `start` to `time` | and |
    | --- | --- | --- |
    | speech-started | the first sound of somebody speaking | reported when 0.25 s of speech are certain |
    | speech-ended | the speech that ended | reported after 1 s without speech |
    | score | one window | its `score`; only where the policy asks |
    | verdict | the windows that decided | `verdict`, mean `score`, `probability`, `threshold`; `changed` where it is news |
    | invalid | where samples begin that are not finite or far out of range | they are taken for silence |
    | gap | audio that never arrived | `lost` seconds, taken for silence |
    | overflow | audio that a device or a full queue dropped | `lost` seconds, taken for silence; 0 where unknown |
    | device-lost | where a device disappeared | gaps follow until it is back |
    | device-back | what was missing since the last gap | `lost` seconds, taken for silence |
    | finished | everything | `result`, and its `verdict`, `score`, `probability` and `threshold` |
    """

    kind: EventKind
    """What happened."""
    start: float
    """Where it began, in seconds of audio from the stream's beginning."""
    time: float
    """Where it ended, or was noticed, in the same seconds."""
    verdict: Verdict | None = None
    """Of "verdict" and "finished": "bonafide", "spoof" or "undecided"."""
    score: float | None = None
    """Of "verdict", "score" and "finished": a log-likelihood ratio."""
    probability: float | None = None
    """P(bona fide) for `score`, at the bundle's prior."""
    threshold: float | None = None
    """Of a verdict of spoof the score below which its windows lie, otherwise the lowest that is accepted."""
    changed: bool = False
    """Of "verdict": whether it is another than before, or the first about somebody."""
    lost: float = 0.0
    """Seconds of audio that are missing."""
    result: Result | None = None
    """Of "finished": the answer over everything."""
    provenance: Provenance | None = None
    """Of "verdict": what gave it; that of "finished" is in its result."""
    channel: int | None = None
    """The one of several that is followed by itself; None where all are mixed."""

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON-ready dictionary."""
        return {**asdict(self), "result": None if self.result is None else self.result.to_dict()}

    def to_json(self) -> str:
        """The same as one line of JSON."""
        return json.dumps(self.to_dict())


def lowest_stretch(segments: Sequence[Segment]) -> Segment | None:
    """The stretch of segments that lies furthest below the rest for its length, with its mean score; None of fewer than two.

    Every recording has one: it tells where to listen, not that something was replaced.
    """
    count = len(segments)
    if count < 2:
        return None
    scores = np.array([one.score for one in segments])
    sums = np.concatenate(([0.0], np.cumsum(scores - scores.mean())))
    best, contrast = (0, count), np.inf
    for length in range(1, count):
        drops = (sums[length:] - sums[:-length]) / np.sqrt(length * (1 - length / count))
        if (lowest := float(drops.min())) < contrast:
            first = int(drops.argmin())
            best, contrast = (first, first + length), lowest
    chosen = segments[best[0] : best[1]]
    return Segment(chosen[0].start, chosen[-1].end, float(scores[best[0] : best[1]].mean()))


Record = TypeVar("Record")


def _record(kind: type[Record], values: Mapping[str, Any]) -> Record:
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})  # type: ignore[arg-type]

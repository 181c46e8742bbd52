"""What a detector answers: frozen records, plain enough to log, to compare and to turn into JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Result", "Segment", "Verdict"]

Verdict = Literal["bonafide", "spoof", "undecided"]


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
    None. `duration` and `speech` are seconds of audio and of speech in it.
    """

    verdict: Verdict
    score: float | None
    probability: float | None
    threshold: float
    reason: str | None
    duration: float
    speech: float
    segments: tuple[Segment, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON-ready dictionary."""
        return asdict(self)

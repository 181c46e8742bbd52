"""The judge: what a bundle makes of its engine's scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..band import Band
from ..bundle import Manifest
from ..engines.engine import Engine
from ..errors import BundleError
from ..result import Provenance, Reason, Result, Segment, Verdict

__all__ = ["Findings", "Judge"]


@dataclass(frozen=True)
class Findings:
    """What a stream gathered, before it is turned into a result. Durations are in seconds."""

    duration: float
    speech: float
    missing: float
    problem: Reason | None
    """What the levels forbid, whatever was scored."""
    clipped: bool
    """Whether a window with speech was left out because it is clipped."""
    score: float | None
    """The mean of the windows' scores, weighted by the speech in each; None where no window was scored."""
    segments: tuple[Segment, ...]


class Judge:
    """Turns raw scores into log-likelihood ratios, and these into verdicts. Has no state; one serves many threads."""

    def __init__(self, engine: Engine, manifest: Manifest, band: Band, provenance: Provenance | None = None) -> None:
        self.contract = manifest.audio
        self.band = band
        self.engine = engine
        self.provenance = provenance
        self._calibration = manifest.calibration

    def calibrated(self, raw: float) -> float:
        """The log-likelihood ratio that a raw score stands for, or the raw score where the bundle has no calibration.

        Raises BundleError where the engine gave something that is not a number.
        """
        if not math.isfinite(raw):
            raise BundleError(
                f"The engine {self.engine.file.file} gave the score {raw}, which is not finite. "
                f"Check it with `vivavoce verify`, and choose another precision."
            )
        calibration = self._calibration
        return calibration.scale * raw + calibration.offset if calibration else raw

    def probability(self, score: float | None) -> float | None:
        """P(bona fide) at the bundle's prior; None without a score or a calibration."""
        if score is None or self._calibration is None:
            return None
        prior = self._calibration.prior
        return _sigmoid(score + math.log(prior / (1 - prior)))

    def result(self, found: Findings) -> Result:
        """The answer that the findings allow."""
        reason = self._reason(found)
        score = found.score if reason is None else None
        verdict = "undecided" if score is None else self.verdict(score)
        return Result(
            verdict=verdict,
            score=score,
            probability=self.probability(score),
            threshold=self.band.accept,
            reject_below=self.band.reject,
            reason="between" if reason is None and verdict == "undecided" else reason,
            duration=found.duration,
            speech=found.speech,
            missing=found.missing,
            segments=found.segments if reason is None else (),
            provenance=self.provenance,
        )

    def verdict(self, score: float) -> Verdict:
        """What a log-likelihood ratio says by the band."""
        if score >= self.band.accept:
            return "bonafide"
        return "spoof" if score < self.band.reject else "undecided"

    def _reason(self, found: Findings) -> Reason | None:
        needed = self.contract.minimum_speech
        if found.problem:
            return found.problem
        if found.duration < needed:
            return "too short"
        if found.speech == 0:
            return "no speech"
        if found.score is None and found.clipped:
            return "clipped"
        return "too little speech" if found.speech < needed or found.score is None else None


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

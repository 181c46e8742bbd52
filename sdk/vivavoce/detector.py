"""The detector: a bundle, opened and ready to answer."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from .audio import Samples, Source, open_audio
from .bundle import Bundle, default_bundle
from .engine import open_engine
from .errors import ConfigurationError
from .result import Result, Verdict
from .stream import Findings, Stream

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Detector"]


class Detector:
    """Tells bona fide speech from spoofed speech with a bundle. It holds no state: one detector serves many threads.

    `bundle` is a bundle's directory; None is the embedded one. `operating_point` is the name of one of the bundle's ("eer",
    "fpr=1%", ...), or a number: the log-likelihood ratio from which the verdict is "bonafide"; None is the bundle's default.
    `device` is "auto" or "cpu", `threads` how many an inference may use, `session_options` replaces every option of ONNX
    Runtime. `speech_gate=False` takes all audio for speech; use it for corpora only.

    Raises ConfigurationError for a setting that cannot be used, BundleError for a bundle that is missing, damaged or altered,
    MissingExtra where no runtime for the bundle's engines is installed.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        operating_point: str | float | None = None,
        device: str = "auto",
        threads: int = 1,
        speech_gate: bool = True,
        precision: str | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
    ) -> None:
        if threads < 1:
            raise ConfigurationError(f"threads={threads} is not possible. Give 1 or more.")
        self.bundle = Bundle(default_bundle() if bundle is None else bundle)
        self.threshold = self._threshold(operating_point)
        self._speech_gate = speech_gate
        self._calibration = self.bundle.manifest.calibration
        self.engine = open_engine(
            self.bundle, device=device, threads=threads, precision=precision, session_options=session_options
        )

    def detect(self, source: Source) -> Result:
        """The verdict on one recording: a path, encoded bytes, a binary file object, or (samples, sample_rate) with samples
        (n,) or (n, channels) of float32, float64, int16 or int32.

        Audio that cannot be judged (too short, no speech, silent, clipped, not finite, empty) gives an "undecided" result with
        the reason. Raises AudioError for what is not audio, or not whole.
        """
        with open_audio(source) as audio:
            stream = self.stream(sample_rate=audio.rate, channels=audio.channels)
            for block in audio.blocks:
                stream.feed(block)
        return stream.finish()

    def stream(self, *, sample_rate: int, channels: int = 1) -> Stream:
        """A new stream for audio at `sample_rate` (8,000 to 192,000 Hz). Streams are cheap and independent of each other."""
        return Stream(
            self._score,
            self._conclude,
            self.bundle.manifest.audio,
            sample_rate=sample_rate,
            channels=channels,
            gated=self._speech_gate,
        )

    def _threshold(self, operating_point: str | float | None) -> float:
        if isinstance(operating_point, int | float) and not isinstance(operating_point, bool):
            if not math.isfinite(operating_point):
                raise ConfigurationError(f"A threshold of {operating_point} decides nothing. Give a finite number.")
            return float(operating_point)
        name = operating_point or self.bundle.manifest.default_operating_point
        return self.bundle.operating_point(str(name)).threshold

    def _score(self, window: Samples) -> float:
        """The log-likelihood ratio of one window (n,), or the raw score where the bundle has no calibration."""
        (raw,) = self.engine.score(window[None])
        calibration = self._calibration
        return calibration.scale * float(raw) + calibration.offset if calibration else float(raw)

    def _conclude(self, found: Findings) -> Result:
        reason = self._reason(found)
        score = found.score if reason is None else None
        verdict: Verdict = "undecided"
        if score is not None:
            verdict = "bonafide" if score >= self.threshold else "spoof"
        return Result(
            verdict=verdict,
            score=score,
            probability=self._probability(score),
            threshold=self.threshold,
            reason=reason,
            duration=found.duration,
            speech=found.speech,
            segments=found.segments if reason is None else (),
        )

    def _probability(self, score: float | None) -> float | None:
        if score is None or self._calibration is None:
            return None
        prior = self._calibration.prior
        return _sigmoid(score + math.log(prior / (1 - prior)))

    def _reason(self, found: Findings) -> str | None:
        needed = self.bundle.manifest.audio.minimum_speech
        if found.problem:
            return found.problem
        if found.duration < needed:
            return "too short"
        if found.speech == 0:
            return "no speech"
        return "too little speech" if found.speech < needed or found.score is None else None


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

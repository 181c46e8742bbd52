"""The detector: a bundle, opened and ready to answer."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from .audio import Source, open_audio
from .bundle import Bundle, default_bundle
from .engine import open_engine
from .errors import ConfigurationError
from .follower import Follower
from .judge import Judge
from .policy import Policy, alarm_threshold
from .result import Event, Result
from .sources import AsyncChunkSource, AudioSource
from .speech import OpenGate, SpeechGate
from .stream import Stream
from .watch import Watch

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Detector"]


class Detector:
    """Tells bona fide speech from spoofed speech with a bundle. It holds no state: one detector serves many threads.

    `bundle` is a bundle's directory; None is the embedded one. `operating_point` is the name of one of the bundle's ("eer",
    "fpr=1%", ...), or a number: the log-likelihood ratio from which the verdict is "bonafide"; None is the bundle's default.
    `device` is "cpu", "cuda", "tensorrt", "tensorrt-rtx", or "auto": TensorRT where it works with this bundle on this machine,
    else the CPU. `threads` is how many an inference on the CPU may use, `precision` picks one of several engines ("int8",
    "float16", "float32"; None is the first that suits), `session_options` replaces every option of ONNX Runtime.
    `speech_gate=False` takes all audio for speech; use it for corpora only.

    Raises ConfigurationError for a setting that cannot be used, BundleError for a bundle that is missing, damaged or altered,
    MissingExtra where no runtime for the bundle's engines is installed, DeviceError for a device that cannot be used; "auto"
    passes it over, and `engine.skipped` says why.
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
        self._gate = SpeechGate if speech_gate else OpenGate
        self.engine = open_engine(
            self.bundle, device=device, threads=threads, precision=precision, session_options=session_options
        )
        self._judge = Judge(self.engine, self.bundle.manifest, self.threshold)

    def detect(self, source: Source) -> Result:
        """The verdict on one recording: a path, encoded bytes, a binary file object, or (samples, sample_rate) with samples
        (n,) or (n, channels) of float32, float64, int16 or int32.

        Audio that cannot be judged gives an "undecided" result with the reason. Raises AudioError for what is not audio, or not
        whole.
        """
        with open_audio(source) as audio:
            stream = self._open(audio.rate, audio.channels, None)
            for block in audio.blocks:
                stream.feed(block)
        return stream.finish()

    def stream(self, *, sample_rate: int, channels: int = 1, policy: Policy | None = None) -> Stream:
        """A new stream for audio at `sample_rate` (8,000 to 192,000 Hz). Streams are cheap and independent of each other.

        The policy decides about events only: `finish` gives what `detect` would, except that samples that are not finite, which
        make a recording undecided, are silence to a stream. Raises ConfigurationError for a policy that the bundle's counts
        cannot support.
        """
        return self._open(sample_rate, channels, policy or Policy())

    def listen(self, source: AudioSource, *, policy: Policy | None = None) -> Iterator[Event]:
        """The events of a source, as they happen; the last is "finished" and carries the result.

        Opens the source where it is not open, and closes it in the end. Raises DeviceError or AudioError as the source does.
        """
        with source:
            stream = self.stream(sample_rate=source.sample_rate, channels=source.channels, policy=policy)
            for chunk in source:
                yield from stream.feed(chunk)
        yield _finished(stream.finish())

    async def alisten(self, source: AudioSource | AsyncChunkSource, *, policy: Policy | None = None) -> AsyncIterator[Event]:
        """As `listen`, for asyncio: reading and inference happen in a thread, and the event loop goes on."""
        import asyncio  # A fifth of the time that importing vivavoce would take.

        if isinstance(source, AsyncChunkSource):
            stream = self.stream(sample_rate=source.sample_rate, channels=source.channels, policy=policy)
            async for chunk in source:
                for event in await asyncio.to_thread(stream.feed, chunk):
                    yield event
            yield _finished(await asyncio.to_thread(stream.finish))
            return
        events = self.listen(source, policy=policy)
        try:
            while (next_event := await asyncio.to_thread(next, events, None)) is not None:
                yield next_event
        finally:
            source.close()

    def _open(self, sample_rate: int, channels: int, policy: Policy | None) -> Stream:
        manifest = self.bundle.manifest
        alarm_below = alarm_threshold(policy, manifest, self.threshold) if policy else self.threshold

        def follow() -> Follower:
            watch = Watch(policy, self._judge, alarm_below) if policy else None
            return Follower(self._judge, sample_rate, self._gate(), watch)

        return Stream(follow, sample_rate=sample_rate, channels=channels)

    def _threshold(self, operating_point: str | float | None) -> float:
        if isinstance(operating_point, int | float) and not isinstance(operating_point, bool):
            if not math.isfinite(operating_point):
                raise ConfigurationError(f"A threshold of {operating_point} decides nothing. Give a finite number.")
            return float(operating_point)
        name = self.bundle.manifest.default_operating_point if operating_point is None else str(operating_point)
        return self.bundle.operating_point(name).threshold


def _finished(result: Result) -> Event:
    return Event(
        "finished",
        0.0,
        result.duration,
        verdict=result.verdict,
        score=result.score,
        probability=result.probability,
        result=result,
    )

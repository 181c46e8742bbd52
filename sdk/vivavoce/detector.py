"""The detector: a bundle, opened and ready to answer."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ._version import __version__
from .audio import Source, open_audio
from .band import Band, Choice, choose
from .bundle import Bundle, open_bundle
from .engines.engine import Engine, open_engine
from .listening.hysteresis import Watch
from .listening.segments import Localiser
from .listening.speech_gate import OpenGate, SpeechGate
from .listening.verdict import Judge
from .listening.windows import Follower
from .policy import Policy, settle, whole
from .result import Event, Provenance, Result
from .sources import AsyncChunkSource, AudioSource
from .stream import Stream

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Detector"]


class Detector:
    """Tells bona fide speech from spoofed speech with a bundle. It holds no state: one detector serves many threads.

    `bundle` is a bundle's directory; None or "default" is the embedded one. `operating_point` is a single threshold: the name
    of one of the bundle's ("eer", "fpr=1%", ...), or a number, the log-likelihood ratio from which the verdict is "bonafide";
    None is the bundle's default. `accept` and `reject` are two, of the same kinds: between them a recording is "undecided".
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
        operating_point: Choice = None,
        accept: Choice = None,
        reject: Choice = None,
        device: str = "auto",
        threads: int = 1,
        speech_gate: bool = True,
        precision: str | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
    ) -> None:
        whole("threads", threads, "threads")
        self._bundle = open_bundle(bundle)
        self._band = choose(self._bundle, operating_point, accept, reject)
        self._gate = SpeechGate if speech_gate else OpenGate
        self._engine = open_engine(
            self._bundle, device=device, threads=threads, precision=precision, session_options=session_options
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle, opened."""
        return self._bundle

    @property
    def engine(self) -> Engine:
        """What scores windows: `engine.file.file` is the bundle's file, `engine.provider` what it runs on."""
        return self._engine

    @property
    def band(self) -> Band:
        """The thresholds, and what became of the trials on which they were measured."""
        return self._band

    @property
    def threshold(self) -> float:
        """The lowest score that is accepted; a detector's thresholds are chosen when it is opened, or for one call."""
        return self._band.accept

    def __repr__(self) -> str:
        manifest = self._bundle.manifest
        return f"<Detector {manifest.name} {manifest.version}, {self._band.name}, {self._engine.file.file}>"

    def detect(
        self,
        source: Source,
        *,
        operating_point: Choice = None,
        accept: Choice = None,
        reject: Choice = None,
        segment_hop: float | None = None,
    ) -> Result:
        """The verdict on one recording: a path, encoded bytes, a binary file object, or (samples, sample_rate) with samples
        (n,) or (n, channels) of float32, float64, int16 or int32.

        `operating_point`, or `accept` and `reject`, are other thresholds than the detector's, for this call. `segment_hop` asks
        for segments of so many seconds instead of the bundle's windows, each with the score of 1 s of audio around it; verdict
        and score are the same. Audio that cannot
        be judged gives an "undecided" result with the reason. Raises AudioError for what is not audio, or not whole,
        ConfigurationError for thresholds that cannot be used.
        """
        judge = self._judge(operating_point, accept, reject)
        localiser = None if segment_hop is None else Localiser(self._bundle.manifest.audio, segment_hop)
        with open_audio(source) as audio:
            stream = self._open(audio.rate, audio.channels, judge, None, localiser)
            for block in audio.blocks:
                stream.feed(block)
        result = stream.finish()
        if localiser is None or not result.segments:
            return result
        return replace(result, segments=localiser.segments(result.duration))

    def stream(self, *, sample_rate: int, channels: int = 1, policy: Policy | None = None) -> Stream:
        """A new stream for audio at `sample_rate` (8,000 to 192,000 Hz). Streams are cheap and independent of each other.

        Thresholds apart, the policy decides about events only: `finish` gives what `detect` would, except that samples that are
        not finite, which make a recording undecided, are silence to a stream. Raises ConfigurationError for a policy that the
        bundle's counts cannot support.
        """
        policy = policy or Policy()
        judge = self._judge(policy.operating_point, policy.accept, policy.reject)
        return self._open(sample_rate, channels, judge, policy)

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

    def _open(
        self, sample_rate: int, channels: int, judge: Judge, policy: Policy | None, localiser: Localiser | None = None
    ) -> Stream:
        alarms = settle(policy, self._bundle.manifest, judge.band) if policy else None

        def follow() -> Follower:
            watch = Watch(policy, judge, alarms) if policy and alarms else None
            return Follower(judge, sample_rate, self._gate(), watch, localiser)

        return Stream(follow, sample_rate=sample_rate, channels=channels)

    def _judge(self, operating_point: Choice, accept: Choice, reject: Choice) -> Judge:
        """The judge by the thresholds of one call, or by the detector's where it names none."""
        named = (operating_point, accept, reject)
        band = self._band if all(one is None for one in named) else choose(self._bundle, *named)
        manifest, engine = self._bundle.manifest, self._engine
        provenance = Provenance(
            bundle=manifest.name,
            version=manifest.version,
            manifest_sha256=self._bundle.sha256,
            engine=f"{engine.file.file} on {engine.provider}",
            operating_point=band.name,
            vivavoce=__version__,
        )
        return Judge(engine, manifest, band, provenance)


def _finished(result: Result) -> Event:
    return Event(
        "finished",
        0.0,
        result.duration,
        verdict=result.verdict,
        score=result.score,
        probability=result.probability,
        threshold=result.threshold,
        result=result,
    )

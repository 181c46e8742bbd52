"""The detector: a bundle, opened and ready to answer."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from ._version import __version__
from .audio import open_audio
from .band import Band, Choice, choose
from .bundle import Bundle, open_bundle
from .decoding.arrays import Channel, Source, check_channel, check_format
from .engines.engine import Engine, open_engine
from .errors import ConfigurationError, VivavoceError, whole
from .listening.batch import in_order
from .listening.hysteresis import Watch
from .listening.segments import Localiser
from .listening.speech_gate import OpenGate, SpeechGate
from .listening.verdict import Judge
from .listening.windows import Follower
from .policy import Policy, settle
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
        whole("threads", threads, "threads", most=1024)
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

    def __reduce__(self) -> Any:
        raise TypeError("A Detector cannot be pickled, for its engine cannot. Make one in each process: Detector(bundle).")

    @overload
    def detect(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        channel: Channel = "mix",
        operating_point: Choice = None,
        accept: Choice = None,
        reject: Choice = None,
        segment_hop: float | None = None,
    ) -> Result: ...
    @overload
    def detect(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        channel: Literal["each"],
        operating_point: Choice = None,
        accept: Choice = None,
        reject: Choice = None,
        segment_hop: float | None = None,
    ) -> tuple[Result, ...]: ...
    def detect(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        channel: Channel | Literal["each"] = "mix",
        operating_point: Choice = None,
        accept: Choice = None,
        reject: Choice = None,
        segment_hop: float | None = None,
    ) -> Result | tuple[Result, ...]:
        """The verdict on one recording: a path, encoded bytes, a binary file object or a pipe; or samples and their rate in
        hertz, as two arguments or as a pair. Samples are an array or a tensor (n,), (n, channels) or (channels, n), of which
        the longer axis is time, floats with full scale = 1 or integers; or bytes of 16-bit little-endian samples.

        `channel` is what is judged of a recording with several: "mix" (their mean, or the loudest where the mean would lose
        it), one by its number from 0, or "each", which gives a result for each. `operating_point`, or `accept` and `reject`,
        are other thresholds than the detector's, for this call. `segment_hop` asks for segments of so many seconds instead of
        the bundle's windows, each with the score of 1 s of audio around it; verdict and score are the same.

        Audio that cannot be judged gives an "undecided" result with the reason. Raises AudioError for what is not audio, or not
        whole, ConfigurationError for thresholds that cannot be used and for a channel that is not there.
        """
        judge = self._judge(operating_point, accept, reject)
        results = self._results(judge, source, sample_rate, channel, segment_hop, None)
        return results if channel == "each" else results[0]

    @overload
    def detect_many(
        self, sources: Iterable[Source], *, jobs: int = 1, channel: Channel = "mix", segment_hop: float | None = None
    ) -> Generator[Result | VivavoceError, None, None]: ...
    @overload
    def detect_many(
        self, sources: Iterable[Source], *, jobs: int = 1, channel: Literal["each"], segment_hop: float | None = None
    ) -> Generator[tuple[Result, ...] | VivavoceError, None, None]: ...
    def detect_many(
        self,
        sources: Iterable[Source],
        *,
        jobs: int = 1,
        channel: Channel | Literal["each"] = "mix",
        segment_hop: float | None = None,
    ) -> Generator[Any, None, None]:
        """What `detect` gives for each of the sources, in their order, as soon as it is there; `jobs` are in work at a time.

        What cannot be judged is an error in its place (an AudioError, for what is not audio or not whole) and ends nothing.
        Sources are taken as they are needed. Leaving the iterator early drops what is in work. Raises ConfigurationError for
        `jobs` and a `segment_hop` that cannot be.
        """

        judge = self._judge(None, None, None)
        if segment_hop is not None:
            Localiser(self._bundle.manifest.audio, segment_hop)  # Or else every source would get its error.

        def results_of(source: Source, stop: threading.Event) -> Any:
            results = self._results(judge, source, None, channel, segment_hop, stop)
            return results if channel == "each" else results[0]

        return in_order(results_of, sources, jobs)

    def _results(
        self,
        judge: Judge,
        source: Source,
        sample_rate: Any,
        channel: Channel | Literal["each"],
        segment_hop: float | None,
        stop: threading.Event | None,
    ) -> tuple[Result, ...]:
        contract = self._bundle.manifest.audio
        with open_audio(source, sample_rate, stop=stop) as audio:
            chosen = _chosen(channel, audio.channels)
            localisers = [None if segment_hop is None else Localiser(contract, segment_hop) for _ in chosen]
            streams = [
                self._open(audio.rate, audio.channels, judge, None, one, localiser)
                for one, localiser in zip(chosen, localisers, strict=True)
            ]
            for block in audio.blocks:
                for stream in streams:
                    stream.feed(block)
        return tuple(_localised(stream.finish(), one) for stream, one in zip(streams, localisers, strict=True))

    def stream(self, sample_rate: int, channels: int = 1, *, channel: Channel = "mix", policy: Policy | None = None) -> Stream:
        """A new stream for audio at `sample_rate` (8,000 to 192,000 Hz). Streams are cheap and independent of each other.

        `channel` is what it follows of several: "mix", as `detect` does, or one by its number from 0. Thresholds apart, the
        policy decides about events only: `finish` gives what `detect` would, except that samples that are not finite, which
        make a recording undecided, are silence to a stream. Raises ConfigurationError for a rate, channels or a policy that
        cannot be used.
        """
        policy = policy or Policy()
        return self._open(sample_rate, channels, self._policys_judge(policy), policy, channel)

    def listen(
        self, source: AudioSource, *, channel: Channel | Literal["each"] = "mix", policy: Policy | None = None
    ) -> Iterator[Event]:
        """The events of a source, as they happen; the last is "finished" and carries the result.

        With `channel="each"` every channel is followed by itself: the events of one instant come in the channels' order, and
        `Event.channel` says whose they are. Opens the source where it is not open, and closes it in the end. Raises DeviceError
        or AudioError as the source does.
        """
        with source:
            policy = policy or Policy()
            streams = self._streams(source.sample_rate, source.channels, self._policys_judge(policy), policy, channel)
            for chunk in source:
                for stream in streams:
                    yield from stream.feed(chunk)
        for stream in streams:
            yield _finished(stream.finish())

    async def alisten(
        self,
        source: AudioSource | AsyncChunkSource,
        *,
        channel: Channel | Literal["each"] = "mix",
        policy: Policy | None = None,
    ) -> AsyncIterator[Event]:
        """As `listen`, for asyncio: reading and inference happen in a thread, and the event loop goes on."""
        import asyncio  # A fifth of the time that importing vivavoce would take.

        if isinstance(source, AsyncChunkSource):
            async with source:
                policy = policy or Policy()
                streams = self._streams(source.sample_rate, source.channels, self._policys_judge(policy), policy, channel)
                async for chunk in source:
                    for stream in streams:
                        for event in await asyncio.to_thread(stream.feed, chunk):
                            yield event
            for stream in streams:
                yield _finished(await asyncio.to_thread(stream.finish))
            return
        events = self.listen(source, channel=channel, policy=policy)
        try:
            while (next_event := await asyncio.to_thread(next, events, None)) is not None:
                yield next_event
        finally:
            source.close()

    def _streams(
        self, sample_rate: int, channels: int, judge: Judge, policy: Policy | None, channel: Channel | Literal["each"]
    ) -> list[Stream]:
        """A stream for what is followed, or for each channel."""
        return [self._open(sample_rate, channels, judge, policy, one) for one in _chosen(channel, channels)]

    def _open(
        self,
        sample_rate: Any,
        channels: int,
        judge: Judge,
        policy: Policy | None,
        channel: Channel,
        localiser: Localiser | None = None,
    ) -> Stream:
        rate = check_format("The stream", channels, sample_rate, ConfigurationError)
        check_channel(channel, channels)
        alarms = settle(policy, self._bundle.manifest, judge.band) if policy else None
        followed = channels if channel == "mix" else 1

        def follow() -> Follower:
            watch = Watch(policy, judge, alarms) if policy and alarms else None
            return Follower(judge, rate, followed, self._gate(), watch, localiser)

        return Stream(follow, channels=channels, channel=channel)

    def _policys_judge(self, policy: Policy) -> Judge:
        if not isinstance(policy, Policy):
            raise ConfigurationError(f"{policy!r} is no policy. Give vivavoce.Policy(...).")
        return self._judge(policy.operating_point, policy.accept, policy.reject)

    def _judge(self, operating_point: Choice, accept: Choice, reject: Choice) -> Judge:
        """The judge by the thresholds of one call, or by the detector's where it names none."""
        named = (operating_point, accept, reject)
        band = self._band if all(one is None for one in named) else choose(self._bundle, *named)
        manifest, engine = self._bundle.manifest, self.engine
        provenance = Provenance(
            bundle=manifest.name,
            version=manifest.version,
            manifest_sha256=self._bundle.sha256,
            engine=f"{engine.file.file} on {engine.provider}",
            operating_point=band.name,
            vivavoce=__version__,
        )
        return Judge(engine, manifest, band, provenance)


def _chosen(channel: Channel | Literal["each"], channels: int) -> list[Channel]:
    return [*range(channels)] if channel == "each" else [channel]


def _localised(result: Result, localiser: Localiser | None) -> Result:
    """The result with the localiser's segments, where it has any."""
    if localiser is None or not result.segments:
        return result
    return replace(result, segments=localiser.segments(result.duration))


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
        channel=result.channel,
    )

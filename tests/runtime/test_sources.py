"""Sources: files, pipes and chunks end up as the same events and the same result as the recording itself."""

from __future__ import annotations

import asyncio
import copy
import io
import os
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speaking import RATE, speech

from vivavoce import AudioError, ConfigurationError, Detector, Event, Policy, Result
from vivavoce.errors import MissingExtra
from vivavoce.microphone import Microphone
from vivavoce.sources import AsyncChunkSource, AudioSource, ChunkSource, FileSource, Lost, PcmSource


@pytest.fixture(scope="module")
def detector(tiny_bundle: Path) -> Detector:
    return Detector(tiny_bundle)


@pytest.fixture(scope="module")
def recording() -> NDArray[np.int16]:
    return (speech(3) * 32_767).astype(np.int16)


@pytest.fixture(scope="module")
def expected(detector: Detector, recording: NDArray[np.int16]) -> list[Event]:
    return list(detector.listen(ChunkSource([recording], RATE)))


def result_of(events: list[Event]) -> Result:
    assert events[-1].kind == "finished"
    assert events[-1].result is not None
    return events[-1].result


def test_last_event_carries_the_result(detector: Detector, recording: NDArray[np.int16], expected: list[Event]) -> None:
    result = result_of(expected)
    assert result == detector.detect((recording, RATE))
    last = expected[-1]
    assert (last.start, last.time) == (0, 3)
    assert (last.verdict, last.score, last.probability) == (result.verdict, result.score, result.probability)
    assert {event.kind for event in expected} == {"speech-started", "verdict", "finished"}


def sources(recording: NDArray[np.int16], path: Path) -> Iterator[AudioSource]:
    yield ChunkSource(np.array_split(recording, 17), RATE)
    yield ChunkSource((chunk[:, None] for chunk in np.array_split(recording, 3)), RATE)
    yield FileSource(path)
    yield FileSource(path.read_bytes())
    yield FileSource((recording, RATE))
    yield PcmSource(io.BytesIO(recording.tobytes()), RATE)
    yield PcmSource(io.BytesIO(recording.astype("<i2").tobytes() + b"\x01"), RATE)
    yield PcmSource(io.BytesIO((recording.astype(np.float32) / 32_768).tobytes()), RATE, dtype="float32")
    yield PcmSource(io.BytesIO((recording.astype(np.int32) << 16).tobytes()), RATE, dtype="int32")
    yield PcmSource(io.BytesIO(np.repeat(recording, 2).tobytes()), RATE, 2)


@pytest.mark.parametrize("index", range(10))
def test_every_source_gives_the_same_events(
    detector: Detector, recording: NDArray[np.int16], expected: list[Event], tmp_path: Path, index: int
) -> None:
    path = tmp_path / "call.wav"
    soundfile.write(path, recording, RATE)
    source = list(sources(recording, path))[index]
    with source:
        assert list(detector.listen(source)) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.sampled_from(["int16", "int32", "float32"]),
    st.integers(0, 200),
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
)
def test_pipe_may_break_frames_anywhere(channels: int, dtype: Any, frames: int, sizes: list[int]) -> None:
    samples = np.random.default_rng(frames).integers(-100, 100, (frames, channels)).astype(dtype)
    content = io.BytesIO(samples.tobytes())
    reads = cycle(sizes)

    class Pipe:
        def read(self, n: int) -> bytes:
            return content.read(min(n, next(reads)))

    heard = list(PcmSource(Pipe(), RATE, channels, dtype=dtype))  # type: ignore[arg-type]
    assert all(chunk.dtype == dtype and chunk.shape[1] == channels for chunk in heard)
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, channels), dtype), *heard]), samples)


@pytest.mark.parametrize("samples", [[1, 2], [0, 0], [0, 0x0F00], [0x1000]])
def test_pipe_is_read_as_soon_as_something_is_there(samples: list[int]) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, open(writing, "wb", buffering=0) as end:  # noqa: PTH123
        # Should it wait for more, the pipe's end lets it go on.
        timer = threading.Timer(20, end.close)
        timer.start()
        chunks = iter(PcmSource(pipe, RATE))
        end.write(np.array(samples, "<i2").tobytes())
        first = next(chunks)
        assert not end.closed
        timer.cancel()
        assert first[:, 0].tolist() == samples
        end.close()
        assert list(chunks) == []


def test_pipe_that_has_nothing_yet_is_asked_again_and_one_that_breaks_is_an_audio_error() -> None:
    class Unsteady(io.BytesIO):
        answers = iter([None, b"\x01\x00", None, OSError(5, "Input/output error")])

        def read1(self, size: int | None = -1, /) -> Any:
            found = next(self.answers)
            if isinstance(found, OSError):
                raise found
            return found

    chunks = iter(PcmSource(Unsteady(), RATE))
    assert next(chunks).tolist() == [[1]]
    with pytest.raises(AudioError, match="The source cannot be read: Input/output error"):
        next(chunks)


@pytest.mark.skipif(os.name != "posix", reason="on Windows, a pipe's reader waits for data")
def test_closing_ends_the_wait_for_a_pipe_that_says_nothing_more() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb", buffering=0) as end:  # noqa: PTH123
        source = PcmSource(pipe, RATE)
        end.write(b"\x01\x00")
        timer = threading.Timer(0.05, source.close)
        chunks = []
        for chunk in source:
            chunks.append(chunk.tolist())
            timer.start()
        assert chunks == [[[1]]]


def test_what_cannot_go_to_another_process_says_what_to_do(detector: Detector) -> None:
    for one in (detector, detector.stream(RATE), FileSource(b""), PcmSource(io.BytesIO(), RATE), Microphone()):
        with pytest.raises(TypeError, match="process"):
            pickle.dumps(one)


def test_errors_come_back_whole_from_another_process() -> None:
    for error in (AudioError("why"), ConfigurationError("why"), MissingExtra("av", "formats")):
        back = copy.deepcopy(error)  # As pickle does it.
        assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def test_gaps_from_an_app_become_events(detector: Detector, recording: NDArray[np.int16]) -> None:
    events = list(detector.listen(ChunkSource([recording[:RATE], Lost(RATE, "overflow"), recording[RATE:]], RATE)))
    assert [(event.start, event.lost) for event in events if event.kind == "overflow"] == [(1.0, 1.0)]
    assert result_of(events).missing == 1.0


@pytest.mark.parametrize("frames", [-1, -RATE])
def test_gap_cannot_be_negative(frames: int) -> None:
    with pytest.raises(ConfigurationError, match="Give 0 or more"):
        Lost(frames)


def test_closing_a_source_ends_listening_with_a_result(detector: Detector) -> None:
    def endless() -> Iterator[NDArray[np.float32]]:
        while True:
            yield speech(1)

    source = ChunkSource(endless(), RATE)
    events = detector.listen(source)
    assert next(events).kind == "speech-started"
    source.close()
    assert [event.kind for event in events][-1] == "finished"
    with pytest.raises(ConfigurationError, match="Make a new one"):
        next(detector.listen(source))


def test_generator_of_chunks_is_closed_in_the_end(detector: Detector) -> None:
    left = []

    def chunks() -> Iterator[NDArray[np.float32]]:
        try:
            while True:
                yield speech(1)
        finally:
            left.append(True)

    generator = chunks()
    events = detector.listen(ChunkSource(generator, RATE))
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert left == [True]


def test_leaving_the_loop_closes_the_source(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    soundfile.write(path, speech(5), RATE)
    source = FileSource(path)
    events = detector.listen(source)
    next(events)
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="Make a new one"), source:
        pass


def test_realtime_file_takes_its_time_and_closes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    source = FileSource((speech(1.25), RATE), realtime=True)
    monkeypatch.setattr("vivavoce.sources.time.monotonic", lambda: clock[0])
    waits: list[float] = []

    def wait(closed: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        clock[0] += seconds
        return len(waits) > 12

    monkeypatch.setattr(threading.Event, "wait", wait)
    with source:
        ends = [(clock[0] - 100, len(piece)) for piece in source]
    np.testing.assert_allclose([at for at, _ in ends], np.arange(1, 13) / 10)
    assert {length for _, length in ends} == {RATE // 10}


def test_file_that_is_no_recording_raises_when_listening_begins(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not a recording")
    with pytest.raises(AudioError):
        next(detector.listen(FileSource(tmp_path / "notes.wav")))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: ChunkSource([], 4000), ConfigurationError),
        (lambda: ChunkSource([], "16000"), ConfigurationError),  # type: ignore[arg-type]
        (lambda: ChunkSource([], RATE, 0), ConfigurationError),
        (lambda: PcmSource(io.BytesIO(), RATE, "2"), ConfigurationError),
        (lambda: PcmSource(io.BytesIO(), RATE, dtype="int12"), ConfigurationError),
        (lambda: PcmSource(io.StringIO(), RATE), ConfigurationError),  # type: ignore[arg-type]
        (lambda: PcmSource("call.raw", RATE), ConfigurationError),  # type: ignore[arg-type]
        (lambda: Lost(1, "hole"), ConfigurationError),  # type: ignore[arg-type]
        (lambda: Lost("1"), ConfigurationError),  # type: ignore[arg-type]
        (lambda: Lost(-1), ConfigurationError),
    ],
)
def test_impossible_formats_are_refused_at_once(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def test_listening_with_asyncio_gives_the_same_events(
    detector: Detector, recording: NDArray[np.int16], expected: list[Event]
) -> None:
    assert asyncio.run(collect(detector.alisten(FileSource((recording, RATE))))) == expected


def test_asynchronous_chunks_give_the_same_events_while_the_loop_goes_on(
    detector: Detector, recording: NDArray[np.int16], expected: list[Event]
) -> None:
    ticks = 0

    async def socket() -> AsyncIterator[NDArray[np.int16]]:
        for chunk in np.array_split(recording, 30):
            await asyncio.sleep(0)
            yield chunk

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    async def main() -> list[Event]:
        other = asyncio.create_task(tick())
        events = await collect(detector.alisten(AsyncChunkSource(socket(), RATE), policy=Policy()))
        other.cancel()
        return events

    assert asyncio.run(main()) == expected
    assert ticks > 5


def test_cancelling_closes_the_source_and_frees_its_thread(detector: Detector) -> None:
    waiting, left = threading.Event(), threading.Event()

    class Endless(ChunkSource):
        def __iter__(self) -> Iterator[NDArray[Any]]:
            yield speech(1)
            waiting.set()
            self._closed.wait()
            left.set()

    async def main() -> None:
        listening = asyncio.create_task(collect(detector.alisten(Endless([], RATE))))
        await asyncio.to_thread(waiting.wait)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening

    asyncio.run(main())
    assert left.wait(60)


@pytest.mark.parametrize("head", [b"RIFF", b"\x1aE\xdf\xa3\1\0", b"\0\0\0\x1cftypM4A "])
def test_a_recording_that_arrives_two_bytes_at_a_time_is_no_raw_samples(head: bytes) -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(2)

    with pytest.raises(AudioError, match="begins like a recording"):
        list(PcmSource(Slow(head + bytes(100)), RATE))

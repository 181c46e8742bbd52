"""Sources: where a stream's audio comes from. A file, a pipe and an app's own chunks are here; microphone.py is another."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray

from .audio import Audio, open_audio
from .decoding.arrays import Source, check_format, companded, refuse_header
from .decoding.beginnings import LONGEST_START, may_begin
from .decoding.recording import pieces
from .errors import ConfigurationError, whole

__all__ = ["AsyncChunkSource", "AudioSource", "ChunkSource", "FileSource", "Lost", "Pcm", "PcmSource"]

Hole = Literal["gap", "overflow", "device-lost", "device-back"]


@dataclass(frozen=True, slots=True)
class Lost:
    """A hole in a signal: `frames` samples of each channel that never arrived. `kind` is that of the event it becomes."""

    frames: int
    kind: Hole = "gap"

    def __post_init__(self) -> None:
        whole("frames", self.frames, "samples", least=0)
        if self.kind not in get_args(Hole):
            raise ConfigurationError(f"There is no hole of kind {self.kind!r}. Choose one of: {', '.join(get_args(Hole))}.")


class AudioSource(Protocol):
    """Anything that `Detector.listen` can follow, once. `sample_rate` and `channels` are known from `__enter__` on, which does
    nothing to a source that is open. Iterating gives samples as `Stream.feed` takes them, and `Lost` where some are missing,
    until the source is over, or closed by whichever thread."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def __iter__(self) -> Iterator[NDArray[Any] | Lost]: ...
    def close(self) -> None: ...


class _Closable:
    def __init__(self) -> None:
        self._closed = threading.Event()
        self._over = False

    def __reduce__(self) -> Any:
        raise TypeError(f"A {type(self).__name__} cannot be pickled. Make it in the process that listens to it.")

    def __enter__(self) -> Self:
        if self._over:
            raise ConfigurationError("The source is over. Make a new one to listen again.")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over = True
        self.close()

    def close(self) -> None:
        """Ends the iteration, from any thread; that of an app's chunks with the next one."""
        self._closed.set()


class ChunkSource(_Closable):
    """An app's own chunks: arrays as `Stream.feed` takes them, and `Lost` where some are missing. A generator is closed too, in
    the end, so that its `finally` runs."""

    def __init__(self, chunks: Iterable[NDArray[Any] | Lost], sample_rate: int, channels: int = 1) -> None:
        super().__init__()
        self.sample_rate = check_format("The source", channels, sample_rate, ConfigurationError)
        self.channels = channels
        self._chunks = chunks

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(self._chunks, Generator):
            self._chunks.close()

    def __iter__(self) -> Iterator[NDArray[Any] | Lost]:
        for chunk in self._chunks:
            if self._closed.is_set():
                return
            yield chunk


class AsyncChunkSource(_Closable):
    """The same from an asynchronous iterable, such as a web socket, for `Detector.alisten`."""

    def __init__(self, chunks: AsyncIterable[NDArray[Any] | Lost], sample_rate: int, channels: int = 1) -> None:
        super().__init__()
        self.sample_rate = check_format("The source", channels, sample_rate, ConfigurationError)
        self.channels = channels
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[NDArray[Any] | Lost]:
        async for chunk in self._chunks:
            if self._closed.is_set():
                return
            yield chunk

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the app's iterable too, where it can be closed, so that its `finally` runs."""
        self.__exit__(kind, error, trace)
        if close := getattr(self._chunks, "aclose", None):
            await close()


class FileSource(_Closable):
    """A recording, as fast as it can be read, or with `realtime` at the speed at which it was spoken.

    Takes what `Detector.detect` takes, and raises AudioError as it does. A pipe is heard while it speaks, where its kind of
    recording can be; closing it ends the wait for more within 0.1 s, except on Windows.
    """

    REALTIME_SECONDS = 0.1

    def __init__(self, source: Source, *, realtime: bool = False) -> None:
        super().__init__()
        self._source, self._realtime = source, realtime
        self._stack = ExitStack()
        self._audio: Audio | None = None

    @property
    def sample_rate(self) -> int:
        return self._opened().rate

    @property
    def channels(self) -> int:
        return self._opened().channels

    def __enter__(self) -> Self:
        super().__enter__()
        self._opened()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        self._stack.close()

    def __iter__(self) -> Iterator[NDArray[Any]]:
        audio = self._opened()
        size = max(1, round(self.REALTIME_SECONDS * audio.rate))
        began, frames = time.monotonic(), 0
        for block in audio.blocks:
            for start in range(0, len(block), size):
                piece = block[start : start + size]
                frames += len(piece)
                ahead = began + frames / audio.rate - time.monotonic() if self._realtime else 0
                if self._closed.wait(max(0, ahead)):
                    return
                yield piece

    def _opened(self) -> Audio:
        if self._audio is None:
            self._audio = self._stack.enter_context(open_audio(self._source, stop=self._closed))
        return self._audio


Pcm = Literal["int16", "int24", "int32", "float32", "mulaw", "alaw"]

PCM: dict[Pcm, tuple[int, Callable[[bytes], NDArray[Any]]]] = {
    "int16": (2, lambda data: np.frombuffer(data, "<i2").astype(np.int16)),
    "int24": (3, lambda data: _widened(data)),
    "int32": (4, lambda data: np.frombuffer(data, "<i4").astype(np.int32)),
    "float32": (4, lambda data: np.frombuffer(data, "<f4").astype(np.float32)),
    "mulaw": (1, lambda data: companded("ULAW")[np.frombuffer(data, np.uint8)]),
    "alaw": (1, lambda data: companded("ALAW")[np.frombuffer(data, np.uint8)]),
}
"""Bytes a sample, and what makes an array of them."""


class PcmSource(_Closable):
    """Raw PCM without a header, little-endian and interleaved, from a binary file such as `sys.stdin.buffer`:
    `arecord -t raw -f S16_LE -r 16000 | ...`; "mulaw" and "alaw" are those of telephony (G.711). The file stays open. A last
    frame that is cut short is dropped. Raises AudioError for what begins like a recording, and where the file cannot be read.

    Closing it ends the wait for a pipe's data within 0.1 s, except on Windows; there, and of a socket's file, it waits for the
    data. Of a buffered file, nothing may have been read before.
    """

    def __init__(self, file: BinaryIO, sample_rate: int, channels: int = 1, *, dtype: Pcm = "int16") -> None:
        super().__init__()
        self.sample_rate = check_format("The source", channels, sample_rate, ConfigurationError)
        self.channels = channels
        if dtype not in PCM:
            raise ConfigurationError(f'There is no PCM format "{dtype}". Choose one of: {", ".join(PCM)}.')
        if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
            raise ConfigurationError(f'{file!r} is no binary file. Give sys.stdin.buffer, or open(path, "rb").')
        self._file = file
        self._bytes, self._array = PCM[dtype]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        frame = self._bytes * self.channels
        rest, begun = b"", False
        for data in pieces("The source", self._file, self._closed):
            rest += data
            if not begun:
                refuse_header("The source", rest)
                begun = len(rest) >= LONGEST_START or not may_begin(rest)
                if not begun:
                    continue
            whole = len(rest) // frame * frame
            samples, rest = self._array(rest[:whole]), rest[whole:]
            yield samples.reshape(-1, self.channels)
        if not begun and len(rest) >= frame:
            yield self._array(rest[: len(rest) // frame * frame]).reshape(-1, self.channels)


def _widened(data: bytes) -> NDArray[np.int32]:
    """Integers of 24 bits, moved up to 32."""
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4").reshape(-1).astype(np.int32)

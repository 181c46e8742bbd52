"""Audio in: whatever can be decoded, or an array, becomes float32 samples; mono at the rate that a bundle wants.

There is one way in. A decoder is read until it ends, what it gave is counted, and the count is held against what the recording
announced (chunks.py, ogg.py, flac.py, mpeg.py, elements.py). libsndfile decodes what it can, FFmpeg the rest where the extra
`formats` is installed (ffmpeg.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from .decoding.arrays import BLOCK_SECONDS, Samples, Source, as_float, as_samples, check_format
from .decoding.mixing import STEP_SECONDS, Mixer, to_mono
from .decoding.recording import Bytes, opened
from .errors import AudioError

if TYPE_CHECKING:
    from .decoding.parts import Part

__all__ = [
    "BLOCK_SECONDS",
    "Audio",
    "Blocks",
    "Resampler",
    "Samples",
    "Source",
    "as_float",
    "check_format",
    "load",
    "open_audio",
    "to_mono",
]


@dataclass(frozen=True)
class Audio:
    """An input being decoded: `blocks` gives arrays (n, channels) at `rate` Hz, up to 10 s each, floats with full scale = 1; up
    to 0.1 s each of a pipe that is decoded while it speaks."""

    rate: int
    channels: int
    blocks: Iterator[Samples]


@contextmanager
def open_audio(source: Source, sample_rate: Any = None, *, stop: threading.Event | None = None) -> Iterator[Audio]:
    """Opens a path, encoded bytes, a binary file, or samples with their rate, to be read in blocks: an hour never lies in
    memory whole. A file object is read from where it stands. Once `stop` is set, from whichever thread, the audio is over.

    A pipe of WAV, AIFF, AU, CAF or FLAC is decoded as it comes; of other kinds it is read to its end first.
    Raises AudioError, also while blocks are read, for what cannot be decoded, is damaged, or ends before its header says.
    """
    stop = stop or threading.Event()
    if sample_rate is not None or not _encoded(source):
        samples, rate = as_samples(source, sample_rate)
        size = BLOCK_SECONDS * rate
        yield Audio(rate, samples.shape[1], (samples[i : i + size] for i in range(0, len(samples), size)))
        return
    # Streams and arrays, which need no decoder, do not wait for it to be imported.
    from .decoding.parts import parts

    with ExitStack() as stack:
        content = opened(source, stop, stack.enter_context)
        found = parts(content, stack.enter_context)
        try:
            first = next(found)
        except AudioError:
            if stop.is_set():
                raise AudioError(f"{content.name} was closed before its audio began.") from None
            raise
        check_format(content.name, first.channels, first.rate)
        yield Audio(first.rate, first.channels, _joined(content, first, found))


def load(source: Source, sample_rate: int) -> Samples:
    """The whole input as mono samples (n,) at `sample_rate`, as a detector hears it. Values that are not finite are kept.
    Raises as `open_audio`."""
    with open_audio(source) as audio:
        mixer, resampler = Mixer(audio.channels), Resampler(audio.rate, sample_rate)
        steps = Blocks(round(STEP_SECONDS * audio.rate), audio.channels)
        parts = [resampler.feed(mixer.step(step)) for block in audio.blocks for step in steps.feed(block)]
        return np.concatenate([*parts, resampler.feed(mixer.step(steps.finish())), resampler.finish()])


class Blocks:
    """Cuts a signal that arrives in pieces of any length, (n,) or with `channels` (n, channels), into blocks of `size`."""

    def __init__(self, size: int, channels: int | None = None) -> None:
        self._size = size
        self._empty = self._rest = np.zeros(0 if channels is None else (0, channels), np.float32)

    def feed(self, samples: Samples) -> Iterator[Samples]:
        """The blocks that became complete, possibly none. Those not taken, because of an error, come first the next time."""
        self._rest = np.concatenate([self._rest, samples])
        while len(self._rest) >= self._size:
            block, self._rest = self._rest[: self._size], self._rest[self._size :]
            yield block
        # A copy, or the whole chunk would stay in memory.
        self._rest = self._rest.copy()

    def finish(self) -> Samples:
        """The rest, shorter than a block, once the signal is over."""
        rest, self._rest = self._rest, self._empty
        return rest


class Resampler:
    """Changes the sample rate of a mono signal piece by piece; pieces joined equal the whole resampled at once."""

    def __init__(self, rate: int, sample_rate: int) -> None:
        self._stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32") if rate != sample_rate else None

    def feed(self, samples: Samples) -> Samples:
        """The samples that are ready, possibly none."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def finish(self) -> Samples:
        """The rest, once the signal is over."""
        empty = np.zeros(0, np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)


def _encoded(source: Any) -> bool:
    return isinstance(source, str | bytes | bytearray | memoryview) or hasattr(source, "__fspath__") or hasattr(source, "read")


def _joined(content: Bytes, first: Part, others: Iterator[Part]) -> Iterator[Samples]:
    yield from first.blocks
    for part in others:
        if (part.rate, part.channels) != (first.rate, first.channels):
            raise AudioError(
                f"{content.name} holds recordings of different kinds, one after the other ({first.rate} Hz and "
                f"{first.channels} channels, {part.rate} Hz and {part.channels}). Cut it into one file each."
            )
        yield from part.blocks

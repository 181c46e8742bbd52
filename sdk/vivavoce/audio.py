"""Audio in: whatever libsndfile decodes, or an array, becomes mono float32 samples at the rate that a bundle wants."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .errors import AudioError

__all__ = [
    "AUDIO_SUFFIXES",
    "RATES",
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

Samples: TypeAlias = NDArray[np.float32]
Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | tuple[NDArray[Any], int]"

AUDIO_SUFFIXES = frozenset(
    (".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64", ".wav")
)
"""How the names of files end that are looked for in folders; a file that is named itself may end as it likes."""

RATES = (8_000, 192_000)
MAX_CHANNELS = 64
BLOCK_SECONDS = 10


@dataclass(frozen=True)
class Audio:
    """An input being decoded: `blocks` gives arrays (n, channels) at `rate` Hz, up to 10 s each, floats with full scale = 1."""

    rate: int
    channels: int
    blocks: Iterator[Samples]


@contextmanager
def open_audio(source: Source) -> Iterator[Audio]:
    """Opens a path, encoded bytes, a binary file or (samples, rate), to be read in blocks: an hour never lies in memory whole.

    Raises AudioError, also while blocks are read, for what cannot be decoded and for a file that ends before its header says.
    """
    if isinstance(source, tuple):
        yield _from_array(source)
        return
    name, opened = _open(source)
    try:
        with soundfile.SoundFile(opened) as file:
            check_format(name, file.channels, file.samplerate)
            _check_complete(name, file.extra_info)
            yield Audio(file.samplerate, file.channels, _decode(name, file))
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{name} cannot be decoded: {error.error_string.rstrip('.')}. "
            f"Give WAV, FLAC, Ogg (Vorbis, Opus), MP3 or another format of libsndfile; convert the rest first."
        ) from error


def load(source: Source, sample_rate: int) -> Samples:
    """The whole input as mono samples (n,) at `sample_rate`. Values that are not finite are kept. Raises as `open_audio`."""
    with open_audio(source) as audio:
        resampler = Resampler(audio.rate, sample_rate)
        parts = [resampler.feed(to_mono(block)) for block in audio.blocks]
        return np.concatenate([*parts, resampler.finish()])


def as_float(array: NDArray[Any]) -> Samples:
    """float32 with full scale = 1. Raises AudioError for types other than float32, float64, int16 and int32."""
    if array.dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):  # Beyond float32's range is infinite, and reported as such later.
            return array.astype(np.float32, copy=False)
    if array.dtype in (np.int16, np.int32):
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    raise AudioError(f"Samples of type {array.dtype} are not supported. Give float32, float64, int16 or int32.")


def to_mono(samples: Samples) -> Samples:
    """The mean of the channels, (n,), from (n,) or (n, channels)."""
    if samples.ndim == 1 or samples.shape[1] == 1:
        return samples.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        # Contiguous, for the order of a sum decides its last bit.
        mono: Samples = np.ascontiguousarray(samples).mean(axis=1, dtype=np.float32)
        return mono


class Blocks:
    """Cuts a mono signal that arrives in pieces of any length into blocks of `size` samples."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest = np.zeros(0, np.float32)

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
        rest, self._rest = self._rest, np.zeros(0, np.float32)
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


def _open(source: Any) -> tuple[str, Any]:
    if isinstance(source, bytes | bytearray | memoryview):
        return "The byte string", io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.is_file():
            raise AudioError(f"{path} is not a file. Give the path of a recording.")
        if path.stat().st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes). Record or copy it again.")
        return str(path), path
    if isinstance(source, io.TextIOBase):
        raise AudioError(f'{getattr(source, "name", "The file object")} is open as text. Open it with mode "rb".')
    if hasattr(source, "read"):
        return getattr(source, "name", None) or "The file object", source
    raise AudioError(
        f"{type(source).__name__} is not an audio source. "
        f"Give a path, encoded bytes, a binary file object, or (samples, sample_rate)."
    )


def _decode(name: str, file: soundfile.SoundFile) -> Iterator[Samples]:
    """The file in blocks. Raises AudioError where there are fewer samples than a lossless file's header announces."""
    decoded = 0
    for block in file.blocks(BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True):
        decoded += len(block)
        yield block
    if file.format == "FLAC" and decoded < file.frames:
        raise _cut_off(name, decoded / file.frames)


def _from_array(source: tuple[Any, ...]) -> Audio:
    if len(source) != 2:
        raise AudioError(f"A tuple of {len(source)} is not an audio source. Give (samples, sample_rate).")
    array, rate = np.asarray(source[0]), source[1]
    if array.ndim not in (1, 2):
        raise AudioError(f"An array of shape {array.shape} is not audio. Give (samples,) or (samples, channels).")
    columns = as_float(array).reshape(len(array), -1) if array.size else np.zeros((0, 1), np.float32)
    check_format("The array", columns.shape[1], rate)
    size = BLOCK_SECONDS * rate
    return Audio(rate, columns.shape[1], (columns[i : i + size] for i in range(0, len(columns), size)))


def check_format(name: str, channels: int, rate: int) -> None:
    """Raises AudioError where a rate or a number of channels is out of range."""
    low, high = RATES
    if not isinstance(rate, int | np.integer) or isinstance(rate, bool):
        raise AudioError(f"{name} has a sample rate of {rate!r}. Give it in hertz, as an integer from {low} to {high}.")
    if not low <= rate <= high:
        raise AudioError(f"{name} has a sample rate of {rate} Hz. Rates from {low} to {high} Hz are supported; resample it.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(
            f"{name} has {channels} channels. Up to {MAX_CHANNELS} are supported; an array has the shape (samples, channels)."
        )


# What streaming writers leave as the length of a WAV whose end they did not know.
UNKNOWN_LENGTH = 0x7FFF0000


def _check_complete(name: str, log: str) -> None:
    """Refuses a WAV that was cut off, which libsndfile reads without a word other than in its log."""
    cut = re.search(r"^\s*data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if cut and UNKNOWN_LENGTH > int(cut[1]) > int(cut[2]):
        raise _cut_off(name, int(cut[2]) / int(cut[1]))


def _cut_off(name: str, share: float) -> AudioError:
    return AudioError(f"{name} is cut off: {share:.0%} of the audio that its header announces is there. Copy it again.")

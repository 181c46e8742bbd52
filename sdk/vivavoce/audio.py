"""Audio in: whatever libsndfile decodes, or an array, becomes mono float32 samples at the rate that a bundle wants."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .errors import AudioError

__all__ = ["MAX_CHANNELS", "RATES", "Resampler", "Samples", "Source", "from_array", "load", "to_mono"]

Samples: TypeAlias = NDArray[np.float32]
Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | tuple[NDArray[Any], int]"

RATES = (8_000, 192_000)
MAX_CHANNELS = 64
BLOCK_SECONDS = 10


def load(source: Source, sample_rate: int) -> Samples:
    """Mono samples (n,) at `sample_rate`, full scale = 1, from a path, encoded bytes, a binary file or (samples, rate).

    Decodes and resamples in blocks of 10 s, so an hour of 48 kHz stereo never lies in memory whole. Values that are not
    finite are kept as they are. Raises AudioError for what cannot be decoded and for a file that ends before its header says.
    """
    if isinstance(source, tuple):
        return from_array(*source, sample_rate)
    name, opened = _open(source)
    try:
        with soundfile.SoundFile(opened) as file:
            _check_format(name, file.channels, file.samplerate)
            _check_complete(name, file.extra_info)
            resampler = Resampler(file.samplerate, sample_rate)
            blocks = file.blocks(BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True)
            parts = [resampler.feed(to_mono(block)) for block in blocks]
            return np.concatenate([*parts, resampler.finish()])
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{name} cannot be decoded: {error.error_string.rstrip('.')}. "
            f"Give WAV, FLAC, Ogg (Vorbis, Opus), MP3 or another format of libsndfile; convert the rest first."
        ) from error


def from_array(samples: NDArray[Any], rate: int, sample_rate: int) -> Samples:
    """Mono samples (n,) at `sample_rate` from an array (n,) or (n, channels) of float32, float64, int16 or int32.

    Integers are scaled to full scale = 1. Raises AudioError for other types, shapes and rates.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2):
        raise AudioError(f"An array of shape {array.shape} is not audio. Give (samples,) or (samples, channels).")
    _check_format("The array", array.shape[1] if array.ndim == 2 else 1, rate)
    resampler = Resampler(rate, sample_rate)
    return np.concatenate([resampler.feed(to_mono(as_float(array))), resampler.finish()])


def as_float(array: NDArray[Any]) -> Samples:
    """float32 with full scale = 1. Raises AudioError for types other than float32, float64, int16 and int32."""
    if array.dtype in (np.float32, np.float64):
        return array.astype(np.float32, copy=False)
    if array.dtype in (np.int16, np.int32):
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    raise AudioError(f"Samples of type {array.dtype} are not supported. Give float32, float64, int16 or int32.")


def to_mono(samples: Samples) -> Samples:
    """The mean of the channels, (n,), from (n,) or (n, channels)."""
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


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
    if hasattr(source, "read"):
        return getattr(source, "name", None) or "The file object", source
    raise AudioError(
        f"{type(source).__name__} is not an audio source. "
        f"Give a path, encoded bytes, a binary file object, or (samples, sample_rate)."
    )


def _check_format(name: str, channels: int, rate: int) -> None:
    low, high = RATES
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
        share = int(cut[2]) / int(cut[1])
        raise AudioError(f"{name} is cut off: {share:.0%} of the audio that its header announces is there. Copy it again.")

"""Arrays: samples as people hold them, of NumPy, torch, lists or bytes, become float32 of shape (n, channels)."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from ..errors import AudioError, ConfigurationError, VivavoceError, real
from .beginnings import begins

__all__ = [
    "BLOCK_SECONDS",
    "RATES",
    "Channel",
    "Samples",
    "Source",
    "as_array",
    "as_float",
    "as_rate",
    "as_samples",
    "check_channel",
    "check_channels",
    "check_format",
    "companded",
    "refuse_header",
]

Samples: TypeAlias = NDArray[np.float32]
Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | ArrayLike | tuple[ArrayLike | bytes, float]"
)

Channel: TypeAlias = "int | Literal['mix']"
"""What is judged of several channels: their mix, or one, counted from 0."""

BLOCK_SECONDS = 10
"""Seconds of a recording that lie in memory at once."""

RATES = (8_000, 192_000)
MAX_CHANNELS = 64


def as_samples(source: Any, sample_rate: Any) -> tuple[Samples, int]:
    """Samples (n, channels) and their rate, from an array and a rate or from the pair of both.

    One axis is one channel. Of two axes the longer one is time, for nobody has more channels than samples. Bytes are 16-bit
    integers, little-endian, of one channel. Raises AudioError, with the remedy, for anything else.
    """
    if sample_rate is None:
        source, sample_rate = _pair(source)
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        raise AudioError("A recording says its own sample rate. Leave sample_rate out; it is for samples alone.")
    if isinstance(source, tuple) and len(source) == 2 and real(source[1]) is not None and real(source[0]) is None:
        raise AudioError("The samples come with a rate of their own. Give it once: detect(samples, sample_rate).")
    rate = as_rate("The array", sample_rate)
    # A view of other things than bytes says what they are.
    if isinstance(source, bytes | bytearray) or (isinstance(source, memoryview) and source.format in ("B", "b", "c")):
        source = bytes(source)
        refuse_header("The byte string", source[:16])
        if len(source) % 2:
            raise AudioError(f"{len(source)} bytes are no whole samples of 16 bits. Give all of them, and no more.")
        array: NDArray[Any] = np.frombuffer(source, "<i2")
    else:
        array = as_array(source)
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    if array.ndim not in (1, 2):
        remedy = "Give one recording: samples[0]." if array.ndim > 2 else "Give (samples,) or (samples, channels)."
        raise AudioError(f"An array of shape {array.shape} is not audio. {remedy}")
    columns = as_float(array).reshape(len(array), -1) if array.size else np.zeros((0, 1), np.float32)
    check_format("The array", columns.shape[1], rate)
    return columns, rate


def _pair(source: Any) -> tuple[Any, Any]:
    if not isinstance(source, tuple):
        if isinstance(source, Mapping):
            raise AudioError("A mapping is not an audio source. Give what is in it: the samples and their rate.")
        if hasattr(source, "__array__") or hasattr(source, "__len__"):
            raise AudioError("Samples do not say their rate. Give it in hertz: detect(samples, sample_rate).")
        raise AudioError(
            f"{type(source).__name__} is not an audio source. "
            f"Give a path, encoded bytes, a binary file object, or samples and their sample rate."
        )
    if len(source) != 2:
        raise AudioError(f"A tuple of {len(source)} is not an audio source. Give (samples, sample_rate).")
    if real(source[0]) is not None and real(source[1]) is None:
        raise AudioError("(sample_rate, samples) is SciPy's order. Give (samples, sample_rate).")
    return source[0], source[1]


def as_array(samples: Any) -> NDArray[Any]:
    """A NumPy array of whatever holds numbers; of a torch tensor also where it has a gradient or lies on a GPU."""
    try:
        if hasattr(samples, "detach"):
            samples = samples.detach().cpu()
            samples = samples.float() if str(samples.dtype) == "torch.bfloat16" else samples
        return np.asarray(samples)
    except Exception as error:  # Whatever a library of somebody else's raises.
        raise AudioError(
            f"{type(samples).__name__} cannot be made an array: {error}. Give a NumPy array of samples."
        ) from error


def as_float(array: NDArray[Any]) -> Samples:
    """float32 with full scale = 1, from floats of any width and integers of 8, 16 or 32 bits in either byte order.

    uint8 has its zero at 128, as in WAV. Integers of 64 bits, which lists become, are taken for 16-bit values. Raises
    AudioError for other types.
    """
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # Beyond float32's range is infinite, and reported as such later.
            return array.astype(np.float32, copy=False)
    if kind == "i":
        bits = 16 if size == 8 else 8 * size
        return (array / float(1 << (bits - 1))).astype(np.float32)
    if kind == "u" and size == 1:
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    raise AudioError(
        f"Samples of type {array.dtype} are not supported. "
        f"Give float32, float64, int16 or int32: samples.astype(numpy.float32), with full scale = 1."
    )


def as_rate(name: str, rate: Any, error: type[VivavoceError] = AudioError) -> int:
    """A rate in hertz as an int, from a whole number of any type. Raises AudioError, or another error, for what is none, or out
    of range."""
    low, high = RATES
    value = real(rate)
    if value is None or not value.is_integer():
        raise error(f"{name} has a sample rate of {rate!r}. Give it in hertz, as a whole number from {low} to {high}.")
    whole = int(value)
    if not low <= whole <= high:
        raise error(f"{name} has a sample rate of {whole} Hz. Rates from {low} to {high} Hz are supported; resample it.")
    return whole


def check_format(name: str, channels: Any, rate: Any, error: type[VivavoceError] = AudioError) -> int:
    """The rate as an int. Raises AudioError where a rate or a number of channels is out of range, or another error where they
    are no recording's, but settings."""
    hertz = as_rate(name, rate, error)
    check_channels(name, channels, error)
    return hertz


def check_channels(name: str, channels: Any, error: type[VivavoceError] = AudioError) -> None:
    """Raises AudioError, or another error, where a number of channels is out of range."""
    if isinstance(channels, bool) or not isinstance(channels, int | np.integer) or not 1 <= channels <= MAX_CHANNELS:
        shape = "; an array has the shape (samples, channels), or (channels, samples)" if error is AudioError else ""
        raise error(f"{name} has {channels!r} channels. 1 to {MAX_CHANNELS} are supported{shape}.")


def check_channel(channel: Any, channels: int) -> None:
    """Raises ConfigurationError for what is no channel of so many."""
    if channel == "mix" or (not isinstance(channel, bool | str) and channel in range(channels)):
        return
    choices = ", ".join(map(str, range(min(channels, 4)))) + (", …" if channels > 4 else "")
    raise ConfigurationError(f'There is no channel {channel!r} among {channels}. Choose one of: "mix", {choices}.')


def refuse_header(name: str, head: bytes) -> None:
    """Raises AudioError where what is said to be raw samples begins like a recording."""
    if begins(head):
        raise AudioError(f"{name} begins like a recording: these are no raw samples. Leave its rate and format out.")


@cache
def companded(law: str) -> NDArray[np.int16]:
    """The sample that each byte stands for in G.711, by `law`: "ULAW" or "ALAW"."""
    file = io.BytesIO(bytes(range(256)))
    found: NDArray[np.int16] = soundfile.read(file, dtype="int16", samplerate=8000, channels=1, format="RAW", subtype=law)[0]
    return found

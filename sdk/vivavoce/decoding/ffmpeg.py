"""Other formats: what FFmpeg's libraries decode and libsndfile does not, by way of PyAV, the extra `formats`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError, needs_extra
from .arrays import Samples, as_float
from .faults import cut_off

with needs_extra("formats"):
    import av

__all__ = ["decode"]

SLACK = 0.5
"""Seconds by which a container's statement may exceed its audio: encoders' delays, and the gaps between streams."""

PLANES = 8
"""Channels of which a frame has a place for each; where there are more in planes of their own, PyAV finds no end of them."""

TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}
"""FFmpeg's names of samples, and NumPy's."""

STATES = ("mov", "matroska", "asf", "flv", "ape", "wv", "tta", "tak", "caf", "ogg")
"""Containers that state how long their audio is; of others FFmpeg guesses it from the number of bytes."""


def decode(name: str, file: BinaryIO, keep: Callable[[Any], Any]) -> tuple[int, int, Iterator[Samples]]:
    """Rate, channels, and blocks (n, channels) of floats with full scale = 1 of the one audio track in a file.

    Nothing beside the file is opened, whatever a playlist in it may name. Raises AudioError for what FFmpeg cannot decode, what
    is damaged or cut off, and for several tracks, of which nobody says which one is meant.
    """
    try:
        container = keep(av.open(file, metadata_errors="ignore", options={"protocol_whitelist": "none"}))
    except Exception as error:  # Whatever a decoder raises.
        raise _undecodable(name, error) from error
    tracks = container.streams.audio
    if len(tracks) != 1:
        raise AudioError(
            f"{name} has {len(tracks)} audio tracks. Take one of them out: ffmpeg -i OLD -map 0:a:0 NEW."
            if tracks
            else f"{name} has no audio track. Give a recording with sound."
        )
    track = tracks[0]
    frames = _frames(name, container, track)
    first = next(frames, None)
    if first is None:
        raise AudioError(f"{name} holds no audio that can be decoded. Copy it again.")
    rate, channels, form = _kind(first)
    if first.format.packed.name not in TYPES:
        raise AudioError(f"{name} holds samples of the type {form}. Convert it first: ffmpeg -i OLD NEW.wav.")
    if first.format.is_planar and channels > PLANES:
        raise AudioError(
            f"{name} has {channels} channels. Up to {PLANES} are read of its kind; mix them: ffmpeg -i OLD -ac 1 NEW."
        )
    return rate, channels, _blocks(name, container, track, _alike(name, first, frames))


def _frames(name: str, container: Any, track: Any) -> Iterator[Any]:
    try:
        yield from container.decode(track)
    except Exception as error:  # Whatever a decoder raises.
        raise _undecodable(name, error) from error


def _kind(frame: Any) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


def _alike(name: str, first: Any, frames: Iterator[Any]) -> Iterator[Any]:
    for frame in chain([first], frames):
        if _kind(frame) != _kind(first):
            raise AudioError(f"{name} changes its rate, channels or samples on the way. Convert it first: ffmpeg -i OLD NEW.")
        yield frame


def _blocks(name: str, container: Any, track: Any, frames: Iterator[Any]) -> Iterator[Samples]:
    seconds = 0.0
    for frame in frames:
        seconds += frame.samples / frame.sample_rate
        yield as_float(_samples(frame, frame.layout.nb_channels))
    stated = _stated(container, track)
    if stated is not None and seconds < stated - SLACK:
        raise cut_off(name, seconds / stated)


def _samples(frame: Any, channels: int) -> NDArray[Any]:
    """(n, channels), by hand: `frame.to_ndarray` takes what lies behind eight planes for more of them."""
    dtype = TYPES[frame.format.packed.name]
    if not frame.format.is_planar:
        return np.frombuffer(frame.planes[0], dtype, frame.samples * channels).reshape(-1, channels)
    return np.stack([np.frombuffer(plane, dtype, frame.samples) for plane in frame.planes[:channels]], axis=1)


def _stated(container: Any, track: Any) -> float | None:
    """The seconds that the container states, where it does."""
    if not any(kind in container.format.name for kind in STATES):
        return None
    if track.duration is not None:
        return float(track.duration * track.time_base)
    return container.duration / av.time_base if container.duration is not None and len(container.streams) == 1 else None


def _undecodable(name: str, error: Exception) -> AudioError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return AudioError(
        f"{name} cannot be decoded: {reason.rstrip('.')}. Give a recording, whole, in a format that FFmpeg reads."
    )

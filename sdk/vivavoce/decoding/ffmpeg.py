"""Other formats: what FFmpeg's libraries decode and libsndfile does not, by way of PyAV, the extra `formats`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from ..errors import AudioError, needs_extra
from .arrays import Samples, as_float
from .containers import cut_off

with needs_extra("formats"):
    import av

__all__ = ["decode"]

SLACK = 0.5
"""Seconds by which a container's statement may exceed its audio: encoders' delays, and the gaps between streams."""

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
    rate, channels = first.sample_rate, first.layout.nb_channels
    return rate, channels, _blocks(name, container, track, chain([first], frames), rate, channels)


def _frames(name: str, container: Any, track: Any) -> Iterator[Any]:
    try:
        yield from container.decode(track)
    except Exception as error:  # Whatever a decoder raises.
        raise _undecodable(name, error) from error


def _blocks(name: str, container: Any, track: Any, frames: Iterator[Any], rate: int, channels: int) -> Iterator[Samples]:
    count = 0
    for frame in frames:
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
            raise AudioError(f"{name} changes its sample rate or channels on the way. Convert it first: ffmpeg -i OLD NEW.")
        samples = as_float(frame.to_ndarray())
        block = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
        count += len(block)
        yield np.ascontiguousarray(block)
    stated = _stated(container, track)
    if stated is not None and count / rate < stated - SLACK:
        raise cut_off(name, count / rate / stated)


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

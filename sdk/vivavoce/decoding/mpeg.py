"""MPEG audio, MP3 above all (ISO 11172-3, 13818-3): its frames, and the Xing frame that counts them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .elements import check_behind
from .faults import cut_off, within_frame
from .frames import head_at, mpeg_frame, tag_size, tags
from .recording import Bytes

__all__ = ["begins_as_mp3", "mp3_parts"]

LAYER_3 = 1


@dataclass
class _Frames:
    """Frames of one version, layer, rate and number of channels, one after another."""

    start: int
    end: int
    kind: tuple[int, int, int, int]
    count: int = 0
    announced: int | None = None
    """How many frames its Xing frame, which is none of them, counts."""


def mp3_parts(name: str, data: bytes) -> list[bytes] | None:
    """The recordings in an MP3 file; None where it has no frames that can be followed. A recording that does not say how many
    frames it has gets a Xing frame that does, for decoders believe in it and guess without it.

    Raises AudioError where there are fewer frames than a Xing frame counts, the last one is not whole, or something else lies
    between or behind them.
    """
    runs = list(_runs(name, data))
    if not runs:
        return None
    last = runs[-1]
    after = mpeg_frame(data[last.end : last.end + 4])
    if after and after[1] == last.kind and last.end + after[0] > len(data) and last.count != last.announced:
        raise within_frame(name)
    check_behind(name, data[last.end :])
    parts = []
    for run in runs:
        if run.announced and run.count < run.announced:
            raise cut_off(name, run.count / run.announced)
        counted = run.announced is not None and run.count == run.announced
        content = _sized(data[run.start : run.end], run)
        # Of the other layers decoders know no such frame, and count.
        parts.append(content if counted or run.kind[1] != LAYER_3 else _xing(content, run) + content)
    return parts


def _runs(name: str, data: bytes) -> Iterator[_Frames]:
    """The runs of frames, split where a new recording begins: at its Xing frame, or where the format changes."""
    run: _Frames | None = None
    before = 0
    for at, end, kind in _mp3_frames(data):
        if at > before:
            check_behind(name, data[before:at])
        before = end
        announced = _announced(data[at:end], kind)
        full = run and run.announced is not None and run.count >= run.announced and announced is None
        if run is None or kind != run.kind or (announced is not None and run.count) or (full and run.announced):
            if run:
                yield run
            run = _Frames(at, end, kind)
        if announced is not None:
            run.announced = announced
        else:
            run.count += 1
        run.end = end
    if run and run.count:
        yield run


def _mp3_frames(data: bytes) -> Iterator[tuple[int, int, tuple[int, int, int, int]]]:
    """Begin, end and kind of each whole frame; tags and what is no frame are passed over."""
    at, known = 0, {}
    while at + 4 <= len(data):
        word = data[at : at + 4]
        if word not in known:
            known[word] = mpeg_frame(word)
        frame = known[word]
        if frame and at + frame[0] <= len(data):
            yield at, at + frame[0], frame[1]
            at += frame[0]
        elif size := tag_size(head_at(data, at)):
            at += size
        else:
            at = _next_frame(data, at + 1)


def begins_as_mp3(content: Bytes) -> bool:
    """Whether a frame of MPEG audio stands in front, or behind tags."""
    return mpeg_frame(content.read(tags(content), 4)) is not None


def _next_frame(data: bytes, at: int) -> int:
    """Where a frame begins that another follows, or a tag; the end where there is none."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = mpeg_frame(data[at : at + 4])
        if frame and ((after := mpeg_frame(data[at + frame[0] : at + frame[0] + 4])) and after[1] == frame[1]):
            return at
        at += 1
    return len(data)


def _side(kind: tuple[int, int, int, int]) -> int:
    """Where a Xing frame's tag stands, behind header and side information."""
    return 4 + ((32 if kind[3] == 2 else 17) if kind[0] == 3 else 17 if kind[3] == 2 else 9)


def _announced(frame: bytes, kind: tuple[int, int, int, int]) -> int | None:
    """How many frames follow, by a Xing or VBRI frame (0: it does not say); None for a frame with audio."""
    at = _side(kind)
    if frame[at : at + 4] in (b"Xing", b"Info"):
        return int.from_bytes(frame[at + 8 : at + 12], "big") if frame[at + 7 : at + 8] and frame[at + 7] & 1 else 0
    # A VBRI frame counts itself.
    return max(0, int.from_bytes(frame[50:54], "big") - 1) if frame[36:40] == b"VBRI" else None


def _sized(content: bytes, run: _Frames) -> bytes:
    """The frames of `run`, with a Xing frame that tells their size: libmpg123 remarks on another one on standard error."""
    at = _side(run.kind)
    if content[at : at + 4] not in (b"Xing", b"Info") or not content[at + 7] & 2:
        return content
    at += 12 if content[at + 7] & 1 else 8
    return content[:at] + struct.pack(">I", len(content)) + content[at + 4 :]


def _xing(content: bytes, run: _Frames) -> bytes:
    """A frame that counts those of `run`."""
    word = bytearray(next(content[at : at + 4] for at, _, _ in _mp3_frames(content)))
    # The checksum is left out, and the rate of bits is one that leaves room for the tag.
    word[1] |= 1
    for bits in range(1, 15):
        word[2] = bits << 4 | (word[2] & 0x0C)
        frame = mpeg_frame(bytes(word))
        if frame and frame[0] >= _side(run.kind) + 16:
            body = (
                bytes(word) + bytes(_side(run.kind) - 4) + b"Info" + struct.pack(">III", 3, run.count, len(content) + frame[0])
            )
            return body.ljust(frame[0], b"\0")
    return b""

"""Elements: the frames, boxes, blocks and tags of a recording that libsndfile does not read. Each says how long it is.

Decoders leave out a last one that is cut off, and what lies behind the last one, and say nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from .beginnings import begins, check_alone
from .chunks import OPEN_END
from .faults import cut_off, damaged, followed, joined, within_frame
from .frames import FRAMES, HEAD, LET_PASS, framed, head_at, tag_size, tags, without_tags
from .recording import Bytes

__all__ = ["check_behind", "check_elements"]

ENDLESS = 1 << 62
"""The length of one that goes on to the end of the file."""

AMR = (13, 14, 16, 18, 20, 21, 27, 32, 6, *[0] * 6, 1)
AMR_WIDE = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, *[0] * 4, 1, 1)
"""Bytes of a frame of each type (RFC 4867, section 5.3)."""

NESTS = (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75")
"""The elements of Matroska (RFC 9559) within which audio lies, and whose length need not be known: Segment and Cluster."""

ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")


# How long the element with this head is, in bytes; 0 where it is none.


def _amr(head: bytes) -> int:
    return AMR[head[0] >> 3 & 15]


def _amr_wide(head: bytes) -> int:
    return AMR_WIDE[head[0] >> 3 & 15]


def _box(head: bytes) -> int:
    """ISO/IEC 14496-12, section 4.2."""
    size = int.from_bytes(head[:4], "big")
    if not re.fullmatch(rb"[ -~\xa9]{4}", head[4:8]):
        return 0
    if size == 1:
        size = int.from_bytes(head[8:16], "big")
    return ENDLESS if size == 0 else size if size >= 8 else 0


def _matroska(head: bytes) -> int:
    """RFC 8794, sections 4 to 6: an id and a size, each of which says by its first bits how many bytes it has."""
    wide = 9 - head[0].bit_length()
    long = 9 - head[wide].bit_length()
    if wide > 4 or long > 8 or head[0] == 0xFF:
        return 0
    inside, name = wide + long, head[:wide]
    size = int.from_bytes(head[wide:inside], "big") & (1 << 7 * long) - 1
    return inside if name in NESTS else inside + size


def _flv(head: bytes) -> int:
    """Adobe's Video File Format 10.1, section E.4: a tag, and how long it was."""
    return 11 + int.from_bytes(head[1:4], "big") + 4 if head[0] in (8, 9, 18) and head[8:11] == bytes(3) else 0


def _avi(head: bytes) -> int:
    if head[:4] in (b"RIFF", b"LIST"):
        return 12
    size = int.from_bytes(head[4:8], "little")
    return 8 + size + size % 2 if re.match(rb"[ -~]{4}", head) else 0


def _asf(head: bytes) -> int:
    size = int.from_bytes(head[16:24], "little")
    return ENDLESS if size == 0 and head.startswith(ASF_DATA) else size if size >= HEAD else 0


def _wavpack(head: bytes) -> int:
    return 8 + int.from_bytes(head[4:8], "little") if head.startswith(b"wvpk") else 0


@dataclass(frozen=True)
class _Kind:
    """How a recording begins, where its first element stands, how long each is, and which of them one recording has once."""

    name: str
    start: bytes
    first: int
    length: Callable[[bytes], int]
    once: bytes = b"(?!)"


KINDS = (
    _Kind("AMR", rb"#!AMR\n", 6, _amr, rb"(#!AMR)"),
    _Kind("AMR", rb"#!AMR-WB\n", 9, _amr_wide, rb"(#!AMR)"),
    _Kind("MP4", rb"....(?:ftyp|moov|mdat|free|skip|wide|styp)", 0, _box, rb"....(ftyp|moov)"),
    _Kind("Matroska", rb"\x1aE\xdf\xa3", 0, _matroska, rb"(\x1aE\xdf\xa3)"),
    _Kind("FLV", rb"FLV\x01", 13, _flv, rb"(FLV\x01)"),
    _Kind("AVI", rb"RIFF....AVI ", 0, _avi, rb"(RIFF)....AVI "),
    _Kind("ASF", rb"0&\xb2u\x8ef\xcf\x11", 0, _asf, rb"(0&\xb2u)"),
    _Kind("WavPack", rb"wvpk", 0, _wavpack),
)

TRUE_AUDIO = b"TTA1"

OTHERS = {
    TRUE_AUDIO: "True Audio",
    b"MAC ": "Monkey's Audio",
    b"tBaK": "TAK",
    b"\x80\0": "ADX",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11": "WTV",
}
"""How recordings begin whose elements do not say how long they are, or say so in a table."""

MARK = 12
"""Bytes at the beginning that two recordings of one kind have in common: later ones tell of a length."""


def check_elements(content: Bytes) -> None:
    """Raises AudioError where a recording, all of whose bytes have come, is cut off or followed by another one."""
    name, data = content.name, content.rest()
    announced = 8 + int.from_bytes(data[4:8], "little")
    if data[:4] + data[8:12] == b"RIFFAVI " and len(data) < announced < OPEN_END:
        raise cut_off(name, len(data) / announced)
    for kind in KINDS:
        if re.match(kind.start, data, re.DOTALL):
            end = _end(name, data, kind)
            if end > len(data):
                raise cut_off(name, len(data) / end)
            return check_behind(name, data[end:])
    if _check_frames(content, data):
        return None
    for start, kind_name in OTHERS.items():
        if data.startswith(start) and data.find(data[:MARK], 1) > 0:
            raise joined(name, kind_name)
    return check_behind(name, data[_true_audio(data) :]) if data.startswith(TRUE_AUDIO) else check_alone(name, data)


def _end(name: str, data: bytes, kind: _Kind) -> int:
    """Where the last element ends, which may lie behind the data. Raises AudioError where a second recording begins."""
    at, own = kind.first, re.match(kind.once, data, re.DOTALL)
    seen = {own[1]} if own else set()
    while at < len(data):
        head = head_at(data, at)
        if at and (found := re.match(kind.once, head, re.DOTALL)):
            if found[1] in seen:
                raise joined(name, kind.name)
            seen.add(found[1])
        size = tag_size(head) or kind.length(head)
        if not size:
            break
        if size >= ENDLESS:
            return len(data)
        at += size
    return at


def _true_audio(data: bytes) -> int:
    """Where the last frame of True Audio ends, by its table of them: each has 256/245 s."""
    rate, samples = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    count = -(-samples // max(1, 256 * rate // 245))
    table = data[22 : 22 + 4 * count]
    sizes: tuple[int, ...] = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    return 22 + 4 * count + 4 + sum(sizes)


def _check_frames(content: Bytes, data: bytes) -> bool:
    """Whether a recording consists of frames without a header. Raises AudioError where the last one is not whole, or where
    something else lies behind."""
    first = tags(content)
    for length in FRAMES:
        if length(head_at(data, first)):
            at = _end(content.name, data, _Kind("", b"", first, length))
            rest = data[at : at + 4]
            # Of a few bytes only the first frame tells that another one begins so.
            if at > len(data) or (0 < len(rest) < 4 and data.startswith(rest, first)):
                raise within_frame(content.name)
            check_behind(content.name, data[at:])
            return True
    return False


def check_behind(name: str, rest: bytes) -> None:
    """Raises AudioError where what lies behind a recording, or within it and is no part, is more than padding and tags."""
    rest = without_tags(rest)
    if begins(rest) or framed(rest):
        raise followed(name)
    if (size := len(rest.strip(b"\0"))) > LET_PASS:
        raise damaged(name, f"{size} bytes in it are no part of its audio")

"""Ogg pages (RFC 3533): whether all are there, whole and in order, and the links of a chain."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from ..errors import AudioError
from .faults import cut_off, damaged

__all__ = ["ogg_parts"]

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

CONTINUED, FIRST, LAST = 1, 2, 4


def ogg_parts(name: str, data: bytes) -> list[bytes]:
    """The links of a chained Ogg file. Raises AudioError where pages are missing, damaged or in disorder, or the end is."""
    starts: list[int] = []
    state: dict[int, tuple[int, int, int]] = {}
    began = True
    at = 0
    for at, end, flags, granule, serial, number in _pages(name, data):
        if flags & FIRST:
            if not began or not starts:
                _check_ends(name, state, len(data), at)
                starts.append(at)
                state = {}
            began = True
        else:
            began = False
        before = state.get(serial)
        if (before is None) != bool(flags & FIRST) or (before and number != (before[0] + 1) & 0xFFFFFFFF):
            raise damaged(name, f"pages before byte {at} are missing")
        highest = before[1] if before else -1
        if -1 < granule < highest:
            raise damaged(name, f"its time goes back at byte {at}")
        state[serial] = (number, max(highest, granule), flags & LAST)
        at = end
    _check_ends(name, state, len(data), at)
    if not starts:
        raise damaged(name, "it has no pages")
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _check_ends(name: str, state: dict[int, tuple[int, int, int]], size: int, at: int) -> None:
    if not all(last for _, _, last in state.values()):
        raise AudioError(
            f"{name} is cut off: no page up to byte {at} of {size} is marked as the last. Copy it again; if it is whole, "
            f"`ffmpeg -i OLD -c copy NEW` marks its end."
        )


def _pages(name: str, data: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Begin, end, flags, granule position, serial number and number of each page."""
    at = 0
    while at < len(data) and data[at:].strip(b"\0") if len(data) - at < 64 else at < len(data):
        if data[at : at + 4] != b"OggS" or len(data) < at + 27:
            if at + 27 > len(data):
                raise cut_off(name, at / len(data))
            raise damaged(name, f"byte {at} begins no page")
        flags, granule, serial, number, check, lacing = struct.unpack_from("<BqIIIB", data, at + 5)
        end = at + 27 + lacing + sum(data[at + 27 : at + 27 + lacing])
        if end > len(data):
            raise cut_off(name, at / len(data))
        page = data[at : at + 22] + bytes(4) + data[at + 26 : end]
        if _ogg_crc(page) != check:
            raise damaged(name, f"the page at byte {at} does not agree with its checksum")
        yield at, end, flags, granule, serial, number
        at = end


def _ogg_crc(page: bytes) -> int:
    """Ogg's checksum is that of zlib with the order of bits turned round and nothing inverted."""
    mirrored = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)

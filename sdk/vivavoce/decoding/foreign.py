"""Containers of FFmpeg's: what it says nothing of, another recording behind the first, and a missing end."""

from __future__ import annotations

from .containers import OPEN_END, check_alone, cut_off, joined
from .frames import check_frames
from .recording import Bytes

__all__ = ["check_foreign"]

BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
"""How the first box of an MP4 and its kin (ISO/IEC 14496-12) may be called."""

ONCE = (b"ftyp", b"moov")
"""Boxes of which a file has one."""

STARTS = {
    b"FLV\1": "FLV",
    b"TTA1": "True Audio",
    b"MAC ": "Monkey's Audio",
    b"tBaK": "TAK",
    b"\x80\0": "ADX",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11": "WTV",
}
"""How others begin."""

MARK = 12
"""Bytes at the beginning that two recordings of one kind have in common: later ones tell of a length."""


def check_foreign(content: Bytes) -> None:
    """Raises AudioError where a recording, all of whose bytes have come, is cut off or followed by another one."""
    head = content.read(0, MARK)
    announced = 8 + int.from_bytes(head[4:8], "little")
    if head[:4] + head[8:] == b"RIFFAVI " and content.arrived < announced < OPEN_END:
        raise cut_off(content.name, content.arrived / announced)
    data = content.rest()
    if head[4:8] in BOXES:
        _check_boxes(content)
    elif head.startswith(tuple(STARTS)) and data.find(head, 1) > 0:
        raise joined(content.name, STARTS[next(start for start in STARTS if head.startswith(start))])
    else:
        check_frames(content, data)
    check_alone(content.name, data)


def _check_boxes(content: Bytes) -> None:
    at, seen = 0, set()
    while len(head := content.read(at, 16)) >= 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if kind in ONCE and kind in seen:
            raise joined(content.name, "MP4")
        if size < 8:  # 0 is to the end, and anything else is no box.
            return
        seen.add(kind)
        at += size

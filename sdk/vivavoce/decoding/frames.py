"""Frames that say how long they are, of AAC, AC-3, DTS and AMR, and the packets of MPEG-TS: whether the last one is whole.

Decoders leave out a frame that is cut off, and say nothing.
"""

from __future__ import annotations

from .containers import tags, within_frame
from .recording import Bytes

__all__ = ["check_frames"]

AMR = (13, 14, 16, 18, 20, 21, 27, 32, 6, *[0] * 6, 1)
AMR_WIDE = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, *[0] * 4, 1, 1)
"""Bytes of a frame of each type (RFC 4867, section 5.3)."""

PACKET = 188
"""Bytes of a packet of MPEG-TS (ISO/IEC 13818-1)."""

HERTZ = (48_000, 44_100, 32_000)
KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
"""Of AC-3."""

HEAD = 10
"""Bytes by which a frame's length is known."""


def _adts(head: bytes) -> int:
    """ISO/IEC 13818-7, section 6.2."""
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else 0


def _loas(head: bytes) -> int:
    """ISO/IEC 14496-3, section 1.7.2."""
    return 3 + ((head[1] & 0x1F) << 8 | head[2]) if head[0] == 0x56 and head[1] & 0xE0 == 0xE0 else 0


def _ac3(head: bytes) -> int:
    """ETSI TS 102 366: table 4.13, and of enhanced AC-3 section E.1.3.1.3."""
    if head[:2] != b"\x0b\x77":
        return 0
    if head[5] >> 3 > 10:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate, code = head[4] >> 6, head[4] & 0x3F
    if rate == 3 or code >= 2 * len(KBPS):
        return 0
    words = KBPS[code // 2] * 96_000 // HERTZ[rate]
    return 2 * (words + (code & 1 if rate == 1 else 0))


def _dts(head: bytes) -> int:
    """ETSI TS 102 114, section 5.3.1."""
    return 1 + ((head[5] & 3) << 12 | head[6] << 4 | head[7] >> 4) if head[:4] == b"\x7f\xfe\x80\x01" else 0


def _ts(head: bytes) -> int:
    return PACKET if head[0] == 0x47 else 0


def _amr(head: bytes) -> int:
    return AMR[head[0] >> 3 & 15]


def _amr_wide(head: bytes) -> int:
    return AMR_WIDE[head[0] >> 3 & 15]


KINDS = ((b"#!AMR\n", _amr), (b"#!AMR-WB\n", _amr_wide), *((b"", one) for one in (_adts, _loas, _ac3, _dts, _ts)))
"""How a recording begins, and how many bytes the frame with this head has: 0 if it is none."""


def check_frames(content: Bytes, data: bytes) -> None:
    """Raises AudioError where a recording, all of whose bytes are `data`, ends within a frame."""
    for start, length in KINDS:
        first = at = len(start) if start else tags(content)
        if data.startswith(start) and (size := length(_head(data, at))):
            while size and at < len(data):
                at += size
                size = length(_head(data, at))
            rest = data[at : at + 4]
            # Of a few bytes only the first frame tells that another one begins so.
            if at > len(data) or (0 < len(rest) < 4 and data.startswith(rest, first)):
                raise within_frame(content.name)
            return


def _head(data: bytes, at: int) -> bytes:
    return data[at : at + HEAD].ljust(HEAD, b"\0")

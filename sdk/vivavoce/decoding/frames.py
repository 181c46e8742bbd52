"""Frames of recordings without a header, each of which says how long it is: MPEG audio, AAC, AC-3, DTS, MPEG-TS; and the tags
around them."""

from __future__ import annotations

import re

from .recording import Bytes

__all__ = ["FRAMES", "HEAD", "LET_PASS", "framed", "head_at", "mpeg_frame", "tag_size", "tags", "without_tags"]

HEAD = 24
"""Bytes by which the length of a frame, or of another element, is known."""

LET_PASS = 4096
"""Bytes behind a recording that are let pass, whatever they are."""

MPEG_KBPS = {
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_HERTZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}

PACKET = 188
"""Bytes of a packet of MPEG-TS (ISO/IEC 13818-1)."""

HERTZ = (48_000, 44_100, 32_000)
KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
"""Of AC-3."""

APE = 32
"""Bytes of the header of an APE tag, and of its footer."""

LYRICS = re.compile(rb"LYRICSBEGIN.{,65536}?LYRICS(?:200|END)", re.DOTALL)


# How long the frame with this head is, in bytes; 0 where it is none.


def _mpeg(head: bytes) -> int:
    found = mpeg_frame(head[:4])
    return found[0] if found else 0


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


FRAMES = (_mpeg, _adts, _loas, _ac3, _dts, _ts)
"""Those of recordings that begin with one, without a header."""


def framed(rest: bytes) -> bool:
    """Whether two frames of a recording without a header stand in front."""
    for length in FRAMES:
        size = length(head_at(rest, 0))
        if size and length(head_at(rest, size)):
            return True
    return False


def head_at(data: bytes, at: int) -> bytes:
    return data[at : at + HEAD].ljust(HEAD, b"\0")


def mpeg_frame(word: bytes) -> tuple[int, tuple[int, int, int, int]] | None:
    """Length in bytes and kind (version, layer, rate, channels) of the frame with this header; None if it is none."""
    if len(word) < 4 or word[0] != 0xFF or word[1] < 0xE0:
        return None
    version, layer = word[1] >> 3 & 3, word[1] >> 1 & 3
    bits, hertz, padding = word[2] >> 4, word[2] >> 2 & 3, word[2] >> 1 & 1
    if version == 1 or layer == 0 or bits in (0, 15) or hertz == 3:
        return None
    rate = MPEG_HERTZ[version][hertz]
    kbps = MPEG_KBPS[3 if version == 3 else 2, layer][bits]
    kind = (version, layer, rate, 1 if word[3] >> 6 == 3 else 2)
    if layer == 3:
        return (12_000 * kbps // rate + padding) * 4, kind
    return _mpeg_samples(version, layer) * 125 * kbps // rate + padding, kind


def _mpeg_samples(version: int, layer: int) -> int:
    return 384 if layer == 3 else 1152 if layer == 2 or version == 3 else 576


def tags(content: Bytes) -> int:
    """How many bytes of ID3 tags stand in front."""
    at = 0
    while size := _id3_size(content.read(at, 10)):
        at += size
    return at


def tag_size(head: bytes) -> int:
    """How many bytes the tag with this head has: ID3 of version 1 or 2, or APE; 0 where it is none."""
    if head.startswith(b"APETAGEX"):
        return APE + int.from_bytes(head[12:16], "little")
    return 128 if head.startswith(b"TAG") else _id3_size(head)


def _id3_size(head: bytes) -> int:
    """The size of an ID3 tag of version 2, with its header and footer; 0 where it is none."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return size + 10 + (10 if head[5] & 0x10 else 0)


def without_tags(rest: bytes) -> bytes:
    """What lies behind a recording, less the tags that stand there by custom."""
    rest = LYRICS.sub(b"", rest)
    while size := tag_size(rest[:HEAD]):
        rest = rest[size:]
    rest = rest[:-128] if rest[-128:].startswith(b"TAG") else rest
    if (footer := rest[-APE:]).startswith(b"APETAGEX"):
        # Its header, which need not be there, is not counted.
        rest = rest[: -int.from_bytes(footer[12:16], "little")]
        rest = rest[:-APE] if rest[-APE:].startswith(b"APETAGEX") else rest
    return rest

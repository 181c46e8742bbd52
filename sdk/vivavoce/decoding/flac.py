"""FLAC (RFC 9639): how much one announces, and whether it ends with a whole frame."""

from __future__ import annotations

__all__ = ["ends_with_flac_frame", "flac_total", "largest_flac_frame"]


def flac_total(head: bytes) -> tuple[int, bytes]:
    """How many samples the first 26 bytes of a FLAC announce (0: unknown), and the same bytes that announce nothing."""
    total = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    return total, head[:21] + bytes([head[21] & 0xF0]) + bytes(4) + head[26:]


def largest_flac_frame(head: bytes) -> int:
    """The most bytes of a frame, by the first 26 bytes of a FLAC: as stated, or as sound that nothing shortens takes."""
    block, stated = int.from_bytes(head[10:12], "big"), int.from_bytes(head[15:18], "big")
    layout = int.from_bytes(head[18:22], "big")
    channels, bits = (layout >> 9 & 7) + 1, (layout >> 4 & 31) + 1
    return max(stated, block * channels * (bits + 1) // 8 + 64)


def ends_with_flac_frame(tail: bytes, *, padded: bool = False) -> bool:
    """Whether a whole frame of FLAC ends where the bytes end; of those that may be `padded`, where nothing but zeros follow.

    A frame begins with a sync code, and its checksum of 16 bits comes last (RFC 9639, sections 9.1 and 9.3).
    """
    if padded:
        end = tail.rstrip(b"\0")
        # The checksum's own bytes may be zeros.
        return (
            not tail
            or len(tail) - len(end) >= SECTOR
            or any(ends_with_flac_frame(tail[: len(end) + more]) for more in range(min(3, len(tail) - len(end) + 1)))
        )
    starts = (at for at in range(len(tail) - FRAME_HEAD, -1, -1) if tail[at] == 0xFF and tail[at + 1] & 0xFE == 0xF8)
    return any(_crc16(tail[at:]) == 0 for at in starts)


SECTOR = 512
"""Zeros behind a recording from which on they are padding."""

FRAME_HEAD = 8
"""Bytes that a frame of FLAC has at least: five of its header, one of sound, two of its checksum."""


def _crc16(data: bytes) -> int:
    """The remainder by x^16 + x^15 + x^2 + 1; 0 for data that ends with its own."""
    remainder = 0
    for byte in data:
        remainder = (remainder << 8 & 0xFFFF) ^ CRC16[remainder >> 8 ^ byte]
    return remainder


def _division(byte: int) -> int:
    remainder = byte << 8
    for _ in range(8):
        remainder = (remainder << 1) ^ (0x1_8005 if remainder & 0x8000 else 0)
    return remainder


CRC16 = tuple(map(_division, range(256)))

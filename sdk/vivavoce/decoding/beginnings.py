"""Beginnings: how recordings begin, and where another one begins behind the first."""

from __future__ import annotations

from .faults import followed

__all__ = ["LONGEST_START", "MARKS", "begins", "check_alone", "may_begin"]

STARTS = (
    *(b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b".snd", b"dns.", b"fLaC", b"OggS", b"ID3"),
    *(b"NIST_1A", b"Creative Voice", b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"#!AMR", b"wvpk", b"MAC ", b"TTA1", b"FLV\1"),
)
"""How recordings begin that are no samples, as long that no samples do by chance: also Matroska and WebM, ASF, AMR and more."""

SHORT = frozenset(bytes([length]) for length in range(16))
"""Last bytes of lengths that no MP4's first box has."""

LONGEST_START = max(map(len, STARTS))

MARKS = (
    *(b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"),
    *(b"WAVEfmt ", b"WAVEJUNK", b"WAVEds64", b"wave\xf3\xac\xd3\x11"),
    *(b"AIFFCOMM", b"AIFCFVER", b"caff\0\1\0\0desc", b".snd\0\0\0\x18"),
    *(b"OggS\0\2" + bytes(8), b"#!AMR\n", b"#!AMR-WB\n", b"NIST_1A\n", b"Creative Voice File", b"FLV\1\4\0\0\0\x09"),
    *(b"ftypM4A ", b"ftypisom", b"ftypiso5", b"ftypmp42", b"ftypqt  ", b"ftyp3gp", b"webmB\x87", b"matroskaB\x87", b"AVI LIST"),
)
"""What the common kinds of recordings hold near their beginnings, so long that it is nowhere by chance."""

OWN_HEAD = 64
"""Bytes in which a recording's own mark stands."""


def begins(head: bytes) -> bool:
    """Whether a recording begins so: by one of `STARTS`, or by the box of an MP4."""
    return head.startswith(STARTS) or head[4:8] == b"ftyp"


def may_begin(head: bytes) -> bool:
    """Whether these first few bytes may become those of a recording.

    An MP4's box tells its length first, 16 to 255 bytes: samples seldom begin so, and none is held back that needs not be.
    """
    box = head[:3] == bytes(3)[: len(head)] and head[3:4] not in SHORT and b"ftyp".startswith(head[4:])
    return box or any(start.startswith(head) for start in STARTS)


def check_alone(name: str, data: bytes) -> None:
    """Raises AudioError where another recording lies behind the beginning of one of a kind that is not walked to its end."""
    if any(data.find(mark, OWN_HEAD) > 0 for mark in MARKS):
        raise followed(name)

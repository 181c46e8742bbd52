"""Rare containers: how much audio one announces, in samples of each channel.

SPHERE (NIST) says so in text, and VOC in the sizes of its blocks. Of the others libsndfile writes down what it found while it
reads the header, and decodes what is there. IRCAM, PAF, PVF and XI do not say.
"""

from __future__ import annotations

import re

from .faults import cut_off, damaged, longer
from .frames import LET_PASS
from .recording import Bytes

__all__ = ["MARK", "announced", "is_longer", "prepared"]

MARK = 16
"""Bytes by which a recording's beginning is known; found again in it, they begin another one."""

IN_LOG = re.compile(r"(?:Frames|Cols) *: (\d+)|Data length (\d+) should be")
IN_SPHERE = re.compile(rb"\nsample_count -i (\d+)")

SPHERE_HEAD = 1024

WIDTHS = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a sample, where all have the same. A sample dump packs them otherwise."""

LONGEST_HEAD = 2048
"""Bytes of a rare kind's header."""

VOC = b"Creative Voice File\x1a"

SDS, SDS_HEAD, SDS_PACKET = b"\xf0\x7e", 21, 127
"""How each packet of a MIDI sample dump begins, and bytes of the first one and of the others."""


def prepared(content: Bytes) -> Bytes:
    """A recording as libsndfile can be given it. Raises AudioError for a damaged VOC or sample dump, of which it says nothing,
    or says so on standard output."""
    if content.read(0, len(VOC)) == VOC:
        return content.part(_whole_voc(content.name, content.rest()))
    if content.read(0, 4).startswith(SDS):
        data = content.rest()
        if any(data[at : at + len(SDS)] != SDS for at in range(SDS_HEAD, len(data) - 1, SDS_PACKET)):
            raise damaged(content.name, "a packet of its samples does not begin where it should")
    return content


def _whole_voc(name: str, data: bytes) -> bytes:
    """A VOC up to its end, behind which libsndfile reads on. Raises AudioError where it is cut off, or something follows."""
    at = int.from_bytes(data[20:22], "little")
    while at < len(data) and data[at]:
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "little")
    if at > len(data):
        raise cut_off(name, len(data) / at)
    if data[at:].strip(b"\0"):
        raise longer(name, f"{at} bytes", "Cut it into one file each.")
    return data[: at + 1]


def announced(data: bytes, kind: str, log: str, frames: int) -> tuple[int | None, int]:
    """How many samples a recording announces (None: it does not say), and how many of them are there, of what libsndfile says
    of it: its kind, its log and its number of frames. Of one whose length in bytes does not do, all but one are there."""
    if kind == "NIST" and (found := IN_SPHERE.search(data[:SPHERE_HEAD])):
        return int(found[1]), frames
    if "truncated" in log:
        return frames + 1, frames
    counts = [int(one or other) for one, other in IN_LOG.findall(log)]
    if not counts:
        return None, frames
    # Of a sample dump the log has what is there, and the frames are what its header says.
    return (frames, counts[-1]) if kind == "SDS" else (counts[-1], frames)


def is_longer(data: bytes, kind: str, subtype: str, samples: int) -> bool:
    """Whether there are more bytes, up to the last that is not zero, than a header and so many samples take."""
    width = None if kind == "SDS" else WIDTHS.get(subtype)
    return width is not None and len(data.rstrip(b"\0")) > LONGEST_HEAD + width * samples + LET_PASS

"""Rare containers: how much audio one announces, in samples of each channel.

SPHERE (NIST) says so in text, and VOC in the sizes of its blocks. Of the others libsndfile writes down what it found while it
reads the header, and decodes what is there. IRCAM, PAF, PVF and XI do not say.
"""

from __future__ import annotations

import re

from .containers import cut_off, longer

__all__ = ["MARK", "VOC", "announced", "whole_voc"]

MARK = 16
"""Bytes by which a recording's beginning is known; found again in it, they begin another one."""

IN_LOG = re.compile(r"(?:Frames|Cols) *: (\d+)|Data length (\d+) should be")
IN_SPHERE = re.compile(rb"\nsample_count -i (\d+)")

SPHERE_HEAD = 1024

VOC = b"Creative Voice File\x1a"
"""How a VOC begins."""


def whole_voc(name: str, data: bytes) -> bytes:
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

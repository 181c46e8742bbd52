"""Chunks: what WAV and its kin (RIFF, RF64, W64, AIFF, CAF, AU) promise, and what is there.

libsndfile reads what it can and says nothing of the rest. Here the chunks are walked, so that what was cut off, joined, or left
out of the count is known. No samples are read.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from .beginnings import begins
from .faults import cut_off, joined, longer
from .frames import LET_PASS, framed
from .recording import Bytes

__all__ = ["OPEN_END", "Chunked", "chunked"]


@dataclass(frozen=True)
class _Family:
    """How a container writes its chunks: an id, a size in bytes (of which `own` are the two's own), content."""

    id: int
    size: str
    own: int
    align: int
    data: bytes
    first: int
    """Where the first chunk begins."""


W64_ID = bytes.fromhex("f3acd3118cd100c04f8edb8a")

FAMILIES = {
    b"RIFF": _Family(4, "<I", 0, 2, b"data", 12),
    b"RIFX": _Family(4, ">I", 0, 2, b"data", 12),
    b"RF64": _Family(4, "<I", 0, 2, b"data", 12),
    b"BW64": _Family(4, "<I", 0, 2, b"data", 12),
    b"riff": _Family(16, "<Q", 24, 8, b"data" + W64_ID, 40),
    b"FORM": _Family(4, ">I", 0, 2, b"SSND", 12),
    b"caff": _Family(4, ">Q", 0, 1, b"data", 8),
}

BODIES = {b"FORMAIFF": b"SSND", b"FORMAIFC": b"SSND", b"FORM8SVX": b"BODY", b"FORM16SV": b"BODY"}

HEAD_LIMIT = 1 << 26
"""Bytes that may stand before the audio in a pipe, which are kept."""

SAMPLES = (0x1, 0x3, 0x6, 0x7, 0xFFFE)
"""The tags of a WAV that holds samples: integers, floats, A-law, mu-law, and integers or floats of the extensible kind."""

AU_SAMPLES = (*range(1, 8), 27)
"""The same of AU."""

CAF_SAMPLES = (b"lpcm", b"alaw", b"ulaw")
"""The same of CAF."""

BLOCKS = (0x2, 0x11, 0x31)
"""The tags of a WAV in blocks that say how many samples each holds: MS and IMA ADPCM, GSM 6.10."""

OPEN_END = 0x7FFF0000
LARGE, TINY = 1 << 29, 0.01
"""A length from `OPEN_END` on, or from `LARGE` on of which less than `TINY` is there, was written by one who did not know."""


@dataclass
class Chunked:
    """The audio in a file of chunks: `length` bytes from `start` on; None where nobody knows, and the file's end decides."""

    kind: str
    start: int
    length: int | None
    format: bytes = b""
    samples: int | None = None
    """How many the `fact` chunk of a WAV counts."""
    family: _Family | None = None
    patches: dict[int, bytes] = field(default_factory=dict)
    """What the sizes must be for libsndfile to read to the end of the file."""

    @property
    def by_samples(self) -> bool:
        """Whether each sample lies there by itself, so that what has come so far can be decoded: libsndfile's decoders of
        blocks may wait for ever for the rest of one."""
        if self.kind == "CAF":
            return self.format[8:12] in CAF_SAMPLES
        return self.kind in ("AU", "AIFF") or (len(self.format) >= 2 and struct.unpack_from("<H", self.format)[0] in SAMPLES)

    def check(self, content: Bytes) -> None:
        """Raises AudioError where less is there than was promised, or more than was counted. A pipe is read to its end."""
        if self.length is None:
            return
        content.read(self.start + self.length, 1)
        there = content.arrived - self.start
        if _is_guess(self.length, there):
            return
        if there < self.length:
            raise cut_off(content.name, there / self.length)
        self._check_behind(content, self.start + self.length)

    def limit(self, frames: int) -> int | None:
        """Up to where a compressed WAV is audio, of the samples that libsndfile counts; None for all of them.

        A block too many comes of the byte that pads the chunk. The last one is filled up, and the `fact` chunk knows how far.
        """
        if self.length is None or len(self.format) < 20 or struct.unpack_from("<H", self.format)[0] not in BLOCKS:
            return None
        align, samples = struct.unpack_from("<H", self.format, 12)[0], struct.unpack_from("<H", self.format, 18)[0]
        most = min(frames, -(-self.length // max(align, 1)) * samples)
        if self.samples is not None and 0 <= most - self.samples < samples:
            most = self.samples
        return most if most < frames else None

    def _check_behind(self, content: Bytes, at: int) -> None:
        """What follows the audio must be chunks, or padding."""
        family = self.family
        at += -at % (family.align if family else 1)
        while len(head := content.read(at, 24)) > 0:
            content.forget(at)
            if _is_another(head):
                raise joined(content.name, self.kind)
            if not (family and re.match(rb"[ -~]{3,4}", head)):
                return self._check_padding(content, at)
            if len(head) < family.id + struct.calcsize(family.size):
                return None
            inside = at + family.id + struct.calcsize(family.size)
            at = inside + max(0, struct.unpack_from(family.size, head, family.id)[0] - family.own)
            at += -at % family.align
            content.read(at, 1)
            if at > content.arrived + 1:
                return self._check_padding(content, inside)
        return None

    def _check_padding(self, content: Bytes, at: int) -> None:
        frames = 0
        while block := content.read(at, 1 << 16):
            if not frames and (begins(sound := block.lstrip(b"\0")) or framed(sound)):
                raise joined(content.name, self.kind)
            frames += len(block.strip(b"\0"))
            at += len(block)
            content.forget(at)
        if frames > LET_PASS:
            raise longer(
                content.name, f"{self.length} bytes, and {frames} behind them", "Correct it: sox --ignore-length OLD NEW."
            )


def _is_another(head: bytes) -> bool:
    """Whether another recording begins here, and no chunk."""
    form = head[:4] == b"FORM" and head[:4] + head[8:12] not in BODIES
    return begins(head) and not form and head[:4] not in (b"ID3 ", b"id3 ")


def chunked(content: Bytes) -> Chunked | None:
    """Where the audio lies in a file of chunks; None for another kind of file, or one without audio."""
    head = content.read(0, 12)
    if head[:4] in (b".snd", b"dns."):
        return _au(content)
    family = FAMILIES.get(head[:4])
    if family is None or (head[:4] == b"FORM" and head[:4] + head[8:12] not in BODIES):
        return None
    data = BODIES.get(head[:4] + head[8:12], family.data)
    found = Chunked(
        {b"FORM": "AIFF" if head[8:12] == b"AIFF" else "IFF", b"caff": "CAF", b"riff": "W64"}.get(head[:4], "WAV"),
        0,
        None,
        family=family,
    )
    width = struct.calcsize(family.size)
    at, wide = family.first, None
    while len(chunk := content.read(at, family.id + width)) == family.id + width:
        size = struct.unpack_from(family.size, chunk, family.id)[0]
        at += family.id + width
        if size < family.own:
            return None
        if chunk[: family.id] == data:
            return _found(content, found, head, at, size - family.own, wide)
        if chunk[:4] == b"ds64":
            wide = (at + 8, int.from_bytes(content.read(at + 8, 8), "little"))
        elif chunk[:4] in (b"fmt ", b"desc") and size < 4096:
            found.format = content.read(at, size)
        elif chunk[:4] == b"fact":
            found.samples = struct.unpack("<I", content.read(at, 4).ljust(4, b"\0"))[0]
        at += size - family.own
        at += -at % family.align
        if content.size is None and at > HEAD_LIMIT:
            return None
    return None


def _found(content: Bytes, found: Chunked, head: bytes, at: int, size: int, wide: tuple[int, int] | None) -> Chunked:
    """The audio chunk, whose content begins at `at`; `wide` is where ds64 says its size, and the size."""
    family = found.family
    assert family is not None
    place = at - struct.calcsize(family.size)
    if wide and size == 0xFFFFFFFF:
        place, size = wide
    there = None if content.size is None else content.size - at
    found.start, found.length = at, size
    small = head[:4] in (b"RIFF", b"RIFX", b"FORM")
    unknown = size >= OPEN_END if small else size >= 1 << 60 or size == 0xFFFFFFFF
    guessed = there is not None and _is_guess(size, there)
    if unknown or guessed or (size == 0 and there != 0):
        found.length = None
        if small and head[:4] != b"FORM":
            # What libsndfile takes for a WAV without an end.
            found.patches = {4: struct.pack(family.size, 8), place: bytes(4)}
        else:
            order = "<Q" if place != at - struct.calcsize(family.size) else family.size
            most = 1 << 46 if order.endswith("Q") else 0x7FFFFF00
            found.patches = {place: struct.pack(order, min(most, most if there is None else there + family.own))}
    return found


def _is_guess(size: int, there: int) -> bool:
    return size >= LARGE and there < TINY * size


def _au(content: Bytes) -> Chunked | None:
    order = ">" if content.read(0, 1) == b"." else "<"
    head = content.read(0, 16)
    if len(head) < 16:
        return None
    start, size, encoding = struct.unpack_from(f"{order}III", head, 4)
    if start > HEAD_LIMIT:
        return None
    kind = "AU" if encoding in AU_SAMPLES else "AU in blocks"
    if size == 0 or size >= OPEN_END:
        return Chunked(kind, start, None, patches={8: b"\xff" * 4})
    return Chunked(kind, start, size)

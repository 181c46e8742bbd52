"""Containers: what a recording's header promises, what is there, and how many recordings lie one after another.

Decoders read what they can and say nothing of the rest. Here the frame of each kind is walked, so that what was cut off,
joined, or left out of the count is known: the chunks of WAV and its kin (RIFF, RF64, W64, AIFF, CAF, AU), Ogg pages (RFC
3533), and MP3 frames (ISO 11172-3, 13818-3) with the Xing frame that counts them. No samples are read.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import AudioError
from .recording import Bytes

__all__ = [
    "FLAC_MARKS",
    "LONGEST_START",
    "MARKS",
    "OPEN_END",
    "Chunked",
    "begins",
    "begins_as_mp3",
    "check_alone",
    "chunked",
    "cut_off",
    "damaged",
    "ends_with_flac_frame",
    "flac_total",
    "joined",
    "largest_flac_frame",
    "longer",
    "may_begin",
    "mp3_parts",
    "ogg_parts",
    "tags",
    "within_frame",
]

FLAC = b"fLaC"

FLAC_MARKS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
"""How a FLAC begins, with its first block; by chance, the first four bytes alone would be found in some."""


MATROSKA = b"\x1aE\xdf\xa3"

MARKS = (
    *(
        b"WAVEfmt ",
        b"WAVEJUNK",
        b"WAVEds64",
        b"wave\xf3\xac\xd3\x11",
        b"AIFFCOMM",
        b"AIFCFVER",
        b"caff\0\1\0\0desc",
        b".snd\0\0\0\x18",
    ),
    *(b"OggS\0\2" + bytes(8), b"#!AMR\n", b"#!AMR-WB\n", b"NIST_1A\n", b"Creative Voice File", b"FLV\1\4\0\0\0\x09"),
    *(b"ftypM4A ", b"ftypisom", b"ftypiso5", b"ftypmp42", b"ftypqt  ", b"ftyp3gp", b"webmB\x87", b"matroskaB\x87", b"AVI LIST"),
)
"""What the common kinds of recordings hold near their beginnings, so long that it is nowhere by chance."""

OWN_HEAD = 64
"""Bytes in which a recording's own mark stands."""


def cut_off(name: str, share: float) -> AudioError:
    """The error for a recording of which `share` is there."""
    percent = min(99, round(100 * share)) if share < 1 else 99
    return AudioError(f"{name} is cut off: {percent}% of the audio that its header announces is there. Copy it again.")


def joined(name: str, kind: str) -> AudioError:
    """The error for several recordings in one file, of a kind that decoders take for one."""
    return AudioError(f"{name} holds more than one {kind} recording, one after the other. Cut it into one file each.")


def check_alone(name: str, data: bytes) -> None:
    """Raises AudioError where another recording lies behind the beginning of a file of a kind that is not walked to its end."""
    # In Matroska, FLAC keeps its own header.
    marks = MARKS if data.startswith(MATROSKA) and b"A_FLAC" in data else MARKS + FLAC_MARKS
    if any(data.find(mark, OWN_HEAD) > 0 for mark in marks):
        raise AudioError(f"{name} holds another recording behind its own. Cut it into one file each.")


def longer(name: str, than: str, remedy: str) -> AudioError:
    """The error for a recording that goes on behind what its header announces."""
    return AudioError(f"{name} holds more audio than its header announces ({than}). {remedy}")


def damaged(name: str, what: str) -> AudioError:
    """The error for a recording that contradicts itself."""
    return AudioError(f"{name} is damaged: {what}. Copy it again, or write it anew with `ffmpeg -i OLD NEW`.")


def within_frame(name: str) -> AudioError:
    """The error for a recording whose last frame is not whole."""
    return damaged(name, "it ends within a frame")


def begins(head: bytes) -> bool:
    """Whether a recording begins so: by one of `STARTS`, or by the box of an MP4."""
    return head.startswith(STARTS) or head[4:8] == b"ftyp"


def may_begin(head: bytes) -> bool:
    """Whether these first few bytes may become those of a recording.

    An MP4's box tells its length first, 16 to 255 bytes: samples seldom begin so, and none is held back that needs not be.
    """
    box = head[:3] == bytes(3)[: len(head)] and head[3:4] not in SHORT and b"ftyp".startswith(head[4:])
    return box or any(start.startswith(head) for start in STARTS)


# Chunks.


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

STARTS = (
    *(*FAMILIES, b".snd", b"dns.", FLAC, b"OggS", b"ID3", b"NIST_1A", b"Creative Voice"),
    *(b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"#!AMR", b"wvpk", b"MAC ", b"TTA1", b"FLV\1"),
)
"""How recordings begin that are no samples, as long that no samples do by chance: also Matroska and WebM, ASF, AMR and more."""

SHORT = frozenset(bytes([length]) for length in range(16))
"""Last bytes of lengths that no MP4's first box has."""

LONGEST_START = max(map(len, STARTS))

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
            if _begins(head):
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
            if not frames and block.lstrip(b"\0").startswith(STARTS):
                raise joined(content.name, self.kind)
            frames += len(block.strip(b"\0"))
            at += len(block)
            content.forget(at)
        if frames > 4096:
            raise longer(
                content.name, f"{self.length} bytes, and {frames} behind them", "Correct it: sox --ignore-length OLD NEW."
            )


def _begins(head: bytes) -> bool:
    """Whether a recording begins here."""
    return head[:4] + head[8:12] in BODIES or (
        head[:4] != b"FORM" and head[:4] in (*FAMILIES, b".snd", FLAC, b"OggS", b"#!AM", b"wvpk")
    )


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


# FLAC.


def flac_total(head: bytes) -> tuple[int, bytes]:
    """How many samples the first 26 bytes of a FLAC announce (0: unknown), and the same bytes that announce nothing."""
    total = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    return total, head[:21] + bytes([head[21] & 0xF0]) + bytes(4) + head[26:]


def largest_flac_frame(head: bytes) -> int:
    """The most bytes of a frame, by the first 26 bytes of a FLAC: as stated, or as sound that nothing shortens takes."""
    block, stated = int.from_bytes(head[10:12], "big"), int.from_bytes(head[15:18], "big")
    layout = int.from_bytes(head[18:22], "big")
    channels, bits = (layout >> 9 & 7) + 1, (layout >> 4 & 31) + 1
    return stated or block * channels * (bits + 1) // 8 + 64


def ends_with_flac_frame(tail: bytes) -> bool:
    """Whether a whole frame of FLAC ends where the bytes end.

    A frame begins with a sync code, and its checksum of 16 bits comes last (RFC 9639, sections 9.1 and 9.3).
    """
    starts = (at for at in range(len(tail) - FRAME_HEAD, -1, -1) if tail[at] == 0xFF and tail[at + 1] & 0xFE == 0xF8)
    return any(_crc16(tail[at:]) == 0 for at in starts)


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


# Ogg.


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


# MP3.

KBPS = {
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
LAYER_3 = 1
HERTZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass
class _Frames:
    """Frames of one version, layer, rate and number of channels, one after another."""

    start: int
    end: int
    kind: tuple[int, int, int, int]
    count: int = 0
    announced: int | None = None
    """How many frames its Xing frame, which is none of them, counts."""

    @property
    def samples(self) -> int:
        return _samples(*self.kind[:2])


def mp3_parts(name: str, data: bytes) -> list[bytes] | None:
    """The recordings in an MP3 file; None where it has no frames that can be followed. A recording that does not say how many
    frames it has gets a Xing frame that does, for decoders believe in it and guess without it.

    Raises AudioError where there are fewer frames than a Xing frame counts, or the last one is not whole.
    """
    runs = list(_runs(data))
    if not runs:
        return None
    check_alone(name, data)
    last = runs[-1]
    after = _frame(data[last.end : last.end + 4])
    if after and after[1] == last.kind and last.end + after[0] > len(data) and last.count != last.announced:
        raise within_frame(name)
    parts = []
    for run in runs:
        if run.announced and run.count < run.announced:
            raise cut_off(name, run.count / run.announced)
        counted = run.announced is not None and run.count == run.announced
        content = _sized(data[run.start : run.end], run)
        # Of the other layers decoders know no such frame, and count.
        parts.append(content if counted or run.kind[1] != LAYER_3 else _xing(content, run) + content)
    return parts


def _runs(data: bytes) -> Iterator[_Frames]:
    """The runs of frames, split where a new recording begins: at its Xing frame, or where the format changes."""
    run: _Frames | None = None
    for at, end, kind in _mp3_frames(data):
        announced = _announced(data[at:end], kind)
        full = run and run.announced is not None and run.count >= run.announced and announced is None
        if run is None or kind != run.kind or (announced is not None and run.count) or (full and run.announced):
            if run:
                yield run
            run = _Frames(at, end, kind)
        if announced is not None:
            run.announced = announced
        else:
            run.count += 1
        run.end = end
    if run and run.count:
        yield run


def _mp3_frames(data: bytes) -> Iterator[tuple[int, int, tuple[int, int, int, int]]]:
    """Begin, end and kind of each whole frame; tags and what is no frame are passed over."""
    at, known = 0, {}
    while at + 4 <= len(data):
        word = data[at : at + 4]
        if word not in known:
            known[word] = _frame(word)
        frame = known[word]
        if frame and at + frame[0] <= len(data):
            yield at, at + frame[0], frame[1]
            at += frame[0]
        elif word[:3] == b"ID3" and (size := _tag(data[at : at + 10])):
            at += size
        else:
            at = _next_frame(data, at + 1)


def begins_as_mp3(content: Bytes) -> bool:
    """Whether a frame of MPEG audio stands in front, or behind tags."""
    return _frame(content.read(tags(content), 4)) is not None


def tags(content: Bytes) -> int:
    """How many bytes of ID3 tags stand in front."""
    at = 0
    while (head := content.read(at, 10))[:3] == b"ID3" and (size := _tag(head)):
        at += size
    return at


def _tag(head: bytes) -> int:
    """The size of an ID3 tag of version 2, with its header and footer."""
    if len(head) < 10 or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return size + 10 + (10 if head[5] & 0x10 else 0)


def _next_frame(data: bytes, at: int) -> int:
    """Where a frame begins that another follows, or a tag; the end where there is none."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = _frame(data[at : at + 4])
        if frame and ((after := _frame(data[at + frame[0] : at + frame[0] + 4])) and after[1] == frame[1]):
            return at
        at += 1
    return len(data)


def _frame(word: bytes) -> tuple[int, tuple[int, int, int, int]] | None:
    """Length in bytes and kind (version, layer, rate, channels) of the frame with this header; None if it is none."""
    if len(word) < 4 or word[0] != 0xFF or word[1] < 0xE0:
        return None
    version, layer = word[1] >> 3 & 3, word[1] >> 1 & 3
    bits, hertz, padding = word[2] >> 4, word[2] >> 2 & 3, word[2] >> 1 & 1
    if version == 1 or layer == 0 or bits in (0, 15) or hertz == 3:
        return None
    rate = HERTZ[version][hertz]
    kbps = KBPS[3 if version == 3 else 2, layer][bits]
    kind = (version, layer, rate, 1 if word[3] >> 6 == 3 else 2)
    if layer == 3:
        return (12_000 * kbps // rate + padding) * 4, kind
    return _samples(version, layer) * 125 * kbps // rate + padding, kind


def _samples(version: int, layer: int) -> int:
    return 384 if layer == 3 else 1152 if layer == 2 or version == 3 else 576


def _side(kind: tuple[int, int, int, int]) -> int:
    """Where a Xing frame's tag stands, behind header and side information."""
    return 4 + ((32 if kind[3] == 2 else 17) if kind[0] == 3 else 17 if kind[3] == 2 else 9)


def _announced(frame: bytes, kind: tuple[int, int, int, int]) -> int | None:
    """How many frames follow, by a Xing or VBRI frame (0: it does not say); None for a frame with audio."""
    at = _side(kind)
    if frame[at : at + 4] in (b"Xing", b"Info"):
        return int.from_bytes(frame[at + 8 : at + 12], "big") if frame[at + 7 : at + 8] and frame[at + 7] & 1 else 0
    # A VBRI frame counts itself.
    return max(0, int.from_bytes(frame[50:54], "big") - 1) if frame[36:40] == b"VBRI" else None


def _sized(content: bytes, run: _Frames) -> bytes:
    """The frames of `run`, with a Xing frame that tells their size: libmpg123 remarks on another one on standard error."""
    at = _side(run.kind)
    if content[at : at + 4] not in (b"Xing", b"Info") or not content[at + 7] & 2:
        return content
    at += 12 if content[at + 7] & 1 else 8
    return content[:at] + struct.pack(">I", len(content)) + content[at + 4 :]


def _xing(content: bytes, run: _Frames) -> bytes:
    """A frame that counts those of `run`."""
    word = bytearray(next(content[at : at + 4] for at, _, _ in _mp3_frames(content)))
    # The checksum is left out, and the rate of bits is one that leaves room for the tag.
    word[1] |= 1
    for bits in range(1, 15):
        word[2] = bits << 4 | (word[2] & 0x0C)
        frame = _frame(bytes(word))
        if frame and frame[0] >= _side(run.kind) + 16:
            body = (
                bytes(word) + bytes(_side(run.kind) - 4) + b"Info" + struct.pack(">III", 3, run.count, len(content) + frame[0])
            )
            return body.ljust(frame[0], b"\0")
    return b""

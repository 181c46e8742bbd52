"""Damaged recordings of every container, taken in by every way: `python fuzzing.py FIRST COUNT [DRAWN]`; see test_fuzz.py.

Each number makes one input: a whole recording that is cut, spliced, flipped, given a wrong length, or joined to another. It is
printed before it is tried, and so is the file, which stays where the process has to be ended. DRAWN more are of Hypothesis's
choice, and a failure among them shrinks to the least damage that does it: they cost twice as much, and repeat themselves more.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import ENCODINGS, FFMPEG, RARE, RATE, SILENT, by_ffmpeg, encoded, tone

from vivavoce.audio import open_audio
from vivavoce.errors import AudioError

SECONDS = 10
"""How long one input may take."""

Damage = Callable[[random.Random, bytes, bytes], bytes]


def seeds() -> list[bytes]:
    """Recordings of a tone and noise, one of each kind."""
    noise = np.random.default_rng(0).normal(0, 3000, RATE // 4).astype(np.int16)
    samples = np.concatenate([tone(0.15), noise])
    found = [encoded(samples, *one) for one in ENCODINGS + RARE + SILENT]
    with contextlib.suppress(ImportError):
        found += [by_ffmpeg(samples, *one) for one in FFMPEG]
    return found


def cut(chance: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def flip(chance: random.Random, data: bytes, other: bytes) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.choice((1, 3, 30))):
        # Headers are where most depends on a bit.
        flipped[chance.randrange(min(len(data), chance.choice((64, len(data)))))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def splice(chance: random.Random, data: bytes, other: bytes) -> bytes:
    at, length = chance.randrange(len(data)), chance.randrange(2000)
    return data[:at] + (b"", bytes(length), other[:length], chance.randbytes(length))[chance.randrange(4)] + data[at + length :]


def wrong_length(chance: random.Random, data: bytes, other: bytes) -> bytes:
    at = chance.randrange(min(len(data), 120))
    value = chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 2_000_000_000, len(data), len(data) // 2, chance.getrandbits(32)))
    return data[:at] + struct.pack(chance.choice("<>") + "I", value) + data[at + 4 :]


def join(chance: random.Random, data: bytes, other: bytes) -> bytes:
    return data + chance.choice((b"", bytes(chance.randrange(9)))) + (data, other)[chance.randrange(2)]


DAMAGES: tuple[Damage, ...] = (cut, flip, splice, wrong_length, join)


class Pipe(io.RawIOBase):
    """Cannot seek, and gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 700) if size >= 0 else 700)


def heard(source: Any) -> tuple[int, int, bytes] | None:
    """Rate, channels and samples; None where it was refused."""
    try:
        with open_audio(source) as audio:
            blocks = [np.ascontiguousarray(block) for block in audio.blocks]
            return audio.rate, audio.channels, b"".join(block.tobytes() for block in blocks)
    except AudioError:
        return None


def tried(chance: random.Random, original: bytes, originals: list[bytes], folder: Path) -> str | None:
    """What is wrong with how an input was taken; None where all is well."""
    if hasattr(signal, "alarm"):
        signal.alarm(SECONDS)
    data, other = original, originals[chance.randrange(len(originals))]
    for damage in chance.choices(DAMAGES, k=chance.choice((1, 1, 2))):
        data = damage(chance, data, other) or b"\0"
    # A new file each time: to write over one waits for the disk.
    file, path = tempfile.mkstemp(dir=folder)
    with open(file, "wb") as output:  # noqa: PTH123
        output.write(data)
    print(path, flush=True)
    first, *others = (heard(one) for one in (data, path, io.BytesIO(data), Pipe(data)))
    if any(one != first for one in others):
        return (
            f"by path, file and pipe {[one and (*one[:2], len(one[2])) for one in others]}, by bytes {first and len(first[2])}"
        )
    # One recording holds 0.4 s, and up to four are joined; a byte is at most one sample of a channel, or four of ADPCM.
    if first and len(first[2]) // 4 > max(4 * RATE * 4, 4 * len(data)):
        return f"{len(first[2]) // 4} samples of {len(data)} bytes"
    return None


def main(first: int, count: int, drawn: int = 0) -> int:
    originals, wrong = seeds(), 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            print(number, flush=True)
            if found := tried(random.Random(number), originals[number % len(originals)], originals, Path(folder)):
                wrong += 1
                print(f"{number}: {found}", file=sys.stderr, flush=True)

        if drawn:

            @settings(max_examples=drawn, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            @given(st.integers(0, len(originals) - 1), st.randoms(note_method_calls=True))
            def check(number: int, chance: random.Random) -> None:
                assert tried(chance, originals[number], originals, Path(folder)) is None

            check()
    return min(wrong, 1)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(*map(int, sys.argv[1:])))

"""Speech recorded by people that packages of Debian and PyPI carry: which files, who speaks, which language, which licence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile
from pydantic import BaseModel, ConfigDict, PositiveInt

from vivavoce.audio import Samples, load

from .corpus import Corpus, Row, seeded
from .packages import need_module, unpack
from .utterances import RATE, pieces, set_level

__all__ = ["HUMAN", "Human", "Recording", "recordings", "take"]


class Human(BaseModel):
    """A source of bona fide speech: a table of human.toml, which says what its fields mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    package: str
    sha256: str | None = None
    licence: str
    pattern: re.Pattern[str]
    language: str = ""
    most: PositiveInt
    most_each: PositiveInt | None = None


HUMAN = tuple(
    Human.model_validate(table)
    for table in tomllib.loads(Path(__file__).with_name("human.toml").read_text(encoding="utf-8"))["source"]
)


@dataclass(frozen=True)
class Recording:
    """One file of a human source."""

    path: Path
    speaker: str
    language: str


def recordings(source: Human, folder: Path) -> list[Recording]:
    """The files of an unpacked source that its pattern matches, by speaker, in a scattered order that is always the same."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (match := source.pattern.search(path.as_posix())):
            groups = match.groupdict()
            language = groups.get("language") or source.language
            who = groups.get("who") or groups.get("place") or language
            found.append(Recording(path, f"{source.name}_{who}".replace(" ", "_"), language))
    return sorted(found, key=lambda recording: (_scatter(recording.speaker), _scatter(recording.path.name)))


def _scatter(text: str) -> int:
    """An order that has nothing to do with the alphabet, so that a limit takes a sample rather than one topic."""
    return crc32(text.encode())


def decode(path: Path) -> Samples:
    """The mono samples (n,) of a file at 16 kHz. G.722 is decoded by PyAV. Raises Missing without it."""
    if path.suffix != ".g722":
        return load(path, RATE)
    av = need_module("av", "av")
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        return load((np.concatenate(frames).astype(np.int16), RATE), RATE)


def take(source: Human, cache: Path, corpus: Corpus, part: tuple[int, int], limit: int | None) -> Iterator[str]:
    """Adds the pieces of a source to the corpus, and names each once it is there; `part` (k, n) takes every n-th from k."""
    most = min(source.most, limit or source.most) * part[1]
    for number, (name, recording, piece) in enumerate(islice(_pieces(source, cache, part[1]), most)):
        if number % part[1] != part[0] - 1:
            continue
        codec = recording.path.suffix[1:]
        row = Row(
            name,
            speaker=recording.speaker,
            language=recording.language,
            source=source.name,
            licence=source.licence,
            native_sample_rate=RATE if codec == "g722" else soundfile.info(recording.path).samplerate,
            original_codec=codec,
        )
        if not corpus.has(name):
            corpus.add(row, set_level(piece, seeded(f"level {name}")))
        yield name


def _pieces(source: Human, cache: Path, parts: int) -> Iterator[tuple[str, Recording, Samples]]:
    """Name, a recording of the same speaker, and samples of each piece of a source."""
    found = recordings(source, unpack(source.package, cache, source.sha256))
    for speaker, group in groupby(found, key=lambda recording: recording.speaker):
        files = list(group)
        signals = (decode(recording.path) for recording in files)
        for index, piece in enumerate(islice(pieces(signals), (source.most_each or source.most) * parts)):
            yield f"{speaker}_{index:04d}", files[0], piece

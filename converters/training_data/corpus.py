"""A folder in the layout of ASVspoof 2019 LA that grows piece by piece: FLAC files, one protocol, one metadata.csv."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile
from numpy.random import Generator
from pydantic import TypeAdapter

from vivavoce.audio import Samples, load
from vivavoce.files import placing, replacing

from .utterances import RATE, to_pcm

__all__ = ["PROTOCOL", "Corpus", "Row", "seeded"]

PROTOCOL = Path("protocols", "vivavoce.LA.cm.train.trn.txt")


def seeded(name: str) -> Generator:
    """A generator that the name alone decides, so that a build that goes on makes what an unbroken one would have made."""
    return np.random.default_rng(crc32(name.encode()))


@dataclass(frozen=True)
class Row:
    """A line of metadata.csv, its columns in order."""

    utterance: str
    split: str = "train"
    key: str = "bonafide"
    system: str = "-"
    system_type: str = "-"
    speaker: str = ""
    language: str = ""
    source: str = ""
    licence: str = ""
    native_sample_rate: int = RATE
    original_codec: str = ""
    stored: str = "flac"
    kbps: int = 0
    duration_s: float = 0.0


class Corpus:
    """The rows written so far in `folder`, in which `add` puts audio; `save` makes the lists agree with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "train").mkdir(parents=True, exist_ok=True)
        (folder / PROTOCOL).parent.mkdir(exist_ok=True)
        self.rows = {row.utterance: row for row in self._read()}

    def _read(self) -> list[Row]:
        path = self.folder / "metadata.csv"
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return TypeAdapter(list[Row]).validate_python(list(csv.DictReader(file)))

    def audio(self, utterance: str) -> Path:
        """Where the audio of an utterance lies."""
        return self.folder / "train" / f"{utterance}.flac"

    def has(self, utterance: str) -> bool:
        """Whether an utterance is listed and its audio there."""
        return utterance in self.rows and self.audio(utterance).is_file()

    def samples(self, utterance: str) -> Samples:
        """The audio of an utterance, (n,) at 16 kHz."""
        return load(self.audio(utterance), RATE)

    def add(self, row: Row, samples: Samples) -> None:
        """Writes the samples (n,) at 16 kHz, full scale 1, of an utterance and lists it."""
        with placing(self.audio(row.utterance)) as partial:
            soundfile.write(partial, to_pcm(samples, seeded(row.utterance)), RATE, format="FLAC", subtype="PCM_16")
        self.rows[row.utterance] = replace(row, duration_s=round(len(samples) / RATE, 3))

    def save(self) -> None:
        """Writes the protocol and metadata.csv."""
        rows = sorted(self.rows.values(), key=lambda row: row.utterance)
        with replacing(self.folder / PROTOCOL) as file:
            file.writelines(f"{row.speaker or '-'} {row.utterance} - {row.system} {row.key}\n" for row in rows)
        with replacing(self.folder / "metadata.csv") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)

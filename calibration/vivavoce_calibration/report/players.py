"""The worst trials as files beside a report, for a browser to play."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import soundfile

from vivavoce.audio import load

from ..evaluation import Worst

__all__ = ["players"]

PLAYED = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm")
"""Endings of what browsers play; the rest is decoded to FLAC of 16 kHz."""


def players(worst: Iterable[Worst], folder: Path) -> dict[str, str]:
    """Copies the trials' audio into `folder`, in place of an earlier report's: the links from beside that folder, by id."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = {}
    for number, one in enumerate(worst, start=1):
        audio = Path(one.audio)
        name = f"{number:02} {one.key} {audio.stem}"
        if audio.suffix.lower() in PLAYED:
            copy = folder / f"{name}{audio.suffix}"
            shutil.copyfile(audio, copy)
        else:
            copy = folder / f"{name}.flac"
            soundfile.write(copy, load(audio, 16_000), 16_000)
        found[one.id] = quote(f"{folder.name}/{copy.name}")
    return found

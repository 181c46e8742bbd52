"""What the synthesizers say: the dialogues of a game, in eleven languages, and sentences of our own for others."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

from numpy.random import Generator

from .packages import unpack

__all__ = ["OWN", "sentences", "text"]

GAME = "fillets-ng-data"
OWN: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text(encoding="utf-8"))
LINE = re.compile(r'dialogStr\("((?:[^"\\]|\\.)*)"\)')
ENGLISH = re.compile(r'dialogId\("[^"]*",\s*"[^"]*",\s*"((?:[^"\\]|\\.)*)"\)')
CHARACTERS_PER_SECOND = {"ja": 6.0, "hi": 10.0, "mr": 10.0, "te": 10.0}


@cache
def sentences(language: str, folder: Path) -> list[str]:
    """All sentences of a language, those of the game (GPL-2+) or our own; `folder` is where packages are unpacked."""
    if language in OWN:
        return OWN[language]
    scripts = sorted(unpack(GAME, folder).glob(f"usr/share/games/fillets-ng/script/*/dialogs_{language}.lua"))
    line = ENGLISH if language == "en" else LINE
    found = [match for path in scripts for match in line.findall(path.read_text(encoding="utf-8"))]
    plain = (re.sub(r'\\.|["_*#%<>|]', " ", line) for line in found)
    return sorted({" ".join(line.split()) for line in plain if 12 <= len(line) <= 120 and any(map(str.isalpha, line))})


def text(language: str, seconds: float, rng: Generator, folder: Path) -> str:
    """Sentences drawn at random that take about so many seconds to say."""
    wanted, said = seconds * CHARACTERS_PER_SECOND.get(language, 14.0), ""
    while len(said) < wanted * 0.8:
        said = f"{said} {rng.choice(sentences(language, folder))}".strip()
    return said

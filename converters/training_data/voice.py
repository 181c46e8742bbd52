"""What every synthesizer is told about the voice it is to use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from vivavoce.audio import Samples

__all__ = ["Speak", "Voice"]


@dataclass(frozen=True)
class Voice:
    """A voice of a synthesizer: its name there, the language that it speaks, and what else its synthesizer wants to know."""

    name: str
    language: str
    extra: str = ""


Speak = Callable[[Voice, str, Generator], tuple[Samples, int]]
"""Voice, text and the generator that speed and pitch are drawn from, to samples (n,) and their rate in Hz. Raises Missing."""

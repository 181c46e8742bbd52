"""Progress: how long work tells how far it is. It draws nothing; `terminal/progress_bars.py` does, for the command."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Advance", "Stages", "quiet", "quietly"]

Advance = Callable[[int, int], object]
"""Told how much is done, and how much there is; 0 where nobody knows."""

Stages = Callable[[str], Advance]
"""Gives what one stage of the work tells, by the stage's name."""


def quiet(done: int, total: int) -> None:
    """An `Advance` that says nothing."""


def quietly(stage: str) -> Advance:
    """`Stages` that say nothing."""
    return quiet

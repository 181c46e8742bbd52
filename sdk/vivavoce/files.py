"""Files that appear complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["placing", "replacing"]


@contextmanager
def placing(path: Path) -> Iterator[Path]:
    """The path of a file to write, which takes the place of `path` when the block ends, and is gone when it fails."""
    partial = path.with_name(f".{path.name}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8, LF) that takes the place of `path` when the block ends, and is gone when it fails."""
    with placing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        yield file

"""Files that appear complete or not at all, and what they are known by: their sha256."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["placing", "placing_with", "replacing", "sha256", "sha256_of_file"]


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
def placing_with(path: Path) -> Iterator[Path]:
    """As `placing`, for a file that others may be written beside: all of them take their places when the block ends.

    The one of `path` is the last, so that it never stands without those that it names.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        partial = Path(folder) / path.name
        yield partial
        for file in sorted(Path(folder).iterdir(), key=lambda file: file == partial):
            file.replace(path.parent / file.name)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8, LF) that takes the place of `path` when the block ends, and is gone when it fails."""
    with placing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def sha256(content: bytes) -> str:
    """The hexadecimal sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The hexadecimal sha256 of a file, which may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

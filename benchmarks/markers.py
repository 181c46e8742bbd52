"""Parts of a page that a script writes: what stands between two markers."""

from __future__ import annotations

from pathlib import Path

from vivavoce.files import replacing

__all__ = ["between", "rewrite"]


def between(path: Path, begin: str, end: str) -> str:
    """What stands between the two markers of a file, each of which is there once."""
    return _cut(path, begin, end)[1]


def rewrite(path: Path, begin: str, end: str, text: str) -> None:
    """Puts `text` between the two markers of a file."""
    before, _, after = _cut(path, begin, end)
    with replacing(path) as file:
        file.write(before + begin + text + end + after)


def _cut(path: Path, begin: str, end: str) -> tuple[str, str, str]:
    before, rest = path.read_text(encoding="utf-8").split(begin)
    inside, after = rest.split(end)
    return before, inside, after

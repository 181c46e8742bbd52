"""The terminal: consoles without surprises, and words and signs that mean the same without colour."""

from __future__ import annotations

import io
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from ..errors import ConfigurationError
from ..machine import Machine

__all__ = [
    "BAD",
    "CUT_OFF",
    "GOOD",
    "INTERRUPTED",
    "MIXED",
    "STDIN",
    "UNUSABLE",
    "WORDS",
    "AcceptOption",
    "BundleArgument",
    "BundleOption",
    "PointOption",
    "RejectOption",
    "conditions",
    "console",
    "drop_output",
    "duration",
    "grid",
    "mark",
    "printable",
    "show",
    "size",
    "standard_input",
    "table",
    "tell_error",
    "uninterrupted",
]

# Exit codes, part of the public surface; the last two are 128 + SIGINT and 128 + SIGPIPE, as shells count.
GOOD, BAD, UNUSABLE, MIXED, INTERRUPTED, CUT_OFF = 0, 1, 2, 3, 130, 141

# What several verbs are asked in the same words.
BundleArgument = Annotated[
    Path | None, typer.Argument(metavar="BUNDLE", help="A bundle's folder, or default: the embedded one.")
]
BundleOption = Annotated[Path | None, typer.Option(metavar="BUNDLE", help="A bundle's folder, or default: the embedded one.")]
PointOption = Annotated[
    str | None, typer.Option(metavar="POINT", help="One threshold: a name that info lists, such as eer, or a score.")
]
AcceptOption = Annotated[
    str | None, typer.Option(metavar="POINT", help="With --reject, two: bona fide from this one on, such as fpr=1%.")
]
RejectOption = Annotated[
    str | None, typer.Option(metavar="POINT", help="Spoof below this one, such as fnr=2%; between the two undecided.")
]
STDIN = "-"
"""What stands for standard input."""

GAP = 2
"""Spaces between columns."""

WORDS = {"bonafide": "bona fide", "spoof": "spoof", "undecided": "undecided", "unreadable": "unreadable"}

# Sign, sign for terminals that know ASCII alone, style.
SIGNS = {
    "bonafide": ("✓", "+", "green"),
    "spoof": ("✗", "x", "red"),
    "undecided": ("?", "?", "yellow"),
    "unreadable": ("!", "!", "magenta"),
    "ok": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "warning": ("!", "!", "yellow"),
    "skipped": ("–", "-", "yellow"),
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # Rich would exit with 1, which means a spoof here.
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console that takes text as it is and leaves lines whole; off a terminal it is wide, unless COLUMNS says otherwise."""
    made = _Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.size = ConsoleDimensions(1000, 25)
    return made


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> Table:
    """Rows under bold column names, without lines."""
    built = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), title=title, title_justify="left", title_style="")
    for name in header:
        built.add_column(name, overflow="fold")
    for row in rows:
        built.add_row(*(Text(printable(cell)) for cell in row))
    return built


def grid(rows: Mapping[str, str]) -> Table:
    """Names in bold and what belongs to each."""
    built = Table.grid(padding=(0, GAP, 0, 0))
    built.add_column(style="bold", no_wrap=True)
    built.add_column(overflow="fold")
    for name, value in rows.items():
        built.add_row(name, Text(printable(value)))
    return built


def show(out: Console, *tables: Table | Text) -> None:
    """Prints tables with an empty line between them."""
    for number, built in enumerate(tables):
        if number:
            out.print()
        for part in _parts(built, out.width) if isinstance(built, Table) else [built]:
            out.print(part, soft_wrap=False)


def _parts(built: Table, width: int) -> Iterator[Table]:
    """A table, or where the longest words of its columns do not fit beside each other, several below each other: each with the
    first column and as many of the others as fit."""
    columns = [[str(column.header), *map(str, column.cells)] for column in built.columns]
    ends = list(itertools.accumulate(_longest_word(column) + 1 for column in columns))
    fitting = max(2, sum(end - 1 <= width for end in ends))
    if fitting < len(columns):
        first, *others = columns
        header, *rows = zip(first, *others[: fitting - 1], strict=True)
        yield from _parts(table(header, rows, title=str(built.title or "") or None), width)
        header, *rows = zip(first, *others[fitting - 1 :], strict=True)
        yield from _parts(table(header, rows), width)
    else:
        _keep_words(built, width)
        yield built


def _longest_word(column: Sequence[str]) -> int:
    return max(map(len, " ".join(column).split()), default=0)


def _keep_words(built: Table, width: int) -> None:
    """Breaks the cells of a table that is too wide between words alone, where there is room for the longest of each column, and
    keeps as many columns whole below their headers as it can."""
    bodies = [list(map(str, column.cells)) for column in built.columns]
    cells = [[str(column.header), *body] for column, body in zip(built.columns, bodies, strict=True)]
    if sum(max(map(len, column)) for column in cells) + GAP * (len(cells) - 1) <= width:
        return
    words = list(map(_longest_word, cells))
    gap = next((gap for gap in (GAP, 1) if sum(words) + gap * (len(cells) - 1) <= width), None)
    if gap is None:
        return
    built.padding = (0, gap, 0, 0)
    spare = width - sum(words) - gap * (len(cells) - 1)
    lacking = [max(0, max(map(len, body), default=0) - least) for body, least in zip(bodies, words, strict=True)]
    for lack, column, least in sorted(zip(lacking, built.columns, words, strict=True), key=lambda one: one[0]):
        column.width = least + min(spare, lack)
        spare -= min(spare, lack)


def mark(kind: str, out: Console) -> Text:
    """The sign and the word of a verdict, such as "✓ bona fide", or the sign of a check."""
    sign, ascii_sign, style = SIGNS[kind]
    return Text(f"{ascii_sign if out.options.ascii_only else sign} {WORDS.get(kind, '')}".strip(), style)


def printable(text: str) -> str:
    """`text` with every character that could steer a terminal, or cannot be encoded, replaced: file names are not trusted."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def tell_error(message: object) -> None:
    """One red line on stderr."""
    text = printable(" ".join(str(message).split()))
    console(stderr=True).print(Text(f"Error: {text}", "red"))


def standard_input() -> BinaryIO:
    """Standard input, of which nothing is buffered, so that a wait for data can tell whether there is some.

    Raises ConfigurationError where there is none.
    """
    if sys.stdin is None:
        raise ConfigurationError("There is no standard input. Pipe a recording into the command, or give its path.")
    try:
        file: Any = io.FileIO(sys.stdin.fileno(), closefd=False)
    except io.UnsupportedOperation:
        return sys.stdin.buffer
    file.name = "Standard input"
    return file  # type: ignore[no-any-return]


def drop_output() -> None:
    """Gives up what is buffered, for it cannot be written: it would raise again at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()
    except (OSError, ValueError):
        return


PATIENCE = 0.2
"""Seconds for which Ctrl-C may have to wait."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is done in here is done whole: Ctrl-C waits until it is over, unless that takes too long."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    begun, asked = time.monotonic(), []

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        if time.monotonic() - begun > PATIENCE:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def duration(seconds: float) -> str:
    """Such as "6.2 s", "12:05" and "1:02:03"."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    hours, minutes, rest = round(seconds) // 3600, round(seconds) // 60 % 60, round(seconds) % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def conditions(machine: Machine, versions: Mapping[str, str], threads: int | None = None) -> dict[str, str]:
    """The rows of a grid that say under which conditions something was measured."""
    used = f"; threads used: {threads}" if threads else ""
    load = "" if machine.load_average is None else f", load average {machine.load_average} at the beginning"
    return {
        "processor": f"{machine.processor}, {machine.architecture}, {', '.join(machine.instructions) or 'no list'}",
        "cores": f"{machine.cores}{used}{load}",
        "system": machine.system,
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def size(count: int) -> str:
    """Bytes as such: "164 kB", "4.96 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"

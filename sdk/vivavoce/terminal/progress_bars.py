"""Progress bars: how far the work of a verb is, on a terminal and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..progress import Advance, Stages, quiet
from .console import console

__all__ = ["bar_below", "bars"]


@contextmanager
def bars() -> Iterator[Stages]:
    """A bar on stderr for each stage that is told of and not finished, where that is a terminal."""
    shown = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def stage(name: str) -> Advance:
            def advance(done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(name)
                progress.update(tasks[name], total=total or None, completed=done, visible=not total or done < total)

            return advance

        yield stage


@contextmanager
def bar_below(out: Console) -> Iterator[Advance]:
    """A bar on whichever of `out` and stderr is a terminal, below the rows that are printed meanwhile."""
    shown = out if out.is_terminal else console(stderr=True)
    if not shown.is_terminal:
        yield quiet
        return
    columns = (SpinnerColumn("line"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True, redirect_stdout=shown is out) as progress:
        task = progress.add_task("")
        yield lambda done, total: progress.update(task, total=total, completed=done)

"""`vivavoce metrics`: the challenges' metrics from a score file and a key file, without a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vivavoce.terminal.console import GOOD, console, grid, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from ..challenges.scorecard import Part, Scorecard

__all__ = ["metrics_command"]

OF_PARTS = ("EER", "minDCF", "actDCF", "Cllr", "min t-DCF 2021", "t-EER", "min a-DCF")
"""Columns of the tables of parts; the JSON has all."""


def metrics_command(
    scores: Annotated[Path, typer.Argument(help="A score file, as a challenge wants it, or a table with a header.")],
    keys: Annotated[Path, typer.Argument(help="The challenge's key file or list of trials, or a table with a header.")],
    asv: Annotated[
        Path | None,
        typer.Option(help="Scores of a speaker verifier, where the score file has none: SYSTEM KIND SCORE a line, or a table."),
    ] = None,
    subset: Annotated[str | None, typer.Option(help="The subset of the keys; what the challenge reports by default.")] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Keep what the field leaves out: in CtrSVDD A14 and ACESinger.")
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(
            min=0, help="Draws of the bootstrap for the intervals; 0 makes none. 1,000 by default, fewer for many trials."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Everything as JSON, instead of tables.")] = False,
) -> int:
    """Compute a challenge's metrics from scores and keys.

    EER, minDCF, Cllr, t-DCF, a-DCF, t-EER and more, as the challenges do, without a bundle.
    """
    from ..challenges.files import read_matched, read_verifier
    from ..challenges.scorecard import scorecard

    found = scorecard(
        read_matched(scores, keys, subset=subset, complete=complete), read_verifier(asv) if asv else None, draws=draws
    )
    if json:
        print(found.model_dump_json())
    else:
        show(console(), *_tables(found))
    return GOOD


def _tables(found: Scorecard) -> Iterable[Table]:
    from ..report.wording import figure, spelled

    yield grid({"trials": f"{found.bonafide:,} bona fide, {found.spoof:,} spoof"})
    header = ("metric", "value", "from", "to") if found.draws else ("metric", "value")
    rows = [
        (one.metric, *(figure(one.metric, value) for value in (one.value, one.low, one.high) if value is not None))
        for one in found.figures
    ]
    yield table(header, rows)
    for by in dict.fromkeys(part.by for part in found.parts):
        yield _part_table(spelled(by), [part for part in found.parts if part.by == by])


def _part_table(by: str, parts: list[Part]) -> Table:
    from ..report.wording import figure

    shown = [name for name in OF_PARTS if any(name in part.figures for part in parts)]
    rows = [
        (
            *(part.name, f"{part.bonafide}", f"{part.spoof}"),
            *(figure(name, part.figures[name]) if name in part.figures else "–" for name in shown),
        )
        for part in parts
    ]
    return table((by, "bona fide", "spoof", *shown), rows)

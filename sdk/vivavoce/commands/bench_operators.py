"""`vivavoce bench --profile`: where the time of one window goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from ..bench.operators import Share, profile
from ..bundle import Bundle
from ..terminal.console import GOOD, console, grid, show, table

__all__ = ["bench_profile"]

OPERATORS = 15
"""How many operators are shown one by one."""


def bench_profile(bundle: Path, precision: str | None, threads: int, repeats: int, json: bool) -> int:
    """Profiles a bundle's engine and prints the outcome."""
    report = profile(Bundle(bundle), precision=precision, threads=threads, repeats=repeats)
    if json:
        print(report.to_json())
        return GOOD
    summary = {
        "engine": f"{report.engine}, {report.threads} threads, medians of {report.repeats} runs",
        "one window": f"{1000 * report.seconds:.1f} ms, {report.multiply_accumulates / 1e9:.2f} G multiply-accumulates",
        "rate": f"{report.rate / 1e9:.0f} G/s; of an INT8 product in the same run {report.int8_gemm_rate / 1e9:.0f} G/s",
        "share of it": f"{report.share_of_int8_gemm:.0%}",
    }
    show(console(), grid(summary), _table("part", report.parts), _table("operator", report.operators[:OPERATORS]))
    return GOOD


def _table(name: str, shares: Sequence[Share]) -> Table:
    rows = [
        (
            *(one.name, f"{one.nodes}", f"{1000 * one.seconds:.2f} ms", f"{one.share:.1%}"),
            f"{one.multiply_accumulates / one.seconds / 1e9:.0f}" if one.multiply_accumulates else "",
        )
        for one in shares
    ]
    return table((name, "nodes", "time", "share", "G multiply-accumulates/s"), rows)

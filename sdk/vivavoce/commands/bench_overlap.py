"""`vivavoce bench --stream`: what overlapping windows cost."""

from __future__ import annotations

from pathlib import Path

from ..bench.overlap import overlap
from ..terminal.console import GOOD, conditions, console, grid, show, size, table

__all__ = ["bench_stream"]

WAYS = {
    "once": "each window once, no overlap",
    "again": "a whole window every hop",
    "continued": "continued every hop, as streams do",
    "stream": "a whole stream, speech gate and all",
}


def bench_stream(
    bundle: Path | None,
    file: Path | None,
    seconds: float,
    precision: str | None,
    hop: float,
    threads: int,
    repeats: int,
    json: bool,
) -> int:
    """Measures and prints the cost of a hop."""
    report = overlap(bundle, file=file, seconds=seconds, precision=precision, hop=hop, threads=threads, repeats=repeats)
    if json:
        print(report.to_json())
        return GOOD
    made, engine = report.bundle, report.engine
    facts = {
        "bundle": f"{made.name} {made.version}, {size(made.bytes)} on disk",
        "engine": f"{engine.file} on {engine.provider}, {'with' if engine.carries else 'without'} a carried state",
        **conditions(report.machine, report.versions, report.threads),
        "audio": f"{report.audio.seconds:.1f} s ({report.audio.source}), {report.repeats} repeats",
    }
    ratios = dict(report.ratios)
    rows = [(WAYS[way], f"{factor:.4f}", _times(ratios.get(way))) for way, factor in report.real_time_factor]
    heading = ("", "real-time factor", "times one pass (lowest to highest)")
    apart = report.score_difference
    difference = {"raw scores, continued and whole": f"{apart.largest:.3f} apart at most, {apart.median:.3f} in the median"}
    show(console(), grid(facts | {"hop": f"{report.hop} s"}), table(heading, rows), grid(difference))
    return GOOD


def _times(ratio: tuple[float, float, float] | None) -> str:
    return "" if ratio is None else f"{ratio[1]:.2f} ({ratio[0]:.2f} to {ratio[2]:.2f})"

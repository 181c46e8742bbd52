"""`vivavoce bench --against torch`: bundles beside the network that they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ..bench.records import Spread
from ..bench.reference import EntrantTimes, ReferenceReport, benchmark_against
from ..terminal.console import GOOD, conditions, console, grid, show, size, table

__all__ = ["bench_against"]

HEADER = ("", "threads", "one window", "speed", "processor", "stem", "memory", "load", "file", "score")


def bench_against(
    reference: str,
    checkpoint: Path,
    bundles: Sequence[Path],
    file: Path | None,
    seconds: float,
    threads: int,
    repeats: int,
    json: bool,
) -> int:
    """Measures and shows; the arguments are those of `bench`."""
    errors = console(stderr=True)
    with errors.status("measuring") if errors.is_terminal else nullcontext():
        report = benchmark_against(reference, checkpoint, bundles, file=file, seconds=seconds, threads=threads, repeats=repeats)
    if json:
        print(report.to_json())
    else:
        show(console(), grid(_conditions(report)), table(HEADER, map(_row, report.entrants)), grid(_legend(reference)))
    return GOOD


def _conditions(report: ReferenceReport) -> dict[str, str]:
    audio = report.audio
    return {
        **conditions(report.machine, report.versions),
        "audio": f"{audio.seconds:.1f} s ({audio.source}): {audio.windows} of {report.window} samples",
        "order": f"in turns, {report.repeats} rounds, each in a process of its own; medians (lowest to highest)",
    }


def _row(entrant: EntrantTimes) -> tuple[str, ...]:
    window, peak = entrant.window_seconds, entrant.peak_bytes
    name = entrant.name if entrant.bundle is None else f"{entrant.bundle}/{entrant.name}"
    return (
        f"{name}, {entrant.precision} ({entrant.provider})",
        str(entrant.threads),
        f"{1000 * window.median:.0f} ms ({1000 * window.lowest:.0f} to {1000 * window.highest:.0f})",
        _times(entrant.speedup),
        _times(entrant.processor_speedup),
        f"{100 * entrant.stem_share:.0f} %",
        "unavailable" if peak is None else size(peak),
        f"{entrant.load_seconds:.1f} s",
        size(entrant.bytes),
        f"{entrant.largest_score_difference:.2g}",
    )


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.2f} x ({ratio.lowest:.2f} to {ratio.highest:.2f})"


def _legend(reference: str) -> dict[str, str]:
    return {
        "speed": f"how many times as long {reference} takes on as many threads, in the same round",
        "processor": "the same by the time on a core, which other processes lengthen less",
        "stem": "the share of the time before the encoder's first layer: convolutions, projection, positions",
        "memory": "the peak of resident memory of the process, profiling not counted",
        "score": f"the largest difference from the score of {reference}",
    }

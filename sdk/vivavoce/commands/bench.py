"""`vivavoce bench`: what a bundle costs on this machine."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..bench.reference import references
from ..bench.stages import EngineTimes, StageReport, benchmark
from ..bundle import bundle_path
from ..errors import ConfigurationError
from ..terminal.console import GOOD, BundleArgument, conditions, console, grid, show, size, table
from .bench_operators import bench_profile
from .bench_overlap import bench_stream
from .bench_reference import bench_against

__all__ = ["bench"]


def bench(
    bundle: BundleArgument = None,
    file: Annotated[Path | None, typer.Option(help="A recording; the self test's audio, repeated, by default.")] = None,
    seconds: Annotated[float, typer.Option(help="Length to which the self test's audio is repeated.")] = 60.0,
    precision: Annotated[str | None, typer.Option(help="The engine, where the bundle has several.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="A second engine's precision, run in turns with the first; or torch: the checkpoint itself."),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="With --against torch: what the bundle was converted from.")] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="With --against torch: another bundle of the same checkpoint; repeatable.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for one inference.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Runs, of which medians are taken.")] = 5,
    profile: Annotated[
        bool, typer.Option("--profile", help="One window by operator and by part of the network instead.")
    ] = False,
    stream: Annotated[bool, typer.Option("--stream", help="What overlapping windows cost, instead.")] = False,
    hop: Annotated[float, typer.Option(help="With --stream: seconds from one window to the next.")] = 0.5,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Measure speed, start-up and memory on this machine.

    Every window is scored, as if somebody spoke throughout: pauses cost less.
    """
    bundle = bundle_path(bundle)
    if checkpoint and against:
        bundles = [bundle, *(beside or ())]
        return bench_against(against, checkpoint, bundles, file, seconds, max(2, threads), repeats, json)
    if checkpoint or beside or against in references():
        raise ConfigurationError(
            "The original of a bundle runs from its checkpoint. Give both: --against torch --checkpoint FILE."
        )
    if stream:
        return bench_stream(bundle, file, seconds, precision, hop, threads, repeats, json)
    if profile:
        return bench_profile(bundle, precision, threads, repeats, json)
    errors = console(stderr=True)
    with errors.status("measuring") if errors.is_terminal else nullcontext():
        report = benchmark(
            bundle, file=file, seconds=seconds, precision=precision, against=against, threads=threads, repeats=repeats
        )
    if json:
        print(report.to_json())
        return GOOD
    columns = [_figures(engine) for engine in report.engines]
    names = [f"{engine.file} ({engine.provider})" for engine in report.engines]
    rows = [(figure, *(column[figure] for column in columns)) for figure in columns[0]]
    parts = [grid(_conditions(report)), table(("", *names), rows)]
    if report.ratios:
        ratios = {stage: f"{value:.2f} times as long" for stage, value in report.ratios}
        parts.append(table(("", f"{against} against {report.engines[0].precision}"), ratios.items()))
    show(console(), *parts)
    return GOOD


def _conditions(report: StageReport) -> dict[str, str]:
    bundle, audio = report.bundle, report.audio
    return {
        "bundle": f"{bundle.name} {bundle.version}, {size(bundle.bytes)} on disk",
        **conditions(report.machine, report.versions, report.threads),
        "audio": f"{audio.seconds:.1f} s ({audio.source}), {report.repeats} repeats, as if somebody spoke throughout",
        "RTF": "real-time factor: seconds of work for each second of audio, median of the repeats",
        "start": "in a fresh process, median of the repeats",
    }


def _figures(engine: EngineTimes) -> dict[str, str]:
    factor, latency, fresh = engine.real_time_factor, engine.window_latency, engine.fresh_process
    return {
        "RTF, model": f"{factor.model:.4f}",
        "RTF, speech gate": f"{factor.speech_gate:.4f}",
        "RTF, the rest": f"{factor.rest:.4f}",
        "RTF, whole": f"{factor.whole:.4f} ({factor.whole_lowest:.4f} to {factor.whole_highest:.4f})",
        "one window, median": f"{1000 * latency.median:.1f} ms",
        "one window, 95th percentile": f"{1000 * latency.p95:.1f} ms",
        "windows": str(engine.windows),
        "start: import": f"{fresh.imported:.2f} s",
        "start: load the bundle": f"{fresh.load:.2f} s",
        "start: first window": f"{fresh.first_window:.2f} s",
        "start: first verdict after": f"{fresh.first_verdict:.2f} s",
        "peak resident memory": "unavailable" if fresh.peak_bytes is None else size(round(fresh.peak_bytes)),
        "engine file": size(engine.bytes),
    }

"""`vivavoce bench`: what a bundle costs on this machine."""

from __future__ import annotations

from contextlib import nullcontext
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from ..benchmark import benchmark
from .terminal import GOOD, console, grid, show, size, table

__all__ = ["bench"]


def bench(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle's folder; the embedded one by default.")] = None,
    file: Annotated[Path | None, typer.Option(help="A recording; the self test's audio, repeated, by default.")] = None,
    seconds: Annotated[float, typer.Option(help="Length to which the self test's audio is repeated.")] = 60.0,
    precision: Annotated[str | None, typer.Option(help="The engine, where the bundle has several.")] = None,
    against: Annotated[str | None, typer.Option(help="A second engine's precision, run in turns with the first.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for one inference.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Runs, of which medians are taken.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Measure speed, start-up and memory on this machine.

    Every window is scored, as if somebody spoke throughout: pauses cost less.
    """
    errors = console(stderr=True)
    with errors.status("measuring") if errors.is_terminal else nullcontext():
        report = benchmark(
            bundle, file=file, seconds=seconds, precision=precision, against=against, threads=threads, repeats=repeats
        )
    if json:
        print(dumps(report))
        return GOOD
    columns = [_figures(engine) for engine in report["engines"]]
    names = [f"{engine['file']} ({engine['provider']})" for engine in report["engines"]]
    rows = [(figure, *(column[figure] for column in columns)) for figure in columns[0]]
    parts = [grid(_conditions(report)), table(("", *names), rows)]
    if report["ratios"]:
        ratios = {f"{stage}": f"{value:.2f} times as long" for stage, value in report["ratios"].items()}
        parts.append(table(("", f"{against} against {report['engines'][0]['precision']}"), ratios.items()))
    show(console(), *parts)
    return GOOD


def _conditions(report: dict[str, Any]) -> dict[str, str]:
    machine, bundle, audio = report["machine"], report["bundle"], report["audio"]
    load = "" if machine["load_average"] is None else f", load average {machine['load_average']} at the beginning"
    return {
        "bundle": f"{bundle['name']} {bundle['version']}, {size(bundle['bytes'])} on disk",
        "processor": f"{machine['processor']}, {machine['architecture']}, {', '.join(machine['instructions']) or 'no list'}",
        "cores": f"{machine['cores']}; threads used: {report['threads']}{load}",
        "system": machine["system"],
        "versions": ", ".join(f"{name} {number}" for name, number in report["versions"].items()),
        "audio": f"{audio['seconds']:.1f} s ({audio['source']}), {report['repeats']} repeats, as if somebody spoke throughout",
        "RTF": "real-time factor: seconds of work for each second of audio, median of the repeats",
        "start": "in a fresh process, median of the repeats",
    }


def _figures(engine: dict[str, Any]) -> dict[str, str]:
    factor, latency, fresh = engine["real_time_factor"], engine["window_latency"], engine["fresh_process"]
    peak = fresh["peak_bytes"]
    return {
        "RTF, model": f"{factor['model']:.4f}",
        "RTF, speech gate": f"{factor['speech_gate']:.4f}",
        "RTF, the rest": f"{factor['rest']:.4f}",
        "RTF, whole": f"{factor['whole']:.4f} ({factor['whole_lowest']:.4f} to {factor['whole_highest']:.4f})",
        "one window, median": f"{1000 * latency['median']:.1f} ms",
        "one window, 95th percentile": f"{1000 * latency['p95']:.1f} ms",
        "windows": str(engine["windows"]),
        "start: import": f"{fresh['import']:.2f} s",
        "start: load the bundle": f"{fresh['load']:.2f} s",
        "start: first window": f"{fresh['first_window']:.2f} s",
        "start: first verdict after": f"{fresh['first_verdict']:.2f} s",
        "peak resident memory": "unavailable" if peak is None else size(peak),
        "engine file": size(engine["bytes"]),
    }

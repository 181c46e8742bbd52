"""Draws the error of several bundles against their size and their time, and writes the table beside it into lab/.

python benchmarks/search.py BUNDLE...          print the table
python benchmarks/search.py BUNDLE... --write  rewrite lab/search.svg and the table in lab/2026-11-detector.md

Each bundle has been calibrated with `vivavoce calibrate --subset dev --test eval`, whose figures its manifest keeps. Time is
the processor time of one window on one thread, measured here on all bundles in turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
from markers import rewrite
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from vivavoce import Detector
from vivavoce.bundle import Evaluation
from vivavoce.files import placing
from vivavoce.machine import machine, versions

LAB = Path(__file__).parent.parent / "lab"
PAGE, PICTURE = LAB / "2026-11-detector.md", LAB / "search.svg"
BEGIN, END = "<!-- search: begin -->\n", "<!-- search: end -->\n"
ROUNDS = 30
SUBSETS = ("dev", "eval")


@dataclass(frozen=True)
class Point:
    """A bundle: its file in MB, a window's time in ms (median, lowest, highest), and its figures by metric and subset."""

    name: str
    precision: str
    parameters: int
    size: float
    time: tuple[float, float, float]
    figures: dict[tuple[str, str], Evaluation]

    @property
    def row(self) -> str:
        cells = [self.name, self.precision.upper(), f"{self.parameters / 1e6:.1f} M", f"{self.size:.1f} MB"]
        cells.append(f"{self.time[0]:.1f} ms ({self.time[1]:.1f} to {self.time[2]:.1f})")
        for subset in SUBSETS:
            error, area = self.figures["EER", subset], self.figures["AUC", subset]
            cells.append(f"{100 * error.value:.1f} % ({100 * error.low:.1f} to {100 * error.high:.1f})")
            cells.append(f".{1000 * area.value:.0f}")
        return f"| {' | '.join(cells)} |"


def measured(folders: Sequence[Path]) -> list[Point]:
    """The points, the smallest first."""
    detectors = [Detector(folder, threads=1) for folder in folders]
    noise = np.random.default_rng(0).normal(0, 0.05, 70_000).astype(np.float32)
    times: list[list[float]] = [[] for _ in detectors]
    for turn in range(ROUNDS + 1):
        for detector, own in zip(detectors, times, strict=True):
            window = noise[None, : detector.bundle.manifest.audio.window]
            start = process_time()
            detector.engine.score(window)
            if turn:  # The first one warms up.
                own.append(1000 * (process_time() - start))
    points = [_point(detector, own) for detector, own in zip(detectors, times, strict=True)]
    return sorted(points, key=lambda point: point.size)


def _point(detector: Detector, times: Sequence[float]) -> Point:
    manifest, file = detector.bundle.manifest, detector.engine.file
    return Point(
        name=manifest.name,
        precision=file.precision,
        parameters=manifest.model.parameters,
        size=(detector.bundle.path / file.file).stat().st_size / 1e6,
        time=(float(np.median(times)), min(times), max(times)),
        figures={(one.metric, one.subset): one for one in manifest.evaluations},
    )


def table(points: Sequence[Point]) -> str:
    """The table, with the conditions above it."""
    counts = ", ".join(
        f"{subset} ({one.bonafide} bona fide, {one.spoof} spoof)"
        for subset in SUBSETS
        for one in [points[0].figures["EER", subset]]
    )
    here = machine()
    head = (
        f"Whole recordings of {counts}; calibrated on dev; 95 % intervals of the bootstrap over speakers. A window is 4 s: "
        f"processor time of one alone, one thread, CPU provider, ONNX Runtime {versions()['onnxruntime']}, {here.processor} "
        f"({', '.join(here.instructions)}), {ROUNDS} windows in turns, median (lowest to highest)."
    )
    header = "| bundle | weights | parameters | file | a window | dev: EER | AUC | eval: EER | AUC |"
    rule = "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    return "\n".join([head, "", header, rule, *(point.row for point in points)]) + "\n"


def draw(points: Sequence[Point]) -> Figure:
    """EER against the file's size and against a window's time, dev and eval, with intervals."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, points, [point.size for point in points], "file, MB")
    _panel(right, points, [point.time[0] for point in points], "a window of 4 s on one thread, ms")
    left.set_ylabel("EER, %")
    left.legend(loc="upper right", frameon=False)
    return figure


def _panel(axes: Axes, points: Sequence[Point], places: Sequence[float], label: str) -> None:
    for shift, subset, marker in ((0.985, "dev", "o"), (1.015, "eval", "s")):
        errors = [point.figures["EER", subset] for point in points]
        values = np.array([100 * e.value for e in errors])
        spans = [values - [100 * e.low for e in errors], [100 * e.high for e in errors] - values]
        axes.errorbar(np.array(places) * shift, values, spans, fmt=marker, capsize=2, markersize=5, linewidth=1, label=subset)
    above, before = False, 0.0
    for point, place in sorted(zip(points, places, strict=True), key=lambda pair: pair[1]):
        # Neighbours' names would lie on one another: every second one stands below its intervals.
        above = not above or place > 1.3 * before
        before = place
        ends = [end for subset in SUBSETS for one in [point.figures["EER", subset]] for end in (one.low, one.high)]
        height, offset = (max(ends), 5) if above else (min(ends), -5)
        axes.annotate(
            point.name,
            (place, 100 * height),
            (0, offset),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="bottom" if above else "top",
        )
    axes.set(xscale="log", xlabel=label, ylim=(0, 60), xlim=(min(places) / 1.7, max(places) * 1.7))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    points = measured(options.bundles)
    text = table(points)
    if not options.write:
        print(text, end="")
        return
    with placing(PICTURE) as partial:
        draw(points).savefig(partial, format="svg", metadata={"Date": None})
    rewrite(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()

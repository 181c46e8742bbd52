"""Plots for a page, as SVG: the same bytes for the same data, in colours that the page's style sheet decides."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.stats import norm

from vivavoce.bundle import OperatingPoint, Rate

from ..evaluation import Part
from ..llr import best_llrs
from ..metrics import FloatArray, cllr, det_curve, ece, eer, error_rates, min_dcf_point
from ..operating_points import clopper_pearson

__all__ = ["COLOURS", "by_part", "det", "entropy", "histograms", "reliability", "tippett"]

COLOURS = {
    "ink": ("#1b1f24", "#e6e8eb"),
    "muted": ("#5b6470", "#a3abb5"),
    "line": ("#d5dae0", "#3a414a"),
    "bonafide": ("#00689d", "#5cb8e6"),
    "spoof": ("#b34700", "#f2994a"),
}
"""What a plot may use, on a light and on a dark page. The style sheet defines each as a variable of that name."""

# Colours that stand for the variables until the SVG is written.
_STAND_IN = {name: f"#0000{number:02x}" for number, name in enumerate(COLOURS, start=1)}
_WIDTH = 4.8

DET_TICKS = (0.0001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)

LONGEST = 26
"""Characters of a part's name in a plot; more would squeeze the rest."""

# Any, because matplotlib's types name every parameter that one version knows.
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.edgecolor": _STAND_IN["muted"],
    "axes.labelcolor": _STAND_IN["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _STAND_IN["line"],
    "grid.linewidth": 0.6,
    "xtick.color": _STAND_IN["muted"],
    "ytick.color": _STAND_IN["muted"],
    "xtick.labelcolor": _STAND_IN["ink"],
    "ytick.labelcolor": _STAND_IN["ink"],
    "text.color": _STAND_IN["ink"],
    "legend.frameon": False,
    "path.simplify_threshold": 0.5,
}


def det(bonafide: FloatArray, spoof: FloatArray, points: Sequence[OperatingPoint], shipped: str) -> str:
    """The detection error trade-off on axes of normal deviates, with the shipped operating points (as they fare here)."""
    fnr, fpr, _ = det_curve(bonafide, spoof)
    steps = np.unique(np.linspace(0, fnr.size - 1, 4000).astype(int))
    placed = {point.name: (point.fpr.value, point.fnr.value) for point in points if point.fpr and point.fnr}
    low = min(0.5 / max(bonafide.size, spoof.size), 0.005)
    high = min(1 - low, max([0.6, *(1.05 * rate for rates in placed.values() for rate in rates)]))

    def deviate(rates: ArrayLike) -> FloatArray:
        return np.asarray(norm.ppf(np.clip(rates, low, high)), np.float64)

    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.2)
        axes.plot(deviate(fpr[steps]), deviate(fnr[steps]), color=_STAND_IN["ink"], linewidth=1.6)
        axes.plot(deviate([low, high]), deviate([low, high]), color=_STAND_IN["muted"], linewidth=0.8, linestyle=":")
        for name, rates in placed.items():
            fill = _STAND_IN["spoof"] if name == shipped else "none"
            axes.plot(*deviate(rates), "o", color=_STAND_IN["spoof"], markerfacecolor=fill, markersize=6, clip_on=False)
        cheapest = min_dcf_point(bonafide, spoof)
        rates = error_rates(bonafide, spoof, math.nextafter(cheapest.threshold, math.inf))
        axes.plot(*deviate([rates.fpr, rates.fnr]), "D", color=_STAND_IN["bonafide"], markersize=6, clip_on=False)
        ticks = [tick for tick in DET_TICKS if low <= tick <= high]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(deviate(ticks), [f"{100 * tick:g}" for tick in ticks])
        axes.set(xlim=deviate([low, high]), ylim=deviate([low, high]), aspect="equal")
        axes.set(xlabel="spoofs accepted (FPR), %", ylabel="bona fide rejected (FNR), %")
        told = f"The curve crosses the diagonal at the equal error rate, {100 * eer(bonafide, spoof):.2f} %. Circles are the "
        told += f"bundle's operating points; the filled one is {shipped}. The diamond is where the cost is least: minDCF "
        return _element(figure, "Detection error trade-off", f"{told}{cheapest.value:.4f}.")


def histograms(
    raw: tuple[FloatArray, FloatArray], ratios: tuple[FloatArray, FloatArray] | None, threshold: float, name: str
) -> str:
    """The scores of bona fide and spoofed trials, before and, where there is a calibration, after it."""
    panels = [("engine's score", raw)] if ratios is None else [("engine's score", raw), ("log-likelihood ratio", ratios)]
    with mpl.rc_context(_STYLE):
        figure, *axes = _figure(2.1 * len(panels), len(panels))
        for panel, (label, classes) in zip(axes, panels, strict=True):
            _histogram(panel, classes)
            panel.set(xlabel=label, ylabel="density", yticks=[])
        axes[-1].axvline(threshold, color=_STAND_IN["ink"], linewidth=1.2, linestyle="--")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        medians = [f"{np.median(scores):.2f}" for scores in (raw if ratios is None else ratios)]
        told = (
            f"The dashed line is the threshold {threshold:.2f} ({name}). Medians: {medians[0]} bona fide, {medians[1]} spoof."
        )
        title = "Scores" if ratios is None else "Scores before and after calibration"
        return _element(figure, title, told)


def _histogram(axes: Axes, classes: tuple[FloatArray, FloatArray]) -> None:
    everything = np.concatenate(classes)
    bins = np.linspace(everything.min(), everything.max(), 41)
    for scores, name, label in zip(classes, ("bonafide", "spoof"), ("bona fide", "spoof"), strict=True):
        heights, edges = np.histogram(scores, bins, density=True)
        axes.stairs(heights, edges, fill=True, color=_STAND_IN[name], alpha=0.3)
        axes.stairs(heights, edges, color=_STAND_IN[name], linewidth=1.4, label=label)


def reliability(bonafide: FloatArray, spoof: FloatArray) -> str:
    """How often trials are bona fide that are said to be so with some probability, were both classes equally frequent."""
    predicted, observed = [], []
    bins = min(10, max(3, (bonafide.size + spoof.size) // 25))
    ratios = np.concatenate((bonafide, spoof))
    genuine = np.arange(ratios.size) < bonafide.size
    weights = np.where(genuine, 1 / bonafide.size, 1 / spoof.size)
    odds = bonafide.size / spoof.size
    for part in np.array_split(np.argsort(ratios, kind="stable"), bins):
        if part.size:
            share = clopper_pearson(int(genuine[part].sum()), part.size)
            predicted.append(np.average(1 / (1 + np.exp(-ratios[part])), weights=weights[part]))
            observed.append([p / (p + (1 - p) * odds) for p in (share.value, share.low, share.high)])
    middle, low, high = np.array(observed).T
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.2)
        axes.plot([0, 1], [0, 1], color=_STAND_IN["muted"], linewidth=0.8, linestyle=":")
        axes.vlines(predicted, low, high, color=_STAND_IN["bonafide"], linewidth=1.2)
        axes.plot(predicted, middle, "o", color=_STAND_IN["bonafide"], markersize=5, clip_on=False)
        axes.set(
            xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="predicted P(bona fide)", ylabel="observed share of bona fide"
        )
        furthest = float(np.abs(np.array(predicted) - middle).max())
        told = (
            f"Each of the {bins} points is as many trials, both classes weighted alike; bars are 95 % intervals. "
            f"On the diagonal the probabilities are right; the furthest point is {furthest:.2f} from it."
        )
        return _element(figure, "Reliability", told)


def tippett(bonafide: FloatArray, spoof: FloatArray, threshold: float) -> str:
    """The share of each class whose score is above any value: Tippett's plot, as forensic speech science has it."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.2)
        for scores, name, label in ((bonafide, "bonafide", "bona fide"), (spoof, "spoof", "spoof")):
            ordered = np.sort(scores)
            above = 1 - np.arange(ordered.size) / ordered.size
            steps = np.unique(np.linspace(0, ordered.size - 1, 1000).astype(int))
            axes.plot(ordered[steps], 100 * above[steps], color=_STAND_IN[name], linewidth=1.6, label=label)
        axes.axvline(0, color=_STAND_IN["muted"], linewidth=0.8, linestyle=":")
        axes.axvline(threshold, color=_STAND_IN["ink"], linewidth=1.2, linestyle="--")
        axes.set(ylim=(0, 100), xlabel="log-likelihood ratio", ylabel="share with this score or more, %")
        axes.legend(loc="best")
        misled = 100 * float(np.mean(spoof > 0)), 100 * float(np.mean(bonafide < 0))
        told = f"{misled[0]:.1f} % of the spoofs lie above 0, {misled[1]:.1f} % of bona fide trials below: ratios that mislead."
        return _element(figure, "Tippett plot", f"{told} The dashed line is the threshold.")


def entropy(bonafide: FloatArray, spoof: FloatArray) -> str:
    """The empirical cross-entropy at every prior, as it is, calibrated as well as can be, and without a detector."""
    odds = np.linspace(-3, 3, 61) * math.log(10)
    best = best_llrs(bonafide, spoof)
    lines = (
        ("no detector", "muted", ":", (np.zeros(1), np.zeros(1))),
        ("these ratios", "ink", "-", (bonafide, spoof)),
        ("calibrated at best", "bonafide", "--", best),
    )
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.2)
        for label, colour, style, classes in lines:
            costs = [ece(*classes, at) for at in odds]
            axes.plot(odds / math.log(10), costs, color=_STAND_IN[colour], linewidth=1.6, linestyle=style, label=label)
        axes.set(xlabel="prior odds of bona fide, log10", ylabel="empirical cross-entropy, bits", ylim=(0, 1.2))
        axes.legend(loc="best")
        told = (
            f"Lower is better. At odds of 1 the lines are Cllr, {cllr(bonafide, spoof):.4f}, and minCllr, {cllr(*best):.4f}. "
        )
        return _element(figure, "Empirical cross-entropy", f"{told}Where the line is above the dotted one, the ratios mislead.")


def by_part(by: str, parts: Sequence[Part]) -> str:
    """The error rates at the shipped threshold, part by part, with their intervals."""
    rates = [
        ("spoof", "spoofs accepted", [part.fpr for part in parts]),
        ("bonafide", "bona fide rejected", [p.fnr for p in parts]),
    ]
    with mpl.rc_context({**_STYLE, "axes.grid.axis": "x"}):
        figure, axes = _figure(0.9 + 0.26 * len(parts))
        for (name, label, values), shift in zip(rates, (-0.14, 0.14), strict=True):
            _intervals(axes, values, shift, _STAND_IN[name], label)
        axes.set_yticks(range(len(parts)), [_short(part.name) for part in parts])
        axes.set(xlim=(0, 100), ylim=(len(parts) - 0.4, -0.6), xlabel="error rate, %")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, pad=8)
        figure.legend(loc="outside upper left", ncols=2)
        told = "Points are error rates at the shipped threshold, lines their 95 % intervals. The table has the figures."
        return _element(figure, f"Errors by {by}", told)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _intervals(axes: Axes, rates: Sequence[Rate | None], shift: float, colour: str, label: str) -> None:
    there = [(row + shift, rate) for row, rate in enumerate(rates) if rate]
    if there:
        rows = [row for row, _ in there]
        axes.hlines(rows, [100 * r.low for _, r in there], [100 * r.high for _, r in there], color=colour, linewidth=1.4)
        axes.plot([100 * r.value for _, r in there], rows, "o", color=colour, markersize=4.5, label=label, clip_on=False)


def _figure(height: float, rows: int = 1) -> Any:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, *np.atleast_1d(figure.subplots(rows, 1))


def _element(figure: Figure, title: str, description: str) -> str:
    """The figure as an SVG element that names and describes itself to a screen reader, with a caption for everybody else."""
    prefix = re.sub(r"\W+", "-", title.lower())
    with io.StringIO() as buffer, mpl.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
        text = buffer.getvalue()
    for name, colour in _STAND_IN.items():
        text = text.replace(colour, f"var(--{name})")
    body = text[text.index(">", text.index("<svg")) + 1 :]
    box = re.search(r'viewBox="([^"]+)"', text)
    # Names of groups, which nothing refers to, would be there once for each plot of a page; names of shapes say which plot.
    body = re.sub(r'<g id="[a-z]+(?:\.[a-z]+)?_\d+"', "<g", body)
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    title, description = html.escape(title), html.escape(description)
    return (
        f'<figure><svg viewBox="{box[1] if box else ""}" role="img" aria-labelledby="{prefix}-title {prefix}-desc">'
        f'<title id="{prefix}-title">{title}</title><desc id="{prefix}-desc">{description}</desc>{body}'
        f'<figcaption aria-hidden="true">{description}</figcaption></figure>'
    )

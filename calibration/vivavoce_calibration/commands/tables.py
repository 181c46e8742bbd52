"""What the verbs with a corpus print: tables of figures, each with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from vivavoce.bundle import Evaluation, Manifest, OperatingPoint, Rate, Regression
from vivavoce.terminal.console import grid, table

from ..evaluation import Part, Report
from ..report.wording import figure, share, spelled

__all__ = ["calibration_tables", "evaluation_tables", "regression_tables"]


WORST = 8
"""Parts of the corpus in the table."""


def evaluation_tables(report: Report) -> Iterable[Table]:
    """A screen of what the report has whole: figures, decisions, and where most is wrong."""
    decisions = [(one.key, f"{one.accepted}", f"{one.rejected}", *_undecided(one.undecided)) for one in report.decisions]
    subject = report.subject
    yield grid(
        {
            "bundle": f"{subject.bundle}, {subject.engine}",
            "corpus": f"{subject.corpus}, {subject.subset}: {report.bonafide:,} bona fide, {report.spoof:,} spoof",
            "threshold": f"{report.threshold.threshold:.4f} ({report.threshold.name})",
        }
    )
    yield _figures(report.figures)
    yield table(("with the gate", "accepted", "rejected", "undecided", "because"), decisions)
    outcomes = [
        (
            one.name if one.by == "all" else f"{spelled(one.by)}: {one.name}",
            *(_percent(rate) for rate in (one.accuracy, one.fnr, one.fpr, one.undecided)),
        )
        for one in report.outcomes
    ]
    yield table(("recordings", "right, %", "rejected, %", "accepted, %", "undecided, %"), outcomes)
    if report.segments:
        rows = [
            (one.metric, *("–" if value is None else figure(one.metric, value) for value in (one.value, one.low, one.high)))
            for one in report.segments
        ]
        yield table(("segments", "value", "from", "to"), rows)
    if report.parts:
        yield _worst_parts(report.parts)


def _undecided(reasons: dict[str, int]) -> tuple[str, str]:
    return f"{sum(reasons.values())}", ", ".join(f"{reason} {count}" for reason, count in reasons.items())


def calibration_tables(manifest: Manifest) -> Iterable[Table]:
    found = manifest.calibration
    if found:
        yield grid({"log-likelihood ratio": f"{found.scale:.4g} * score {found.offset:+.4g}", "fitted on": found.corpus})
    yield _operating_points(manifest.operating_points)
    yield _figures(manifest.evaluations)


def regression_tables(found: Regression) -> Iterable[Table]:
    yield grid(
        {
            "candidate": found.candidate,
            "reference": found.reference,
            "corpus": f"{found.corpus}, {found.subset}: {found.bonafide:,} bona fide, {found.spoof:,} spoof",
            "scores compared": f"{found.scores}",
            "correlation": f"Pearson {found.pearson:.4f}, Spearman {found.spearman:.4f}",
            "largest difference": f"{found.largest_difference:.4f} ({found.furthest_trial})",
        }
    )
    signed = [
        (one.metric, f"{one.reference:.4f}", *(f"{value:+.4f}" for value in (one.value, one.low, one.high)))
        for one in found.differences
    ]
    yield table(("metric", "reference", "difference", "from", "to"), signed)
    flips = [
        (
            *(one.by, one.name, f"{one.share.trials}", share(one.share)),
            *(f"{one.bonafide_rejected}", f"{one.bonafide_accepted}", f"{one.spoof_accepted}", f"{one.spoof_rejected}"),
        )
        for one in found.flips
    ]
    header = ("part", "name", "trials", "flips", "bona fide: rejected", "accepted", "spoofs: accepted", "rejected")
    yield table(header, flips)
    yield grid({"limits": "; ".join(found.broken) or ("kept" if found.limits else "none were set")})


def _figures(figures: Iterable[Evaluation]) -> Table:
    rows = [
        (
            one.metric,
            *(figure(one.metric, value) for value in (one.value, one.low, one.high)),
            one.subset,
            f"{one.bonafide}",
            f"{one.spoof}",
        )
        for one in figures
    ]
    return table(("metric", "value", "from", "to", "subset", "bona fide", "spoof"), rows)


def _operating_points(points: Iterable[OperatingPoint]) -> Table:
    rows = [(point.name, f"{point.threshold:.4f}", share(point.fnr), share(point.fpr)) for point in points]
    return table(("operating point", "threshold", "bona fide rejected", "spoofs accepted"), rows)


def _worst_parts(parts: Sequence[Part]) -> Table:
    """Where it certainly errs most: the parts whose error rates have the highest lower bounds. The report has all."""

    def least(part: Part) -> float:
        return max(rate.low for rate in (part.fnr, part.fpr) if rate)

    rows = [
        (f"{spelled(part.by)}: {part.name}", f"{part.bonafide}", f"{part.spoof}", _percent(part.fnr), _percent(part.fpr))
        for part in sorted(parts, key=least, reverse=True)[:WORST]
    ]
    return table(("worst parts", "bona fide", "spoof", "rejected, %", "accepted, %"), rows)


def _percent(rate: Rate | None) -> str:
    return share(rate).replace(" % (", " (").replace(" to ", "–")

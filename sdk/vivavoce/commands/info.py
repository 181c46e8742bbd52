"""`vivavoce info`: what a bundle is, what is known about it, and what would run it here."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from typing import Annotated, Any

import typer
from rich.table import Table

from ..band import Band, symmetric
from ..bundle import Bundle, Evaluation, Manifest, OperatingPoint, Rate, Regression, open_bundle
from ..engines.engine import open_engine
from ..errors import VivavoceError
from ..machine import versions
from ..terminal.console import GOOD, BundleArgument, console, grid, show, size, table

__all__ = ["info"]


def info(
    bundle: BundleArgument = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt or tensorrt-rtx: what is to run it.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Show what a bundle is, and what would run it."""
    opened = open_bundle(bundle)
    picked = _picked(opened, device)
    if json:
        manifest = opened.manifest.model_dump(mode="json")
        print(
            dumps(
                {
                    "path": str(opened.path),
                    "sha256": opened.sha256,
                    "manifest": manifest,
                    "engine": picked,
                    "versions": versions(),
                }
            )
        )
        return GOOD
    parts = [
        _about(opened),
        *_engines(opened, picked),
        *_points(opened.manifest),
        *_bands(opened),
        *_monitoring(opened.manifest),
        *_evaluations(opened.manifest),
    ]
    show(console(), *parts, grid({"runtime": ", ".join(f"{name} {number}" for name, number in versions().items())}))
    return GOOD


def _picked(bundle: Bundle, device: str) -> dict[str, Any]:
    """The engine that a detector would take and why not others before it, or the error that it would raise."""
    try:
        engine = open_engine(bundle, device=device)
    except VivavoceError as error:
        return {"file": None, "provider": None, "skipped": [], "error": str(error)}
    return {"file": engine.file.file, "provider": engine.provider, "skipped": list(engine.skipped), "error": None}


def _about(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    model, audio, fit = manifest.model, manifest.audio, manifest.calibration
    rate = audio.sample_rate
    return grid(
        {
            "bundle": f"{manifest.name} {manifest.version}",
            "": manifest.description,
            "folder": str(bundle.path),
            "sha256": f"{bundle.sha256} (of the manifest)",
            "model": f"{model.front_end} + {model.back_end}, {model.parameters:,} parameters",
            "licence": model.licence,
            "trained on": ", ".join(model.corpora) or "not stated",
            "audio": f"{rate} Hz, window {audio.window / rate:g} s, hop {audio.hop / rate:g} s, "
            f"at least {audio.minimum_speech:g} s of speech, normalization: {audio.normalization}",
            "calibration": f"LLR = {fit.scale:.4g} × score {fit.offset:+.4g}, prior {fit.prior:g}; fitted on {fit.corpus}: "
            f"{fit.bonafide:,} bona fide and {fit.spoof:,} spoof trials"
            if fit
            else "none: scores are passed on as they are",
        }
    )


def _engines(bundle: Bundle, picked: dict[str, Any]) -> Iterator[Table]:
    rows = []
    for engine in bundle.manifest.engines:
        path = bundle.path / engine.file
        runs = picked["provider"] if engine.file == picked["file"] else None
        target = " ".join([engine.target, *(f"{name} {needed}" for name, needed in engine.requires.items())])
        length = size(path.stat().st_size) if path.is_file() else "missing"
        rows.append((engine.file, f"{engine.kind} {engine.precision}", target, length, runs or ""))
    yield table(("engine", "precision", "target", "size", "picked here"), rows)
    if picked["error"]:
        yield grid({"problem": picked["error"]})
    if picked["skipped"]:
        yield grid({"passed over": "\n".join(picked["skipped"])})


def _points(manifest: Manifest) -> Iterator[Table]:
    """One table for each set of trials on which thresholds were measured."""
    where = {point: _measured_on(point) for point in manifest.operating_points}
    scale = "LLR" if manifest.calibration else "score"
    for trials in dict.fromkeys(where.values()):
        rows = [
            (
                f"{point.name} (default)" * (point.name == manifest.default_operating_point) or point.name,
                f"{point.threshold:+.3f}",
                _rate(point.fpr),
                _rate(point.fnr),
            )
            for point in manifest.operating_points
            if where[point] == trials
        ]
        yield table(("one threshold", f"{scale} from", "spoofs accepted", "living not accepted"), rows, title=trials)


def _bands(bundle: Bundle) -> Iterator[Table]:
    """What becomes of living and synthetic voices with two thresholds, for each pair of equal rates."""
    rows = [
        (f"{_both(band)} {who}", *(_rate(share).replace(" %", "") for share in shares.all()))
        for band in symmetric(bundle)
        for who, shares in (("living", band.living), ("spoof", band.synthetic))
        if shares
    ]
    if rows:
        header = ("voices", "accepted", "undecided", "rejected")
        yield table(header, rows, title="Two thresholds: accept fpr, reject fnr; in %")


def _both(band: Band) -> str:
    """The rate of both thresholds, such as "5%"."""
    return band.name.rpartition("=")[2]


def _measured_on(point: OperatingPoint) -> str:
    spoof = f"{point.fpr.trials:,} spoof" if point.fpr else None
    bonafide = f"{point.fnr.trials:,} bona fide" if point.fnr else None
    trials = " and ".join(filter(None, (bonafide, spoof)))
    return f"Measured on {point.corpus or 'an unnamed corpus'}: {trials} trials" if trials else "Not measured"


def _rate(rate: Rate | None) -> str:
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}–{100 * rate.high:.1f})" if rate else "–"


def _monitoring(manifest: Manifest) -> Iterator[Table]:
    """How often a monitor cries wolf, and what it catches for it."""
    rows = [
        (
            f"{row.false_alarms.value:.1f} ({row.false_alarms.low:.1f}–{row.false_alarms.high:.1f})",
            _rate(row.caught),
            f"{row.alarm_after} × {row.hop:g} s below {row.threshold:+.2f}",
        )
        for row in manifest.monitoring
    ]
    if rows:
        title = f"Hours of listening, on {manifest.monitoring[0].corpus}"
        yield table(("false alarms an hour", "caught in a minute", "alarm at windows"), rows, title=title)


def _evaluations(manifest: Manifest) -> Iterator[Table]:
    """A column for each set of trials and engine, a row for each metric."""
    sets = list(dict.fromkeys((one.corpus, one.subset, one.engine) for one in manifest.evaluations))
    found = {(one.metric, one.corpus, one.subset, one.engine): one for one in manifest.evaluations}
    counts = {one: next(e for e in manifest.evaluations if (e.corpus, e.subset, e.engine) == one) for one in sets}
    several = len({engine for *_, engine in sets}) > 1
    header = [
        f"{corpus} {subset}, {counts[corpus, subset, engine].bonafide:,} and {counts[corpus, subset, engine].spoof:,}"
        f"{f', {engine}' if several else ''}"
        for corpus, subset, engine in sets
    ]
    metrics = dict.fromkeys(one.metric for one in manifest.evaluations)
    rows = [(metric, *(_figure(found.get((metric, *one))) for one in sets)) for metric in metrics]
    if rows:
        yield table(("95 % intervals", *header), rows, title="Error rates, on living and synthetic recordings")
    if manifest.regression:
        yield _regression(manifest.regression)


def _figure(one: Evaluation | None) -> str:
    if one is None:
        return "–"
    if one.metric.split()[0] in ("EER", "HTER", "FNR", "FPR"):
        return _rate(Rate(value=one.value, low=one.low, high=one.high, trials=1))
    return f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})"


def _regression(found: Regression) -> Table:
    differences = [f"{one.metric} {one.value:+.4f} ({one.low:+.4f} to {one.high:+.4f})" for one in found.differences]
    trials = f"{found.bonafide:,} bona fide and {found.spoof:,} spoof trials of {found.corpus}, {found.subset}"
    return grid(
        {
            "compared": f"{found.candidate} with {found.reference} on {trials}",
            "differences": ", ".join(differences),
            "other decisions": _rate(found.flips[0].share),
            "limits": "; ".join(found.broken) or ("kept" if found.limits else "none were set"),
        }
    )

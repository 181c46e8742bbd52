"""A bundle gets its calibration: scores of a development set become the map, thresholds and figures of its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vivavoce.bundle import Bundle, Evaluation, Manifest
from vivavoce.bundle_writing import write_bundle
from vivavoce.errors import ConfigurationError

from .corpora import Trial
from .evaluation import Measured, Subject, measure
from .llr import engine_scores, fit, llr
from .operating_points import table
from .scoring import Scored

__all__ = ["calibrated", "figures_on", "rewritten"]


def calibrated(
    manifest: Manifest,
    trials: Sequence[Trial],
    scores: Sequence[Scored],
    subject: Subject,
    *,
    prior: float = 0.5,
    default: str | None = None,
    draws: int | None = None,
) -> Manifest:
    """The manifest with a calibration, operating points and evaluations from the scores that its bundle gave the trials.

    `default` names the default operating point: by default that of the manifest, where the trials support it, or else "eer".
    Figures and comparisons that the manifest had describe other scores, and are left out.

    Raises ConfigurationError where no map can be fitted, or the default is not among the operating points.
    """
    before = Measured.of(trials, engine_scores(manifest.calibration, np.array([one.score for one in scores])))
    corpus = f"{subject.corpus} {subject.subset}"
    calibration = fit(before.bonafide, before.spoof, corpus=corpus, prior=prior)
    after = Measured(
        llr(calibration, before.bonafide), llr(calibration, before.spoof), before.bonafide_speakers, before.spoof_speakers
    )
    points = {point.name: point for point in table(after.bonafide, after.spoof, corpus=corpus)}
    if default is None:
        default = manifest.default_operating_point if manifest.default_operating_point in points else "eer"
    if default not in points:
        raise ConfigurationError(f'The trials do not support the default "{default}". Choose one of: {", ".join(points)}.')
    return manifest.model_copy(
        update={
            "calibration": calibration,
            "operating_points": tuple(points.values()),
            "default_operating_point": default,
            "evaluations": measure(after, subject, points[default], calibrated=True, draws=draws),
            "monitoring": (),
            "regression": None,
        }
    )


def figures_on(
    trials: Sequence[Trial],
    scores: Sequence[Scored],
    before: Manifest,
    after: Manifest,
    subject: Subject,
    *,
    draws: int | None = None,
) -> tuple[Evaluation, ...]:
    """The figures that a calibrated manifest has on further trials, from the scores of the bundle before its calibration."""
    values = llr(after.calibration, engine_scores(before.calibration, np.array([one.score for one in scores])))
    return measure(Measured.of(trials, values), subject, after.default_point, calibrated=True, draws=draws)


def rewritten(bundle: Bundle, manifest: Manifest, folder: Path) -> Bundle:
    """Writes a bundle's files with another manifest to a new folder. Raises as `write_bundle` does."""
    return write_bundle(folder, manifest, {name: bundle.read(name, digest) for name, digest in bundle.listed().items()})

"""The regression gate: whether one engine may stand in for another, such as INT8 for the float32 that it comes from.

An EER that stays the same can hide that other trials are wrong now. So besides the metrics it compares the scores, and above
all the decisions at the shipped threshold: over the corpus and within its systems, codecs and durations.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import pearsonr, spearmanr

from vivavoce.bundle import Calibration, Difference, Flips, Manifest, Regression
from vivavoce.errors import ConfigurationError

from .corpora import Trial
from .evaluation import LEVEL, Measured, parts
from .llr import engine_scores, llr
from .metrics import FloatArray, Metric, act_dcf, bootstrap_draws, cllr, eer, eer_threshold, min_dcf
from .operating_points import clopper_pearson
from .scoring import Scored, Scorer

__all__ = ["Limits", "Side", "compare", "load_limits"]

FIELDS = ("system", "codec", "duration")


class Limits(BaseModel):
    """How far a candidate may be from the reference; None sets no limit.

    A limit must be shown to be kept: where its figure has an interval, the interval's worse end counts, so a corpus that is
    too small to tell breaks it. Of the many parts, one breaks `part_flips` when it is shown to be beyond it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    eer: float | None = None
    """How much the EER may rise; 0.005 is half a percentage point."""
    min_dcf: float | None = None
    act_dcf: float | None = None
    cllr: float | None = None
    pearson: float | None = Field(default=None, ge=-1, le=1)
    """The lowest correlation of the scores, and of their ranks."""
    spearman: float | None = Field(default=None, ge=-1, le=1)
    largest_difference: float | None = Field(default=None, ge=0)
    """Of the two scores of one trial, in units of the scores compared."""
    flips: float | None = Field(default=None, ge=0, le=1)
    """The share of all trials that may be decided differently."""
    part_flips: float | None = Field(default=None, ge=0, le=1)
    """The same within each system, codec and duration."""


def load_limits(path: Path) -> Limits:
    """Reads limits from a TOML file with the fields of `Limits`. Raises ConfigurationError for one that cannot be used."""
    fields = ", ".join(Limits.model_fields)
    try:
        limits = Limits.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ConfigurationError(f"The limits {path} cannot be used: {fault}. Set numbers for some of: {fields}.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"The limits {path} cannot be read: {error}. Set numbers for some of: {fields}.") from error
    if not limits.model_dump(exclude_none=True):
        raise ConfigurationError(f"{path} sets no limit. Set some of: {fields}.")
    return limits


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: an engine, its scores as the bundle gives them, and what the bundle makes of them."""

    name: str
    sha256: str
    scores: FloatArray
    calibration: Calibration | None
    threshold: float
    """The shipped one; without a calibration it is not used."""

    @classmethod
    def of(cls, scorer: Scorer, scores: Sequence[Scored], manifest: Manifest | None = None) -> Side:
        """What a bundle's scores of a corpus are, with the bundle's default operating point; under another calibration where
        one came after the scores, in another manifest."""
        detector = scorer.detector()
        before, file = detector.bundle.manifest, detector.engine.file
        values = np.array([one.score for one in scores])
        if manifest is not None:
            values = llr(manifest.calibration, engine_scores(before.calibration, values))
        manifest = manifest or before
        name = f"{manifest.name} {manifest.version} {file.file}"
        return cls(name, file.sha256, values, manifest.calibration, manifest.default_point.threshold)


def compare(
    trials: Sequence[Trial],
    candidate: Side,
    reference: Side,
    *,
    corpus: str,
    subset: str,
    limits: Limits | None = None,
    draws: int | None = None,
) -> Regression:
    """What became of the reference's scores and decisions on the trials, and which limits that breaks.

    Where both sides have a calibration, each decides by its own, as it would in use. A candidate without one is compared by
    that of the reference; where the reference has none either, by the engines' own scores at the reference's EER threshold.

    Raises ConfigurationError where a class has fewer than two trials, or a side not one score for each.
    """
    draws = draws or bootstrap_draws(len(trials))
    kind, (scores, threshold), (others, other_threshold) = _comparable(trials, candidate, reference)
    measured, known = Measured.of(trials, scores), Measured.of(trials, others)
    distances = np.abs(scores - others)
    found = Regression(
        candidate=candidate.name,
        candidate_sha256=candidate.sha256,
        reference=reference.name,
        reference_sha256=reference.sha256,
        corpus=corpus,
        subset=subset,
        bonafide=measured.bonafide.size,
        spoof=measured.spoof.size,
        level=LEVEL,
        scores=kind,
        differences=tuple(_differences(measured, known, draws, calibrated=kind != "uncalibrated")),
        pearson=_correlation(pearsonr, scores, others),
        spearman=_correlation(spearmanr, scores, others),
        largest_difference=float(distances.max()),
        furthest_trial=trials[int(distances.argmax())].id,
        flips=tuple(_flips(trials, scores >= threshold, others >= other_threshold)),
        limits=limits.model_dump(exclude_none=True) if limits else {},
    )
    return found.model_copy(update={"broken": tuple(_broken(found, limits or Limits()))})


Kind = Literal["calibrated", "reference", "uncalibrated"]
Compared = tuple[FloatArray, float]


def _comparable(trials: Sequence[Trial], candidate: Side, reference: Side) -> tuple[Kind, Compared, Compared]:
    """What is compared, and of each side the scores and the threshold."""
    if candidate.calibration and reference.calibration:
        return "calibrated", (candidate.scores, candidate.threshold), (reference.scores, reference.threshold)
    own = engine_scores(candidate.calibration, candidate.scores)
    if reference.calibration:
        return "reference", (llr(reference.calibration, own), reference.threshold), (reference.scores, reference.threshold)
    known = Measured.of(trials, reference.scores)
    threshold = eer_threshold(known.bonafide, known.spoof)
    return "uncalibrated", (own, threshold), (reference.scores, threshold)


METRICS: dict[str, tuple[str, Metric]] = {
    "eer": ("EER", eer),
    "min_dcf": ("minDCF", min_dcf),
    "act_dcf": ("actDCF", act_dcf),
    "cllr": ("Cllr", cllr),
}


def _differences(candidate: Measured, reference: Measured, draws: int, *, calibrated: bool) -> Iterator[Difference]:
    for field, (name, metric) in METRICS.items():
        if calibrated or field in ("eer", "min_dcf"):
            found = candidate.beyond(reference, metric, draws)
            known = metric(reference.bonafide, reference.spoof)
            yield Difference(metric=name, reference=known, value=found.value, low=found.low, high=found.high)


def _flips(trials: Sequence[Trial], accepted: NDArray[np.bool_], before: NDArray[np.bool_]) -> Iterator[Flips]:
    """The flips of the whole corpus, and of its parts."""
    genuine = np.array([trial.key == "bonafide" for trial in trials])
    everything = ("all", "all", np.ones(len(trials), np.bool_))
    for by, name, mask in (everything, *parts(trials, FIELDS)):
        flipped = mask & (accepted != before)
        yield Flips(
            by=by,
            name=name,
            share=clopper_pearson(int(flipped.sum()), int(mask.sum()), level=LEVEL),
            bonafide_rejected=int((flipped & genuine & ~accepted).sum()),
            bonafide_accepted=int((flipped & genuine & accepted).sum()),
            spoof_accepted=int((flipped & ~genuine & accepted).sum()),
            spoof_rejected=int((flipped & ~genuine & ~accepted).sum()),
        )


def _correlation(kind: Any, scores: FloatArray, others: FloatArray) -> float:
    """The correlation to 12 decimals, so that equal scores give 1; 0 where one side scores all trials alike."""
    return round(float(kind(scores, others).statistic), 12) if np.ptp(scores) and np.ptp(others) else 0.0


def _broken(found: Regression, limits: Limits) -> Iterator[str]:
    """One sentence for each limit that is not kept."""
    differences = {one.metric: one for one in found.differences}
    for field, (name, _) in METRICS.items():
        if (limit := getattr(limits, field)) is None:
            continue
        if name not in differences:
            yield f"{name} cannot be measured, for neither engine is calibrated; its limit is {limit:g}"
        elif (difference := differences[name]).high > limit:
            yield f"{name} rises by up to {difference.high:.4f} ({difference.value:+.4f} measured), the limit is {limit:g}"
    for field in ("pearson", "spearman"):
        limit, value = getattr(limits, field), getattr(found, field)
        if limit is not None and value < limit:
            yield f"the {field.title()} correlation is {value:.4f}, the limit is {limit:g}"
    if limits.largest_difference is not None and found.largest_difference > limits.largest_difference:
        yield (
            f"the scores of {found.furthest_trial} are {found.largest_difference:.3f} apart, "
            f"the limit is {limits.largest_difference:g}"
        )
    yield from _broken_by_flips(found.flips, limits)


def _broken_by_flips(flips: Sequence[Flips], limits: Limits) -> Iterator[str]:
    everywhere, *rest = flips
    if limits.flips is not None and everywhere.share.high > limits.flips:
        share = everywhere.share
        yield f"up to {share.high:.2%} of the decisions flip ({share.value:.2%} measured), the limit is {limits.flips:.2%}"
    for one in rest:
        if limits.part_flips is not None and one.share.low > limits.part_flips:
            yield (
                f"{one.share.value:.2%} of the {one.share.trials} decisions of {one.by} {one.name} flip, "
                f"the limit is {limits.part_flips:.2%}"
            )

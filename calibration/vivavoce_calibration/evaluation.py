"""The figures of a bundle on a corpus: error rates, costs, decisions, and the parts of the corpus that they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vivavoce.bundle import Bundle, Evaluation, Manifest, OperatingPoint, Rate
from vivavoce.result import Segment

from .breakdown import OF_ATTACKS, slices, split_scores
from .challenges.files import Verifier
from .challenges.scorecard import ASV, CM, SASV, Figure, figures, verifier_kinds
from .corpora import CorpusError, Key, Trial
from .decisions import Outcome, outcomes, verdicts
from .llr import min_cllr
from .metrics import (
    FloatArray,
    Interval,
    Metric,
    Speakers,
    act_dcf,
    bootstrap_draws,
    cllr,
    eer,
    error_rates,
    interval,
    min_dcf,
    paired_interval,
    roc_auc,
)
from .operating_points import clopper_pearson
from .scoring import Scored, Scorer

__all__ = [
    "LEVEL",
    "Decisions",
    "Measured",
    "Part",
    "Report",
    "Subject",
    "Worst",
    "evaluate",
    "measure",
    "parts",
    "with_durations",
]

LEVEL = 0.95
FIELDS = ("seen", "system", "system_type", "vocoder", "source", "codec", "transmission", "duration", "snr", "language")
RARE = 5
"""Trials below which a part is told together with others."""
WORST = 10


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(_Frozen):
    """What was evaluated, on what."""

    bundle: str
    manifest_sha256: str
    engine: str
    corpus: str
    subset: str
    environment: dict[str, str] = {}
    """The versions of what ran."""

    @classmethod
    def of(cls, scorer: Scorer, corpus: str, subset: str) -> Subject:
        """What a scorer scores with, on a subset of a corpus."""
        manifest, identity = Bundle(scorer.bundle).manifest, scorer.identity()
        return cls(
            bundle=f"{manifest.name} {manifest.version}",
            manifest_sha256=identity.pop("manifest_sha256"),
            engine=identity.pop("engine"),
            corpus=corpus,
            subset=subset,
            environment=identity,
        )


class Decisions(_Frozen):
    """What the detector decides about the trials of one class at the shipped threshold, the speech gate on."""

    key: Key
    accepted: int
    rejected: int
    undecided: dict[str, int]
    """How many are left undecided, by reason."""


class Part(_Frozen):
    """One part of the corpus. `eer` needs five trials of each class; a class without trials has no rate.

    By "system", "system_type" or "vocoder" a part is the spoofs of one against all bona fide trials, and has no `fnr` of its
    own.
    """

    by: str
    name: str
    bonafide: int
    spoof: int
    undecided: int
    eer: Rate | None
    fnr: Rate | None
    fpr: Rate | None


class Worst(_Frozen):
    """A trial whose score is far on the wrong side."""

    id: str
    audio: str
    key: Key
    score: float
    system: str | None
    source: str | None
    reason: str | None
    segments: tuple[Segment, ...] = ()
    """The scores of its parts, where segments were asked for."""


class Report(_Frozen):
    """Everything that was measured, ready to be written as JSON."""

    subject: Subject
    date: str = ""
    """The day, as 2026-11-29."""
    command: str = ""
    """What was called to measure it."""
    threshold: OperatingPoint
    """The shipped operating point, with the rates that the bundle's manifest gives for it."""
    calibrated: bool
    bonafide: int
    spoof: int
    speakers: int
    level: float
    draws: int
    figures: tuple[Evaluation, ...]
    operating_points: tuple[OperatingPoint, ...]
    """The bundle's thresholds, with the rates that they have here."""
    decisions: tuple[Decisions, Decisions]
    outcomes: tuple[Outcome, ...]
    """What the shipped thresholds make of the recordings, by file format and telephone line."""
    parts: tuple[Part, ...]
    worst: tuple[Worst, ...]
    segments: tuple[Figure, ...] = ()
    """How well segments tell which part of an utterance is spoofed, where labels of segments are there and were asked for."""


@dataclass(frozen=True)
class Measured:
    """The scores of both classes, and their speakers, for the intervals."""

    bonafide: FloatArray
    spoof: FloatArray
    bonafide_speakers: tuple[str | None, ...]
    spoof_speakers: tuple[str | None, ...]

    @classmethod
    def of(cls, trials: Sequence[Trial], scores: FloatArray) -> Measured:
        bonafide, spoof = split_scores(trials, scores)
        speakers: dict[str, list[str | None]] = {"bonafide": [], "spoof": []}
        for trial in trials:
            speakers[trial.key].append(trial.speaker)
        return cls(bonafide, spoof, tuple(speakers["bonafide"]), tuple(speakers["spoof"]))

    def interval(self, metric: Metric, draws: int) -> Interval:
        """The metric with its bootstrap interval over speakers; over trials where a class has no two speakers."""
        return interval(metric, self.bonafide, self.spoof, **self._speakers(), draws=draws, level=LEVEL)

    def beyond(self, reference: Measured, metric: Metric, draws: int) -> Interval:
        """By how much the metric exceeds that of other scores of the same trials, with a paired interval."""
        own, other = (self.bonafide, self.spoof), (reference.bonafide, reference.spoof)
        return paired_interval(metric, own, other, **self._speakers(), draws=draws, level=LEVEL)

    def _speakers(self) -> Any:
        classes = {"bonafide_speakers": self.bonafide_speakers, "spoof_speakers": self.spoof_speakers}
        return {name: who if len(set(who)) > 1 else None for name, who in classes.items()}


def evaluate(
    trials: Sequence[Trial],
    scores: Sequence[Scored],
    manifest: Manifest,
    subject: Subject,
    *,
    operating_point: OperatingPoint | None = None,
    verifier: Verifier | None = None,
    lines: Mapping[str, Sequence[Scored]] | None = None,
    draws: int | None = None,
) -> Report:
    """The report on a bundle's scores, one for each trial, in the same order.

    `operating_point` is the one of the manifest to report at; None is the default. `verifier` are the scores of a speaker
    verifier behind the countermeasure: they add t-DCF and t-EER, and where they tell their utterances a-DCF and the EERs of
    SASV for the verifier behind this gate, which accepts what scores at least the threshold. `lines` are the scores of the same
    trials through telephone lines, by the lines' names. Intervals are of level 0.95: those of FNR and FPR are Clopper and
    Pearson's; all others come from `draws` of the bootstrap over speakers, by default 1,000, fewer for more than 10,000 trials.
    Raises ConfigurationError where a class has fewer than two trials.
    """
    trials = with_durations(trials, scores)
    values = np.array([one.score for one in scores])
    draws = draws or bootstrap_draws(len(trials))
    points = {point.name: point for point in manifest.operating_points}
    shipped = operating_point or manifest.default_point
    measured = Measured.of(trials, values)
    told = verdicts(scores, manifest, shipped)
    return Report(
        subject=subject,
        threshold=shipped,
        calibrated=manifest.calibration is not None,
        bonafide=measured.bonafide.size,
        spoof=measured.spoof.size,
        speakers=len({trial.speaker for trial in trials if trial.speaker}),
        level=LEVEL,
        draws=draws,
        figures=(
            *measure(measured, subject, shipped, calibrated=manifest.calibration is not None, draws=draws),
            *(_tandem(verifier, trials, values, measured, subject, shipped, draws) if verifier else ()),
        ),
        operating_points=tuple(_here(point, measured, subject.corpus) for point in points.values()),
        decisions=(_decisions("bonafide", trials, scores, told), _decisions("spoof", trials, scores, told)),
        outcomes=tuple(
            outcomes(trials, told, {name: verdicts(arrived, manifest, shipped) for name, arrived in (lines or {}).items()})
        ),
        parts=tuple(_parts(trials, scores, values, shipped.threshold, draws)),
        worst=_worst(trials, scores),
    )


def with_durations(trials: Sequence[Trial], scores: Sequence[Scored]) -> list[Trial]:
    """The trials with the durations and noise that were found when they were scored; few corpora tell them."""
    return [replace(trial, duration=one.duration, snr=one.snr) for trial, one in zip(trials, scores, strict=True)]


def measure(
    measured: Measured,
    subject: Subject,
    point: OperatingPoint,
    *,
    calibrated: bool,
    draws: int | None = None,
) -> tuple[Evaluation, ...]:
    """The figures of a corpus. Cllr, minCllr and actDCF are of log-likelihood ratios: other scores have none."""
    draws = draws or bootstrap_draws(measured.bonafide.size + measured.spoof.size)
    metrics: dict[str, Metric] = {"EER": eer, "minDCF": min_dcf, "AUC": roc_auc}
    if calibrated:
        metrics |= {"actDCF": act_dcf, "Cllr": cllr, "minCllr": min_cllr}
    metrics[f"HTER at {point.name}"] = lambda bonafide, spoof: error_rates(bonafide, spoof, point.threshold).hter
    found: dict[str, Interval | Rate] = {name: measured.interval(metric, draws) for name, metric in metrics.items()}
    here = _here(point, measured, subject.corpus)
    for name, rate in (("FNR", here.fnr), ("FPR", here.fpr)):
        if rate:
            found[f"{name} at {point.name}"] = rate
    return tuple(_evaluation(name, one.value, one.low, one.high, measured, subject) for name, one in found.items())


def _evaluation(name: str, value: float, low: float, high: float, measured: Measured, subject: Subject) -> Evaluation:
    return Evaluation(
        metric=name,
        value=value,
        low=low,
        high=high,
        level=LEVEL,
        corpus=subject.corpus,
        subset=subject.subset,
        bonafide=measured.bonafide.size,
        spoof=measured.spoof.size,
        engine=subject.engine,
    )


def _tandem(
    verifier: Verifier,
    trials: Sequence[Trial],
    values: FloatArray,
    measured: Measured,
    subject: Subject,
    point: OperatingPoint,
    draws: int,
) -> Iterator[Evaluation]:
    """The metrics of the countermeasure together with a verifier, all trials of both drawn."""
    classes = dict(zip(CM, (measured.bonafide, measured.spoof), strict=True)) | verifier_kinds(verifier)
    speakers: dict[str, Speakers] = dict(zip(CM, (measured.bonafide_speakers, measured.spoof_speakers), strict=True))
    if verifier.utterances:
        accepted = {trial.id: value >= point.threshold for trial, value in zip(trials, values, strict=True)}
        who = {trial.id: trial.speaker for trial in trials}
        if missing := [name for names in verifier.utterances for name in names if name not in accepted]:
            raise CorpusError(
                f"{len(missing)} utterances of the verifier are not among the trials, such as {missing[0]}. "
                "Give scores of utterances that are evaluated."
            )
        for asv, fused, names in zip(ASV, SASV, verifier.utterances, strict=True):
            passed = np.array([accepted[name] for name in names])
            classes[fused] = np.where(passed, classes[asv], -np.inf)
            speakers[asv] = speakers[fused] = [who[name] for name in names]
    for one in figures(classes, speakers, draws=draws, beyond=CM):
        low, high = (one.value if end is None else end for end in (one.low, one.high))
        yield _evaluation(one.metric, one.value, low, high, measured, subject)


def _here(point: OperatingPoint, measured: Measured, corpus: str) -> OperatingPoint:
    """An operating point with the rates that its threshold has on these trials."""
    rejected = int(np.count_nonzero(measured.bonafide < point.threshold))
    accepted = int(np.count_nonzero(measured.spoof >= point.threshold))
    return OperatingPoint(
        name=point.name,
        threshold=point.threshold,
        fpr=clopper_pearson(accepted, measured.spoof.size, level=LEVEL),
        fnr=clopper_pearson(rejected, measured.bonafide.size, level=LEVEL),
        corpus=corpus,
    )


def _decisions(key: Key, trials: Sequence[Trial], scores: Sequence[Scored], told: NDArray[np.str_]) -> Decisions:
    own = [(one, verdict) for trial, one, verdict in zip(trials, scores, told.tolist(), strict=True) if trial.key == key]
    counts = Counter(verdict for _, verdict in own)
    undecided = Counter(one.reason or "between" for one, verdict in own if verdict == "undecided")
    return Decisions(key=key, accepted=counts["bonafide"], rejected=counts["spoof"], undecided=dict(undecided.most_common()))


def _parts(
    trials: Sequence[Trial], scores: Sequence[Scored], values: FloatArray, threshold: float, draws: int
) -> Iterator[Part]:
    undecided = np.array([one.reason is not None for one in scores])
    genuine = np.array([trial.key == "bonafide" for trial in trials])
    for by, name, mask in parts(trials, FIELDS):
        rivals = genuine if by in OF_ATTACKS else False
        own = Measured.of([trials[int(index)] for index in np.flatnonzero(mask | rivals)], values[mask | rivals])
        yield _part(by, name, own, int(undecided[mask].sum()), threshold, draws)


def parts(trials: Sequence[Trial], fields: Sequence[str]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """The parts of a corpus by those of the fields that it tells: field, name, and which trials, as an array (trials,).

    By "system", "system_type" or "vocoder" a part is spoofs alone. By any other field, the parts of fewer than `RARE` trials
    are one.
    """
    genuine = np.array([trial.key == "bonafide" for trial in trials])
    for field in fields:
        if all(getattr(trial, field) is None for trial in trials):
            continue
        rare = []
        for name, mask in slices(trials, field):
            if field in OF_ATTACKS:
                yield field, name, mask & ~genuine
            elif np.count_nonzero(mask) >= RARE:
                yield field, name, mask
            else:
                rare.append(mask)
        if rare:
            yield field, f"{len(rare)} with fewer than {RARE} trials", np.logical_or.reduce(rare)


def _part(by: str, name: str, own: Measured, undecided: int, threshold: float, draws: int) -> Part:
    bonafide, spoof = own.bonafide.size, own.spoof.size
    error = own.interval(eer, draws) if min(bonafide, spoof) >= RARE else None
    rejected, accepted = np.count_nonzero(own.bonafide < threshold), np.count_nonzero(own.spoof >= threshold)
    return Part(
        by=by,
        name=name,
        bonafide=bonafide,
        spoof=spoof,
        undecided=undecided,
        eer=Rate(value=error.value, low=error.low, high=error.high, trials=bonafide + spoof) if error else None,
        fnr=clopper_pearson(int(rejected), bonafide) if bonafide and by not in OF_ATTACKS else None,
        fpr=clopper_pearson(int(accepted), spoof) if spoof else None,
    )


def _worst(trials: Sequence[Trial], scores: Sequence[Scored]) -> tuple[Worst, ...]:
    """The bona fide trials with the lowest scores and the spoofs with the highest."""
    order = sorted(zip(trials, scores, strict=True), key=lambda pair: pair[1].score)
    lowest = [pair for pair in order if pair[0].key == "bonafide"][:WORST]
    highest = [pair for pair in reversed(order) if pair[0].key == "spoof"][:WORST]
    return tuple(
        Worst(
            id=trial.id,
            audio=str(trial.audio),
            key=trial.key,
            score=one.score,
            system=trial.system,
            source=trial.source,
            reason=one.reason,
        )
        for trial, one in (*lowest, *highest)
    )

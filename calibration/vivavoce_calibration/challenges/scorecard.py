"""The scorecard of a system: every metric of the challenges that its scores allow, over all trials and by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..breakdown import OF_ATTACKS
from ..corpora import CorpusError
from ..metrics import (
    FloatArray,
    Speakers,
    act_dcf,
    bootstrap_draws,
    cllr,
    eer,
    eer_interpolated,
    joint_interval,
    min_dcf,
    roc_auc,
)
from .files import KINDS, Matched, Verifier
from .tandem import ADCF_PAPER, asv_error_rates_at_eer, min_adcf, min_tdcf_2019, min_tdcf_2021, sasv_eer, t_eer

__all__ = ["ASV", "CM", "METRICS", "SASV", "Figure", "Part", "Scorecard", "figures", "scorecard", "verifier_kinds"]

LEVEL = 0.95
CM = ("bona fide", "spoofed")
ASV = ("target", "nontarget", "spoof of a target")
SASV = ("fused target", "fused nontarget", "fused spoof")
OF = {name: kind for kind, names in (("cm", CM), ("asv", ASV), ("sasv", SASV)) for name in names}
"""The scores that the trials of each kind have."""
BY = ("system", "system_type", "codec", "transmission", "source", "language")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, the kinds of trial whose scores it takes in that order, and the challenges that print it."""

    name: str
    of: Callable[..., float]
    kinds: tuple[str, ...]
    printed_by: tuple[str, ...] = ()


def _before_verifier(metric: Callable[..., float], *classes: FloatArray) -> float:
    return metric(*classes[:2], asv=asv_error_rates_at_eer(*classes[2:]))


def _rate(index: int, *classes: FloatArray) -> float:
    return asv_error_rates_at_eer(*classes)[index]


METRICS = (
    Metric("EER", eer, CM, ("asvspoof2019", "asvspoof2021", "asvspoof5", "ctrsvdd", "svdd", "add")),
    Metric("minDCF", min_dcf, CM, ("asvspoof5",)),
    Metric("actDCF", act_dcf, CM, ("asvspoof5",)),
    Metric("Cllr", cllr, CM, ("asvspoof5",)),
    Metric("AUC", roc_auc, CM),
    Metric("min t-DCF 2021, verifier of ASVspoof 5", min_tdcf_2021, CM, ("asvspoof5",)),
    Metric("min t-DCF 2019", partial(_before_verifier, min_tdcf_2019), CM + ASV, ("asvspoof2019",)),
    Metric("min t-DCF 2021", partial(_before_verifier, min_tdcf_2021), CM + ASV, ("asvspoof2021", "asvspoof5")),
    Metric("t-EER", t_eer, CM + ASV, ("asvspoof5",)),
    Metric("verifier's EER", lambda target, nontarget, _: eer(target, nontarget), ASV, ("asvspoof2019", "asvspoof2021")),
    Metric("verifier's miss rate", partial(_rate, 0), ASV, ("asvspoof2019", "asvspoof2021")),
    Metric("verifier's false alarm rate", partial(_rate, 1), ASV, ("asvspoof2019", "asvspoof2021")),
    Metric("verifier's spoof false alarm rate", partial(_rate, 2), ASV, ("asvspoof2019", "asvspoof2021")),
    Metric("min a-DCF", min_adcf, SASV, ("asvspoof5",)),
    Metric("min a-DCF, costs of the paper", partial(min_adcf, costs=ADCF_PAPER), SASV),
    Metric("SASV-EER", sasv_eer, SASV),
    Metric("SV-EER", eer, SASV[:2]),
    Metric("SPF-EER", eer, SASV[::2]),
    Metric("SASV-EER, interpolated", partial(sasv_eer, eer=eer_interpolated), SASV, ("sasvc2022",)),
    Metric("SV-EER, interpolated", eer_interpolated, SASV[:2], ("sasvc2022",)),
    Metric("SPF-EER, interpolated", eer_interpolated, SASV[::2], ("sasvc2022",)),
)
"""All metrics, in the order in which they are told. Each is of `eer` and the like; see `tandem` for those with a verifier."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Frozen):
    """A metric with its bootstrap interval; None for its ends where no draws were asked for."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None


class Part(_Frozen):
    """One part of the trials: by "system" or "system_type" the spoofs of one against all bona fide trials."""

    by: str
    name: str
    bonafide: int
    spoof: int
    figures: dict[str, float]


class Scorecard(_Frozen):
    """Everything that was computed, ready to be written as JSON."""

    bonafide: int
    spoof: int
    kinds: dict[str, int]
    """How many trials of each kind have scores."""
    level: float
    draws: int
    figures: tuple[Figure, ...]
    parts: tuple[Part, ...]


Classes = Mapping[str, FloatArray]


def scorecard(matched: Matched, verifier: Verifier | None = None, *, draws: int | None = None) -> Scorecard:
    """The scorecard of trials with their scores; `verifier` are its scores where they are in a file of their own.

    `draws` of the bootstrap make the intervals, by speaker where the keys tell speakers; None is as many as the trials afford,
    0 makes none. Raises CorpusError where there is no metric for the scores, such as those of a verifier without its kinds.
    """
    genuine = matched.genuine
    places = _places(matched)
    of_verifier = verifier_kinds(verifier) if verifier else {}
    classes = _classes(matched, places) | of_verifier
    speakers = matched.told.get("speaker")
    known: dict[str, Speakers] = {}
    if speakers is not None:
        known = {name: speakers[own].tolist() for name, own in places.items()}
    draws = bootstrap_draws(genuine.size) if draws is None else draws
    told = tuple(figures(classes, known, draws=draws))
    if not told:
        raise CorpusError("No metric is for these scores and keys. Give scores of a class each, and the kinds of a verifier's.")
    return Scorecard(
        bonafide=int(genuine.sum()),
        spoof=int((~genuine).sum()),
        kinds={name: scores.size for name, scores in classes.items()},
        level=LEVEL,
        draws=draws,
        figures=told,
        parts=tuple(_parts(matched, places, of_verifier)),
    )


def figures(
    classes: Classes, speakers: Mapping[str, Speakers] | None = None, *, draws: int, beyond: Sequence[str] = ()
) -> Iterator[Figure]:
    """The metrics that the kinds of trial in `classes` allow, each with its interval, drawn by speaker where these are known.

    The names of the kinds are those of `METRICS`. Metrics of nothing but the kinds in `beyond` are left out. Kinds are drawn
    together, a verifier's with the countermeasure's.
    """
    for metric in METRICS:
        own = {name: classes[name] for name in metric.kinds if classes.get(name) is not None and classes[name].size}
        if len(own) < len(metric.kinds) or set(metric.kinds) <= set(beyond):
            continue
        if not draws:
            yield Figure(metric=metric.name, value=metric.of(*own.values()))
            continue
        drawn = {name: who if who and len(set(who)) > 1 else None for name, who in (speakers or {}).items()}
        found = joint_interval(metric.of, own, speakers=drawn, draws=draws, level=LEVEL)
        yield Figure(metric=metric.name, value=found.value, low=found.low, high=found.high)


def verifier_kinds(verifier: Verifier) -> dict[str, FloatArray]:
    """A verifier's scores by the names of its kinds in `METRICS`."""
    return dict(zip(ASV, (verifier.target, verifier.nontarget, verifier.spoof), strict=True))


def _places(matched: Matched) -> dict[str, NDArray[np.intp]]:
    """The trials of each kind that there are scores for, from the lowest score: in order they sort soon, part by part."""
    masks: dict[str, NDArray[np.bool_]] = {}
    if "cm" in matched.scores:
        masks |= dict(zip(CM, (matched.genuine, ~matched.genuine), strict=True))
    for names, scores in ((ASV, "asv"), (SASV, "sasv")):
        if matched.kinds is not None and scores in matched.scores:
            masks |= {name: matched.kinds == kind for name, kind in zip(names, KINDS, strict=True)}
    orders = {kind: np.argsort(values, kind="stable") for kind, values in matched.scores.items()}
    return {name: (order := orders[OF[name]])[mask[order]] for name, mask in masks.items()}


def _classes(matched: Matched, places: Mapping[str, NDArray[np.intp]]) -> dict[str, FloatArray]:
    return {name: matched.scores[OF[name]][own] for name, own in places.items()}


def _parts(matched: Matched, places: Mapping[str, NDArray[np.intp]], verifier: Classes) -> Iterator[Part]:
    genuine = matched.genuine
    for by in BY:
        values = matched.told.get(by, np.array([], dtype=object)).tolist()
        names = sorted({value for value in values if value is not None})
        numbers = {name: number for number, name in enumerate(names)}
        which = np.array([numbers.get(value, -1) for value in values])
        for number, name in enumerate(names):
            own = which == number
            chosen = own | genuine if by in OF_ATTACKS else own
            classes = _classes(matched, {kind: those[chosen[those]] for kind, those in places.items()})
            told = {one.metric: one.value for one in figures({**verifier, **classes}, draws=0, beyond=tuple(verifier))}
            bonafide, spoof = int(np.count_nonzero(chosen & genuine)), int(np.count_nonzero(chosen & ~genuine))
            yield Part(by=by, name=name, bonafide=bonafide, spoof=spoof, figures=told)

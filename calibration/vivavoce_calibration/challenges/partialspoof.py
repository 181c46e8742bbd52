"""PartialSpoof's figures: how well the segments of a detector tell which part of an utterance is spoofed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vivavoce import Detector
from vivavoce.progress import Advance, quiet
from vivavoce.result import Segment

from ..corpora import CorpusError, Trial
from ..metrics import FloatArray
from ..scoring import Scored
from ..segments import Labelled, labelled_segments, labelled_time, labelled_utterances, segment_labels
from .scorecard import Figure

__all__ = ["located", "segment_figures"]

FINEST = 0.01
"""Seconds of the shortest labels, which stand for the time marks."""


Places = Mapping[str, Sequence[Segment]]


def located(
    trials: Sequence[Trial], detector: Detector, hop: float, advance: Advance = quiet
) -> dict[str, tuple[Segment, ...]]:
    """By id, the segments of `Detector.detect(..., segment_hop=hop)`; `advance` is told of the recordings that were heard."""
    found: dict[str, tuple[Segment, ...]] = {}
    for trial in trials:
        found[trial.id] = detector.detect(trial.audio, segment_hop=hop).segments
        advance(len(found), len(trials))
    return found


def segment_figures(
    trials: Sequence[Trial], scores: Sequence[Scored], places: Places, corpus: Path, hop: float, *, draws: int
) -> tuple[Figure, ...]:
    """Utterance EER by the lowest segment, segment EER at each resolution that has labels, and range-based EER.

    `places` are segments as `located` gives them; where nobody speaks, the recording's own score counts. Labels are
    `segment_labels/*_seglab_*.npy` anywhere under `corpus`, of the trials' subset. Intervals are of level 0.95, from `draws` of
    the bootstrap over speakers; see `Labelled.interval`. Raises CorpusError where there are no labels, ConfigurationError where
    the hop fits no resolution.
    """
    labels = _labels(corpus, {trial.id for trial in trials})
    found = {one.id: _segment_scores(places[one.id], one, hop) for one in scores}
    durations = {one.id: one.duration for one in scores}
    speakers = {trial.id: trial.speaker for trial in trials}
    return tuple(_figure(name, parts, speakers, draws) for name, parts in _labelled(labels, found, durations, hop))


def _figure(name: str, parts: Labelled, speakers: Mapping[str, str | None], draws: int) -> Figure:
    drawn = parts.interval(speakers, draws=draws)
    low, high = (drawn.low, drawn.high) if drawn else (None, None)
    return Figure(metric=name, value=parts.eer(), low=low, high=high)


def _labelled(
    labels: Mapping[float, Mapping[str, NDArray[np.bool_]]],
    scores: Mapping[str, FloatArray],
    durations: Mapping[str, float],
    hop: float,
) -> Iterator[tuple[str, Labelled]]:
    finest = labels[min(labels)]
    yield "utterance EER, by the lowest segment", labelled_utterances(finest, scores)
    for seconds, truth in sorted(labels.items()):
        ratio = max(seconds, hop) / min(seconds, hop)
        if abs(ratio - round(ratio)) < 1e-6:
            yield (
                f"segment EER, {1000 * seconds:g} ms",
                labelled_segments(truth, scores, label_seconds=seconds, score_seconds=hop),
            )
    if min(labels) <= FINEST:
        marks = {name: list(_stretches(truth, FINEST)) for name, truth in finest.items()}
        yield "range-based EER", labelled_time(marks, durations, scores, score_seconds=hop)


def _labels(corpus: Path, ids: set[str]) -> dict[float, dict[str, NDArray[np.bool_]]]:
    """By seconds, the labels of the trials' segments, from the files that have all of them."""
    found: dict[float, dict[str, NDArray[np.bool_]]] = {}
    for path in sorted(corpus.rglob("*_seglab_*.npy")):
        if seconds := re.search(r"_seglab_(\d\.\d+)\.npy$", path.name):
            labels = segment_labels(path)
            if ids <= labels.keys():
                found[float(seconds[1])] = {name: labels[name] for name in ids}
    if not found:
        raise CorpusError(
            f"{corpus} has no labels of these trials' segments. Add segment_labels/*_seglab_*.npy, or leave the hop out."
        )
    return found


def _segment_scores(segments: Sequence[Segment], whole: Scored, hop: float) -> FloatArray:
    scores = np.full(max(1, int(np.ceil(whole.duration / hop - 1e-9))), whole.score)
    for segment in segments:
        scores[min(round(segment.start / hop), len(scores) - 1)] = segment.score
    return scores


def _stretches(truth: NDArray[np.bool_], seconds: float) -> Iterator[tuple[float, float]]:
    """Where runs of spoofed labels begin and end, in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], ~truth, [0])).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield float(start * seconds), float(end * seconds)

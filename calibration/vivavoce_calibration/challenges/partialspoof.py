"""PartialSpoof's figures: how well the segments of a detector tell which part of an utterance is spoofed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vivavoce import Detector

from ..corpora import CorpusError, Trial
from ..metrics import FloatArray
from ..scoring import Scored
from ..segments import range_eer, segment_eer, segment_labels, utterance_eer
from .scorecard import Figure

__all__ = ["segment_figures"]

FINEST = 0.01
"""Seconds of the shortest labels, which stand for the time marks."""


def segment_figures(
    trials: Sequence[Trial], scores: Sequence[Scored], detector: Detector, corpus: Path, hop: float
) -> tuple[Figure, ...]:
    """Utterance EER by the lowest segment, segment EER at each resolution that has labels, and range-based EER.

    Segments are those of `Detector.detect(..., segment_hop=hop)`; where a recording has none, for nobody speaks, its own score
    counts. Labels are `segment_labels/*_seglab_*.npy` anywhere under `corpus`, of the trials' subset. Raises CorpusError where
    there are none, ConfigurationError where the hop fits no resolution.
    """
    labels = _labels(corpus, {trial.id for trial in trials})
    found = {trial.id: _segment_scores(detector, trial.audio, one, hop) for trial, one in zip(trials, scores, strict=True)}
    durations = {one.id: one.duration for one in scores}
    return tuple(_figures(labels, found, durations, hop))


def _figures(
    labels: Mapping[float, Mapping[str, NDArray[np.bool_]]],
    scores: Mapping[str, FloatArray],
    durations: Mapping[str, float],
    hop: float,
) -> Iterator[Figure]:
    finest = labels[min(labels)]
    yield Figure(metric="utterance EER, by the lowest segment", value=utterance_eer(finest, scores))
    for seconds, truth in sorted(labels.items()):
        ratio = max(seconds, hop) / min(seconds, hop)
        if abs(ratio - round(ratio)) < 1e-6:
            error = segment_eer(truth, scores, label_seconds=seconds, score_seconds=hop)
            yield Figure(metric=f"segment EER, {1000 * seconds:g} ms", value=error)
    if min(labels) <= FINEST:
        marks = {name: list(_stretches(truth, FINEST)) for name, truth in finest.items()}
        yield Figure(metric="range-based EER", value=range_eer(marks, durations, scores, score_seconds=hop))


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


def _segment_scores(detector: Detector, audio: Path, whole: Scored, hop: float) -> FloatArray:
    scores = np.full(max(1, int(np.ceil(whole.duration / hop - 1e-9))), whole.score)
    for segment in detector.detect(audio, segment_hop=hop).segments:
        scores[min(round(segment.start / hop), len(scores) - 1)] = segment.score
    return scores


def _stretches(truth: NDArray[np.bool_], seconds: float) -> Iterator[tuple[float, float]]:
    """Where runs of spoofed labels begin and end, in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], ~truth, [0])).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield float(start * seconds), float(end * seconds)

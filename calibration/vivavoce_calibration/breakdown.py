"""Error rates of a countermeasure on the parts of a corpus: by attack, codec, source, language, duration, noise.

One rate for a whole corpus hides the attack that always passes and the telephone line on which nobody is believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.metrics import FloatArray, Metric, eer, eer_threshold

__all__ = ["OF_ATTACKS", "RANGES", "Slice", "breakdown", "slices", "split_scores"]


def split_scores(trials: Sequence[Trial], scores: ArrayLike | Mapping[str, float]) -> tuple[FloatArray, FloatArray]:
    """The scores of the bona fide and of the spoofed trials, each in the order of `trials`.

    `scores` is an array (trials,) or a mapping from a trial's id. Raises ConfigurationError when their number differs,
    or when an id has no score or a score no trial.
    """
    values, genuine = _aligned(trials, scores), _genuine(trials)
    return values[genuine], values[~genuine]


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of a corpus. What needs both classes, or a class that the part has not, is None."""

    name: str
    bonafide: int
    spoof: int
    value: float | None
    """The metric over the part."""
    fnr: float | None
    """The share of its bona fide trials that the threshold of the whole corpus rejects."""
    fpr: float | None
    """The share of its spoofed trials that the threshold of the whole corpus accepts."""


def breakdown(
    trials: Sequence[Trial],
    scores: ArrayLike | Mapping[str, float],
    by: str,
    *,
    metric: Metric = eer,
    threshold: float | None = None,
) -> list[Slice]:
    """A metric, and the error rates at one threshold, for each part of a corpus that `slices` makes.

    The threshold is by default the `eer_threshold` of all trials. Raises ConfigurationError as `slices` and
    `split_scores` do.
    """
    values, genuine = _aligned(trials, scores), _genuine(trials)
    if threshold is None:
        threshold = eer_threshold(values[genuine], values[~genuine])
    parts = []
    for name, mask in slices(trials, by):
        bonafide, spoof = values[mask & genuine], values[mask & ~genuine]
        parts.append(
            Slice(
                name,
                bonafide.size,
                spoof.size,
                metric(bonafide, spoof) if bonafide.size and spoof.size else None,
                float(np.mean(bonafide < threshold)) if bonafide.size else None,
                float(np.mean(spoof >= threshold)) if spoof.size else None,
            )
        )
    return parts


OF_ATTACKS = ("system", "system_type", "family", "seen", "vocoder")
OF_TRIALS = ("codec", "transmission", "source", "language", "speaker", "subset", "duration", "snr")
RANGES = {
    "duration": {"under 1 s": 1.0, "1 to 2 s": 2.0, "2 to 4 s": 4.0, "4 to 8 s": 8.0, "8 s and more": np.inf},
    "snr": {"under 20 dB": 20.0, "20 to 30 dB": 30.0, "30 to 40 dB": 40.0, "40 to 50 dB": 50.0, "50 dB and more": np.inf},
}


def slices(trials: Sequence[Trial], by: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The parts of a corpus by a field of its trials: each part's name, and which trials it has as an array (trials,).

    By "system", "system_type", "family", "seen" or "vocoder", which only spoofs have, a part is the spoofs of one against all
    bona fide trials. By "codec", "transmission", "source", "language", "speaker" or "subset" it is the trials of both classes
    that share the value, by "duration" or "snr" those within a range of seconds or dB. Trials whose field is None are the part
    "unknown".

    Raises ConfigurationError when there is no such field, or no trial has it.
    """
    if by not in OF_ATTACKS + OF_TRIALS:
        raise ConfigurationError(f'No breakdown is by "{by}". Choose one of: {", ".join(OF_ATTACKS + OF_TRIALS)}.')
    names = np.array([_part(trial, by) for trial in trials])
    everywhere = _genuine(trials) if by in OF_ATTACKS else np.zeros(len(trials), dtype=bool)
    found: list[str] = [name for name in np.unique(names[~everywhere]).tolist() if name != UNKNOWN]
    if not found:
        known = [field for field in OF_ATTACKS + OF_TRIALS if any(getattr(trial, field) is not None for trial in trials)]
        raise ConfigurationError(f"The corpus tells no {by} of its trials. Choose one of: {', '.join(known)}.")
    for name in (*sorted(found, key=lambda name: RANGES.get(by, {}).get(name, 0.0)), UNKNOWN):
        part = (names == name) & ~everywhere
        if part.any():
            yield name, part | everywhere


UNKNOWN = "unknown"


def _part(trial: Trial, by: str) -> str:
    value = getattr(trial, by)
    if by in RANGES and value is not None:
        return next(name for name, end in RANGES[by].items() if value < end)
    return UNKNOWN if value is None else str(value)


def _genuine(trials: Sequence[Trial]) -> NDArray[np.bool_]:
    return np.array([trial.key == "bonafide" for trial in trials], dtype=bool)


def _aligned(trials: Sequence[Trial], scores: ArrayLike | Mapping[str, float]) -> FloatArray:
    """The scores in the order of the trials."""
    if isinstance(scores, Mapping):
        ids = {trial.id for trial in trials}
        for some, others, lack in ((ids, scores, "trials have no score"), (scores, ids, "scores have no trial")):
            if missing := [name for name in some if name not in others]:
                raise ConfigurationError(
                    f"{len(missing)} of {len(some)} {lack}, such as {missing[0]}. Score exactly the trials of the list."
                )
        scores = [scores[trial.id] for trial in trials]
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(trials),):
        raise ConfigurationError(f"{len(trials)} trials have scores of shape {values.shape}. Give one for each trial.")
    if failed := [trial.id for trial, value in zip(trials, values, strict=True) if np.isnan(value)]:
        raise ConfigurationError(
            f"{len(failed)} scores are not a number, such as that of {failed[0]}. Find out why scoring failed."
        )
    return values

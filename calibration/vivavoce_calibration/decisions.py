"""What a detector decides at the thresholds that ship: accuracy and errors by file format and telephone line, and a list of
predictions, one for each recording."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vivavoce.bundle import Manifest, OperatingPoint, Rate
from vivavoce.files import replacing
from vivavoce.rates import clopper_pearson

from .corpora import Trial
from .scoring import Scored

__all__ = ["Outcome", "outcomes", "verdicts", "write_predictions"]


class Outcome(BaseModel):
    """What became of recordings: all of them, those of one file format, or all through one telephone line.

    Shares are of all recordings, or of all of one class; one that is left undecided is neither right nor wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    """"all", "format" or "telephone"."""
    name: str
    accuracy: Rate
    """The share of all recordings whose verdict is right."""
    fpr: Rate | None
    """The share of the spoofs that is accepted as bona fide; None where there are none."""
    fnr: Rate | None
    """The share of the bona fide recordings that is rejected as spoof; None where there are none."""
    undecided: Rate
    """The share of all recordings that gets no verdict."""


def verdicts(scores: Sequence[Scored], manifest: Manifest, point: OperatingPoint) -> NDArray[np.str_]:
    """The verdict of a detector at one operating point on each recording, as an array (trials,)."""
    accept = point.threshold
    # As `vivavoce.band` has it: no log-likelihood ratio above 0 is called spoof.
    reject = min(accept, 0.0) if manifest.calibration else accept
    values = np.array([one.score for one in scores])
    decided = np.where(values >= accept, "bonafide", np.where(values < reject, "spoof", "undecided"))
    return np.where([one.reason is None for one in scores], decided, "undecided")


def outcomes(
    trials: Sequence[Trial], told: NDArray[np.str_], lines: Mapping[str, NDArray[np.str_]] | None = None
) -> Iterator[Outcome]:
    """What became of all recordings, of those of each file format, and of all through each telephone line.

    `told` are the `verdicts`, `lines` those on what arrived through each line.
    """
    keys = np.array([trial.key for trial in trials])
    yield _outcome("all", "all", keys, told)
    formats = np.array([_format(trial.audio) for trial in trials])
    for name in sorted(set(formats.tolist())):
        yield _outcome("format", name, keys[formats == name], told[formats == name])
    for name, arrived in (lines or {}).items():
        yield _outcome("telephone", name, keys, arrived)


def _outcome(by: str, name: str, keys: NDArray[np.str_], told: NDArray[np.str_]) -> Outcome:
    def share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate | None:
        return clopper_pearson(int((of & among).sum()), int(among.sum())) if among.any() else None

    everything = np.ones(len(keys), dtype=bool)
    accuracy, undecided = share(told == keys, everything), share(told == "undecided", everything)
    assert accuracy
    assert undecided
    return Outcome(
        by=by,
        name=name,
        accuracy=accuracy,
        fpr=share(told == "bonafide", keys == "spoof"),
        fnr=share(told == "spoof", keys == "bonafide"),
        undecided=undecided,
    )


def _format(path: Path) -> str:
    """Such as "FLAC PCM_16, 16 kHz"; by its ending alone where libsndfile cannot read it."""
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        return path.suffix.lower().removeprefix(".") or "unknown"
    return f"{info.format} {info.subtype}, {info.samplerate / 1000:g} kHz"


def write_predictions(
    path: Path, trials: Sequence[Trial], scores: Sequence[Scored], told: NDArray[np.str_], manifest: Manifest, threshold: float
) -> None:
    """Writes a table with a row for each recording: `file, label, prediction, score, probability_spoof, reason, threshold`.

    `prediction` is "bonafide", "spoof" or "undecided"; `probability_spoof` is at the bundle's prior, and empty where the scores
    are no log-likelihood ratios.
    """
    prior = manifest.calibration.prior if manifest.calibration else None
    with replacing(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "label", "prediction", "score", "probability_spoof", "reason", "threshold"))
        for trial, one, verdict in zip(trials, scores, told.tolist(), strict=True):
            odds = None if prior is None else one.score + np.log(prior / (1 - prior))
            fake = "" if odds is None else f"{1 / (1 + np.exp(np.clip(odds, -700, 700))):.6g}"
            reason = one.reason or ("between" if verdict == "undecided" else "")
            table.writerow((trial.audio.name, trial.key, verdict, repr(one.score), fake, reason, f"{threshold:.6g}"))

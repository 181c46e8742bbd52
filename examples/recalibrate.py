"""Calibrates a bundle on your own recordings, and tells on a part that was held out whether that helped.

RECORDINGS holds the folders `bonafide` and `spoof`, each with a few hundred recordings from where the detector will stand. Half
of them are fitted on, half are reported. "Calibration" is that of scores. Needs `pip install "vivavoce[app,calibrate]"`.

python examples/recalibrate.py my-recordings --out my-bundle
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vivavoce import VivavoceError
from vivavoce.bundle import Bundle, Manifest, default_bundle
from vivavoce_calibration.calibrate import calibrated, rewritten
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.evaluation import Subject
from vivavoce_calibration.llr import engine_scores, llr
from vivavoce_calibration.metrics import FloatArray, cllr, eer, error_rates
from vivavoce_calibration.scoring import Scored, Scorer, score_corpus


def halves(trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Every other trial of each class. Where one person speaks in several files, put them into one half by hand instead."""
    parts = [[trial for trial in trials if trial.key == key] for key in ("bonafide", "spoof")]
    first, second = ([trial for part in parts for trial in part[start::2]] for start in (0, 1))
    return first, second


def classes(trials: Sequence[Trial], scores: Sequence[Scored]) -> tuple[FloatArray, FloatArray]:
    """The scores of bona fide trials and those of spoofs."""
    pairs = list(zip(trials, scores, strict=True))
    bonafide, spoof = (np.array([one.score for trial, one in pairs if trial.key == key]) for key in ("bonafide", "spoof"))
    return bonafide, spoof


def figures(name: str, manifest: Manifest, bonafide: FloatArray, spoof: FloatArray) -> str:
    """One line: how good the scores are, and what the default threshold does to them."""
    point = manifest.default_point
    rates = error_rates(bonafide, spoof, point.threshold)
    return (
        f"{name:8} EER {eer(bonafide, spoof):6.1%}   Cllr {cllr(bonafide, spoof):6.3f} bits   at {point.name} "
        f"({point.threshold:+.2f}): {rates.fnr:.1%} of the living rejected, {rates.fpr:.1%} of the spoofs accepted"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="a folder with `bonafide` and `spoof`, or a corpus in a known layout")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the new bundle; it must not exist")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="what to calibrate; the embedded bundle")
    parser.add_argument("--prior", type=float, default=0.5, help="P(bona fide) where it will stand, for probabilities (0.5)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that score at the same time (1)")
    options = parser.parse_args(arguments)

    before = Bundle(options.bundle).manifest
    scorer = Scorer(options.bundle)
    fitted, held_out = halves(read_corpus(options.recordings))
    scores = [score_corpus(part, scorer, jobs=options.jobs) for part in (fitted, held_out)]
    subject = Subject.of(scorer, options.recordings.resolve().name, "first half")
    after = calibrated(before, fitted, scores[0], subject, prior=options.prior)
    rewritten(Bundle(options.bundle), after, options.out)

    old = classes(held_out, scores[1])
    new = [llr(after.calibration, engine_scores(before.calibration, one)) for one in old]
    print(f"On {len(held_out)} recordings that were not fitted on:")
    print(figures("before", before, *old))
    print(figures("after", after, new[0], new[1]))
    print(f"Written to {options.out}. Use it: Detector({str(options.out)!r})")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")

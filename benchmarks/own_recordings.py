"""Measures what own recordings are worth: refitting and calibrating with 25, 50, 100 and 200 clips of what training lacks.

python benchmarks/own_recordings.py CORPUS                 the embedded bundle; prints the table
python benchmarks/own_recordings.py CORPUS --write         also writes it into docs/own-recordings.md

From the subset `eval`, whose sources and systems training lacks, three applications are made: a channel (all clips through a
telephone's codec), speakers (the living voices) and generators (the spoofs). Half of an application's clips are at hand, half
are held out; the class that it has none of comes from `dev` to fit with, and from `eval` to report on. `train` is what training
had. Everything goes through `refit`, `calibrated` and `score_corpus`, as an application would; what the perceptron reads of the
training part is computed once.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import soundfile
from markers import rewrite
from numpy.typing import NDArray

from vivavoce.audio import load
from vivavoce.bundle import Bundle, Manifest, default_bundle
from vivavoce_calibration.calibrate import calibrated, rewritten
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.evaluation import Subject
from vivavoce_calibration.llr import engine_scores, llr
from vivavoce_calibration.metrics import act_dcf, eer
from vivavoce_calibration.sampling import representative
from vivavoce_calibration.scoring import Scored, Scorer, score_corpus
from vivavoce_converters.distillation.augmentation import RATE, TELEPHONES, round_trip
from vivavoce_converters.distillation.recipe import Recipe, load_recipe
from vivavoce_converters.steps.refit import pooled_states, refit

PAGE = Path(__file__).parent.parent / "docs" / "own-recordings.md"
MARKERS = "<!-- own: begin -->\n", "<!-- own: end -->\n"
COUNTS = (25, 50, 100, 200)
BESIDE = 200
"""Clips of the other class to calibrate with."""


class Application(NamedTuple):
    """What somebody has, what more there is to fit with, and what is held out."""

    name: str
    own: list[Trial]
    beside: list[Trial]
    """The class that the application has none of, for calibration alone."""
    held_out: list[Trial]


class Base(NamedTuple):
    """What training had: the recipe, the trials, and what the perceptron reads of them."""

    recipe: Recipe
    trials: list[Trial]
    states: NDArray[np.float64]


class Figures(NamedTuple):
    eer: float
    act_dcf: float

    def __str__(self) -> str:
        return f"{100 * self.eer:.1f} %, {self.act_dcf:.2f}"


def applications(corpus: Path, folder: Path, seed: int) -> Iterator[Application]:
    """The three, each with its clips in an order that the seed draws."""
    found, dev = read_corpus(corpus, subset="eval"), read_corpus(corpus, subset="dev")
    rng = random.Random(seed)
    halves = {key: _halves([one for one in found if one.key == key], rng) for key in ("bonafide", "spoof")}
    telephoned = [[_telephoned(one, folder) for half in halves.values() for one in half[side]] for side in (0, 1)]
    rng.shuffle(telephoned[0])
    yield Application("a channel: telephone", telephoned[0], [], telephoned[1])
    held_out = [one for half in halves.values() for one in half[1]]
    for name, key, other in (("speakers", "bonafide", "spoof"), ("generators", "spoof", "bonafide")):
        beside = representative([one for one in dev if one.key == other], BESIDE)
        yield Application(name, halves[key][0], beside, held_out)


def _halves(trials: Sequence[Trial], rng: random.Random) -> tuple[list[Trial], list[Trial]]:
    drawn = rng.sample(list(trials), len(trials))
    return drawn[::2], drawn[1::2]


def _telephoned(trial: Trial, folder: Path) -> Trial:
    """The clip through one of the telephones' codecs, which its name draws."""
    rng = random.Random(trial.id)
    file = folder / f"{trial.id}.flac"
    soundfile.write(file, round_trip(load(trial.audio, RATE), rng.choice(TELEPHONES), rng.uniform(0.3, 0.9)), RATE)
    return replace(trial, audio=file)


def scored(bundle: Bundle, trials: Sequence[Trial], jobs: int) -> list[Scored]:
    return score_corpus(trials, Scorer(bundle.path), jobs=jobs)


def figures(manifest: Manifest, before: Manifest, trials: Sequence[Trial], scores: Sequence[Scored]) -> Figures:
    """Of scores that a bundle gave with the calibration `before`, with that of `manifest` in its place."""
    values = llr(manifest.calibration, engine_scores(before.calibration, np.array([one.score for one in scores])))
    living = np.array([trial.key == "bonafide" for trial in trials])
    return Figures(eer(values[living], values[~living]), act_dcf(values[living], values[~living]))


def fitted(bundle: Bundle, one: Application, own: Sequence[Trial], jobs: int) -> Manifest:
    """The bundle's manifest, calibrated on own recordings and what is beside them."""
    trials = [*own, *one.beside]
    subject = Subject(bundle="", manifest_sha256="", engine="", corpus=one.name, subset="own", environment={})
    return calibrated(bundle.manifest, trials, scored(bundle, trials, jobs), subject, draws=1)


def rows(bundle: Bundle, one: Application, base: Base, folder: Path, jobs: int) -> Iterator[str]:
    """A line of the table for each count."""
    held_out = scored(bundle, one.held_out, jobs)
    before = figures(bundle.manifest, bundle.manifest, one.held_out, held_out)
    states = pooled_states(bundle, one.own[: max(COUNTS)], base.recipe)
    for count in COUNTS:
        own = one.own[:count]
        if len(own) < count:
            continue
        shifted = figures(fitted(bundle, one, own, jobs), bundle.manifest, one.held_out, held_out)
        pooled = np.concatenate([base.states, states[:, :count]], axis=1)
        out = folder / f"{one.name}-{count}".replace(" ", "-")
        made = refit(bundle, [*base.trials, *own], out, base.recipe, pooled=pooled)
        again = fitted(made, one, own, jobs)
        moved = figures(again, made.manifest, one.held_out, scored(made, one.held_out, jobs))
        yield f"| {one.name} | {count} | {before} | {shifted} | {moved} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="a corpus with train, dev and eval")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="default: the embedded bundle")
    parser.add_argument("--recipe", default="default", help="the recipe that its student was made by")
    parser.add_argument("--train", type=int, default=10**6, help="at most so many clips of train to refit with (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="which clips are at hand (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that score (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/own-recordings.md")
    options = parser.parse_args()
    bundle = Bundle(options.bundle)
    train, recipe = representative(read_corpus(options.corpus, subset="train"), options.train), load_recipe(options.recipe)
    with TemporaryDirectory() as place:
        folder = Path(place)
        plain = rewritten(bundle, bundle.manifest, folder / "before")
        base = Base(recipe, train, pooled_states(plain, train, recipe))
        lines = [
            f"`{bundle.manifest.name}` {bundle.manifest.version}, refitted with {len(train)} clips of training beside: EER and",
            "actDCF on clips that were held out, of sources and systems that training lacks.",
            "",
            "| application | own clips | as it ships | calibrated | refitted and calibrated |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        print("\n".join(lines))
        for one in applications(options.corpus, folder, options.seed):
            for line in rows(plain, one, base, folder, options.jobs):
                print(line, flush=True)
                lines.append(line)
    if options.write:
        rewrite(PAGE, *MARKERS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

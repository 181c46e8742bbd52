"""What a countermeasure in front of a speaker verifier saves, and what it costs: the login of voice_login.py on a corpus.

Speakers of a subset with three recordings or more enrol with two. All others are attempts: by their own speaker (target), as
anybody else (nontarget), and of spoofs as whoever the verifier finds most alike. Thresholds are those of the subset `fit`.

python examples/voice_login_worth.py my-corpus --fit dev --test eval
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from voice_login import embed

from vivavoce import VivavoceError
from vivavoce.band import symmetric
from vivavoce.bundle import Bundle, default_bundle
from vivavoce_calibration.challenges.tandem import ADCF_PAPER, min_adcf
from vivavoce_calibration.corpora import read_corpus
from vivavoce_calibration.llr import fit, llr
from vivavoce_calibration.metrics import FloatArray, eer, error_rates
from vivavoce_calibration.scoring import Scorer, score_corpus

System = Callable[[FloatArray, FloatArray], FloatArray]
COSTS = ADCF_PAPER.weights()  # prior times cost of a miss, of another accepted, of a spoof


def attempts(corpus: Path, subset: str, bundle: Path) -> dict[str, tuple[FloatArray, FloatArray]]:
    """For the attempts of each kind the verifier's scores and the countermeasure's."""
    trials = read_corpus(corpus, subset=subset)
    living = {one.id: one.score for one in score_corpus(trials, Scorer(bundle), advance=tell(f"{subset}, scores"))}
    heard = tell(f"{subset}, voices")
    voices = np.array([embed(trial.audio) for number, trial in enumerate(trials) if heard(number + 1, len(trials)) is None])
    voices = (voices - voices.mean(axis=0)) / voices.std(axis=0)
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    speakers = sorted({trial.speaker or "" for trial in trials if trial.key == "bonafide"})
    own = {who: [n for n, one in enumerate(trials) if (one.speaker, one.key) == (who, "bonafide")] for who in speakers}
    enrolled = {who: numbers[:2] for who, numbers in own.items() if len(numbers) > 2}
    used = {number for numbers in enrolled.values() for number in numbers}
    models = np.array([voices[numbers].mean(axis=0) for numbers in enrolled.values()])
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, trial in enumerate(trials):
        alike, cm = models @ voices[number], living[trial.id]
        if trial.key == "spoof":
            pairs["spoof"].append((alike.max(), cm))
        elif number not in used:
            for who, score in zip(enrolled, alike, strict=True):
                pairs["target" if trial.speaker == who else "nontarget"].append((score, cm))
    return {kind: (np.array(both)[:, 0], np.array(both)[:, 1]) for kind, both in pairs.items()}


def tell(what: str) -> Callable[[int, int], None]:
    """Says on stderr how far the work is, ten times in all."""

    def advance(done: int, total: int) -> None:
        if done % max(1, total // 10) == 0:
            print(f"{what}: {done} of {total}", file=sys.stderr)

    return advance


def best_threshold(target: FloatArray, nontarget: FloatArray, spoof: FloatArray) -> float:
    """The threshold of the lowest a-DCF."""
    choices = np.unique(np.concatenate([target, nontarget, spoof]))
    miss, others, spoofs = (np.searchsorted(np.sort(one), choices) / one.size for one in (target, nontarget, spoof))
    return float(choices[np.argmin(COSTS[0] * miss + COSTS[1] * (1 - others) + COSTS[2] * (1 - spoofs))])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="a corpus whose lists name speakers, such as ASVspoof 2019 LA")
    parser.add_argument("--fit", default="dev", help="the subset for thresholds (dev)")
    parser.add_argument("--test", default="eval", help="the subset to report (eval)")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="the embedded bundle by default")
    options = parser.parse_args(arguments)

    dev, test = (attempts(options.corpus, one, options.bundle) for one in (options.fit, options.test))
    verifier = fit(dev["target"][0], dev["nontarget"][0], corpus=f"{options.corpus.name} {options.fit}")
    systems: dict[str, System] = {"verifier alone": lambda asv, cm: asv}
    systems["sum of both LLRs"] = lambda asv, cm: llr(verifier, asv) + cm
    for band in symmetric(Bundle(options.bundle)):
        systems[f"band at {band.name.rpartition('=')[2]}"] = lambda asv, cm, least=band.reject: np.where(cm >= least, asv, -2.0)
    for point in Bundle(options.bundle).manifest.operating_points:
        systems[f"gate at {point.name}"] = lambda asv, cm, least=point.threshold: np.where(cm >= least, asv, -2.0)
    print(f"Verifier (stand-in): EER {eer(test['target'][0], test['nontarget'][0]):.1%}")
    print("Attempts:", ", ".join(f"{asv.size} {kind}" for kind, (asv, _) in test.items()))
    print(f"{'system':18} {'min a-DCF':>9}   at the threshold of {options.fit}: targets rejected, others and spoofs accepted")
    costs: dict[str, float] = {}
    for name, system in systems.items():
        fitted, scores = ([system(*one[kind]) for kind in ("target", "nontarget", "spoof")] for one in (dev, test))
        rates = [error_rates(scores[0], other, best_threshold(*fitted)) for other in scores[1:]]
        lowest = costs[name] = min_adcf(*scores, costs=ADCF_PAPER)
        print(f"{name:18} {lowest:9.3f}   {rates[0].fnr:7.1%} {rates[0].fpr:7.1%} {rates[1].fpr:7.1%}")
    best = min(costs, key=lambda name: costs[name])
    print(f"Take the row that costs least: {best}. A band asks for a code where a gate rejects.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")

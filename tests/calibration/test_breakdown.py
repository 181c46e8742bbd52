"""Error rates by part of a corpus."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.breakdown import Slice, breakdown, slices, split_scores
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.metrics import eer, eer_threshold, error_rates, min_dcf

TRIALS = [
    Trial("b1", Path(), "bonafide", codec="opus", source="calls", duration=0.5, snr=0.0),
    Trial("b2", Path(), "bonafide", codec="none", source="books", duration=2.0, snr=20.0),
    Trial("b3", Path(), "bonafide", codec="none", source="books", duration=3.99, snr=19.9),
    Trial("s1", Path(), "spoof", system="A01", system_type="vc", codec="opus", duration=9.0, snr=55.0),
    Trial("s2", Path(), "spoof", system="A02", system_type="vc", codec="none", duration=1.0, snr=-3.0),
    Trial("s3", Path(), "spoof", system="A02", codec="none"),
]
SCORES = [0.0, 2.0, 3.0, -1.0, 1.0, 4.0]


def test_an_attack_is_set_against_all_bona_fide_trials() -> None:
    one, two = breakdown(TRIALS, SCORES, "system", threshold=0.5)
    assert one == Slice("A01", bonafide=3, spoof=1, value=0.0, fnr=1 / 3, fpr=0.0)
    assert two == Slice("A02", bonafide=3, spoof=2, value=eer([0, 2, 3], [1, 4]), fnr=1 / 3, fpr=1.0)


def test_a_codec_is_the_trials_of_both_classes_that_passed_it() -> None:
    none, opus = breakdown(TRIALS, SCORES, "codec", metric=min_dcf, threshold=2.5)
    assert none == Slice("none", 2, 2, min_dcf([2, 3], [1, 4]), 0.5, 0.5)
    assert opus == Slice("opus", 1, 1, 0.0, 1.0, 0.0)


def test_a_part_of_one_class_has_only_the_error_rate_of_that_class() -> None:
    books, calls, unknown = breakdown(TRIALS, SCORES, "source", threshold=1.0)
    assert books == Slice("books", 2, 0, None, 0.0, None)
    assert calls == Slice("calls", 1, 0, None, 1.0, None)
    assert unknown == Slice("unknown", 0, 3, None, None, 2 / 3)


def test_durations_are_ranges_in_order() -> None:
    parts = breakdown(TRIALS, SCORES, "duration")
    assert [(part.name, part.bonafide, part.spoof) for part in parts] == [
        ("under 1 s", 1, 0),
        ("1 to 2 s", 0, 1),
        ("2 to 4 s", 2, 0),
        ("8 s and more", 0, 1),
        ("unknown", 0, 1),
    ]


def test_noise_is_ranges_in_order() -> None:
    parts = breakdown(TRIALS, SCORES, "snr")
    assert [(part.name, part.bonafide, part.spoof) for part in parts] == [
        ("under 20 dB", 2, 1),
        ("20 to 30 dB", 1, 0),
        ("50 dB and more", 0, 1),
        ("unknown", 0, 1),
    ]


def test_systems_of_one_type_are_set_against_all_bona_fide_trials_together() -> None:
    vc, unknown = breakdown(TRIALS, SCORES, "system_type", threshold=0.5)
    assert vc == Slice("vc", bonafide=3, spoof=2, value=eer([0, 2, 3], [-1, 1]), fnr=1 / 3, fpr=0.5)
    assert (unknown.name, unknown.spoof, unknown.fpr) == ("unknown", 1, 1.0)


def test_the_threshold_is_that_of_the_whole_corpus() -> None:
    threshold = eer_threshold([0, 2, 3], [-1, 1, 4])
    fnr, fpr = error_rates([2, 3], [1, 4], threshold)
    none, _ = breakdown(TRIALS, SCORES, "codec")
    assert (none.fnr, none.fpr) == (fnr, fpr)


def test_every_trial_is_in_one_part_and_bona_fide_with_every_attack() -> None:
    for field in ("codec", "source", "duration"):
        assert (np.sum([mask for _, mask in slices(TRIALS, field)], axis=0) == 1).all()
    attacks = np.sum([mask for _, mask in slices(TRIALS, "system")], axis=0)
    assert attacks.tolist() == [2, 2, 2, 1, 1, 1]


def test_an_attack_without_a_name_is_a_part() -> None:
    trials = [*TRIALS, Trial("s4", Path(), "spoof")]
    assert [part.name for part in breakdown(trials, [*SCORES, 0.0], "system")] == ["A01", "A02", "unknown"]


def test_scores_come_by_order_or_by_id() -> None:
    by_id = {trial.id: score for trial, score in zip(reversed(TRIALS), reversed(SCORES), strict=True)}
    for scores in (SCORES, np.array(SCORES), by_id):
        bonafide, spoof = split_scores(TRIALS, scores)
        assert (bonafide.tolist(), spoof.tolist()) == ([0, 2, 3], [-1, 1, 4])
    assert breakdown(TRIALS, by_id, "codec") == breakdown(TRIALS, SCORES, "codec")


def test_scores_that_do_not_match_the_trials_are_refused() -> None:
    by_id = dict(zip((trial.id for trial in TRIALS), SCORES, strict=True))
    with pytest.raises(ConfigurationError, match=r"6 trials have scores of shape \(5,\)"):
        split_scores(TRIALS, SCORES[:5])
    with pytest.raises(ConfigurationError, match="1 of 6 trials have no score, such as s3"):
        split_scores(TRIALS, {name: score for name, score in by_id.items() if name != "s3"})
    with pytest.raises(ConfigurationError, match="1 of 7 scores have no trial, such as x"):
        split_scores(TRIALS, by_id | {"x": 0.0})
    with pytest.raises(ConfigurationError, match="1 scores are not a number, such as that of b1"):
        breakdown(TRIALS, [math.nan, *SCORES[1:]], "codec", threshold=0.0)


def test_fields_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r'No breakdown is by "key"\. Choose one of: system, system_type, family, seen, vocoder, codec, ',
    ):
        breakdown(TRIALS, SCORES, "key")
    with pytest.raises(
        ConfigurationError, match=r"tells no language .* Choose one of: system, system_type, codec, source, duration, snr"
    ):
        breakdown(TRIALS, SCORES, "language")
    with pytest.raises(ConfigurationError, match="tells no system"):
        breakdown([replace(trial, system=None) for trial in TRIALS], SCORES, "system")


def test_the_vivavoce_corpus_by_system(shared: Path) -> None:
    trials = read_corpus(shared / "corpus", subset="eval")
    parts = breakdown(trials, [float(trial.key == "bonafide") for trial in trials], "system")
    assert len(parts) == 29
    assert sum(part.spoof for part in parts) == 400
    assert all((part.bonafide, part.value, part.fpr) == (350, 0.0, 0.0) for part in parts)

"""PartialSpoof's figures from recordings and labels of segments, and recordings with replaced parts."""

from __future__ import annotations

from pathlib import Path

import localisation
import numpy as np
import pytest
import soundfile

from vivavoce import Detector
from vivavoce.audio import load
from vivavoce_calibration.challenges.partialspoof import located, segment_figures
from vivavoce_calibration.corpora import CorpusError, Trial
from vivavoce_calibration.scoring import Scored

CLIP = Path(__file__).parents[2] / "examples" / "audio" / "human_allison_en.flac"


def test_the_figures_of_segments(tiny_bundle: Path, tmp_path: Path) -> None:
    samples = load(CLIP, 16_000)[: 4 * 16_000]
    quiet = samples.copy()
    quiet[32_000:] *= 0.1
    trials, scores, fine, coarse = [], [], {}, {}
    for number, signal in enumerate((samples, samples, quiet, quiet)):
        name, living = f"t{number}", number < 2
        soundfile.write(tmp_path / f"{name}.wav", signal, 16_000)
        trials.append(Trial(name, tmp_path / f"{name}.wav", "bonafide" if living else "spoof"))
        scores.append(Scored(name, 0.0, None, 4.0, 4.0))
        fine[name] = np.array([1] * 200 + [int(living)] * 200)
        coarse[name] = fine[name][::32]
    heard: list[tuple[int, int]] = []
    places = located(trials, Detector(tiny_bundle), 0.32, lambda *count: heard.append(count))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(CorpusError, match="has no labels of these trials' segments"):
        segment_figures(trials, scores, places, tmp_path, 0.32, draws=20)
    (tmp_path / "segment_labels").mkdir()
    np.save(tmp_path / "segment_labels" / "eval_seglab_0.01.npy", fine, allow_pickle=True)
    np.save(tmp_path / "segment_labels" / "eval_seglab_0.32.npy", coarse, allow_pickle=True)
    found = {one.metric: one for one in segment_figures(trials, scores, places, tmp_path, 0.32, draws=20)}
    names = ["utterance EER, by the lowest segment", "segment EER, 10 ms", "segment EER, 320 ms", "range-based EER"]
    assert list(found) == names
    assert found[names[0]].value in (0.0, 1.0)
    assert found[names[3]].value == pytest.approx(found[names[1]].value, abs=0.1)
    for one in found.values():
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.value <= one.high


def test_spliced_recordings_are_replaced_where_they_say(shared: Path) -> None:
    one, again = (next(localisation.spliced(shared / "corpus", 1, seed=3)) for _ in range(2))
    assert np.array_equal(one.samples, again.samples)
    assert 0.5 <= one.end - one.start <= 2
    host = next(shared.glob(f"corpus/dev/{one.name}.*"))
    changed = np.flatnonzero(one.samples != load(host, 16_000)[: len(one.samples)].clip(-1, 1)) / 16_000
    assert changed.min() == pytest.approx(one.start, abs=0.02)
    assert changed.max() == pytest.approx(one.end, abs=0.02)


def test_rules_agree_on_what_is_plain() -> None:
    """Windows no longer than the hop are the segments; longer ones that are means of segments can be taken apart."""
    truth = np.array([2.0, 2, 2, -3, -3, 2, 2, 2, 2])
    for rule in localisation.RULES.values():
        assert rule(truth, 0.5, 0.5) == pytest.approx(truth, abs=0.2)
    windows = np.array([truth[max(0, end - 3) : end + 1].mean() for end in range(len(truth))])
    assert np.argmin(localisation.unmixed(windows, 2.0, 0.5, 1e-6)) in (3, 4)

"""Telephone lines, and what a detector decides at the thresholds that ship."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vivavoce.bundle import Bundle, Calibration, OperatingPoint, default_bundle
from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.decisions import outcomes, verdicts, write_predictions
from vivavoce_calibration.scoring import Scored
from vivavoce_calibration.telephone import LINES, available, through

HERE = [name for name in LINES if available(name)]


@pytest.mark.parametrize("name", HERE)
def test_a_line_keeps_what_it_can_carry(name: str) -> None:
    time = np.arange(16_000) / 16_000
    low, high = (0.2 * np.sin(2 * np.pi * f * time).astype(np.float32) for f in (500, 6_000))
    arrived, rate = through(name, (low + high, 16_000))
    assert (rate, len(arrived)) == (LINES[name].rate, LINES[name].rate)
    spectrum = np.abs(np.fft.rfft(arrived)) / len(arrived)
    assert spectrum[500] == pytest.approx(0.1, rel=0.3)
    assert rate == 8_000 or spectrum[6_000] == pytest.approx(0.1, rel=0.3)


def test_lines_are_known_by_name() -> None:
    assert set(HERE) >= LINES.keys() - ({} if find_spec("av") else {"amr-nb", "g722"})
    with pytest.raises(ConfigurationError, match='no telephone line "g729"'):
        available("g729")


@pytest.fixture
def decided(tmp_path: Path) -> tuple[list[Trial], list[Scored]]:
    """Four recordings in two formats: right, wrong, between the thresholds, and without speech."""
    trials = []
    for number, (key, ending) in enumerate((("bonafide", "wav"), ("spoof", "wav"), ("spoof", "flac"), ("bonafide", "flac"))):
        path = tmp_path / f"{number}.{ending}"
        soundfile.write(path, np.zeros(160), 16_000)
        trials.append(Trial(f"{number}", path, key))  # type: ignore[arg-type]
    scores = [
        Scored("0", 3.0, None, 1, 1),
        Scored("1", 2.0, None, 1, 1),
        Scored("2", 0.5, None, 1, 1),
        Scored("3", -9, "silent", 1, 0),
    ]
    return trials, scores


def test_outcomes_are_those_of_the_thresholds_that_ship(decided: tuple[list[Trial], list[Scored]], tmp_path: Path) -> None:
    trials, scores = decided
    manifest = Bundle(default_bundle()).manifest
    calibrated = manifest.model_copy(
        update={"calibration": Calibration(scale=1, offset=0, prior=0.5, corpus="made up", bonafide=1, spoof=1)}
    )
    point = OperatingPoint(name="high", threshold=1.0)
    told = verdicts(scores, calibrated, point)
    assert told.tolist() == ["bonafide", "bonafide", "undecided", "undecided"]
    assert verdicts(scores, manifest.model_copy(update={"calibration": None}), point).tolist()[2] == "spoof"
    found = {(one.by, one.name): one for one in outcomes(trials, told, {"gsm-fr": np.array(["spoof"] * 4)})}
    assert list(found) == [
        ("all", "all"),
        ("format", "FLAC PCM_16, 16 kHz"),
        ("format", "WAV PCM_16, 16 kHz"),
        ("telephone", "gsm-fr"),
    ]
    everything, wav, gsm = found["all", "all"], found["format", "WAV PCM_16, 16 kHz"], found["telephone", "gsm-fr"]
    assert (everything.accuracy.value, everything.undecided.value) == (0.25, 0.5)
    assert everything.fpr
    assert everything.fnr
    assert (everything.fpr.value, everything.fnr.value) == (0.5, 0)
    assert wav.accuracy.value == 0.5
    assert gsm.fnr
    assert (gsm.accuracy.value, gsm.fnr.value) == (0.5, 1)
    write_predictions(tmp_path / "predictions.csv", trials, scores, told, calibrated, 1.0)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [row["prediction"] for row in rows] == told.tolist()
    assert [row["reason"] for row in rows] == ["", "", "between", "silent"]
    assert float(rows[0]["probability_spoof"]) == pytest.approx(1 / (1 + np.exp(3)), abs=1e-6)

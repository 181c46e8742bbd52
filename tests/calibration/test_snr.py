"""The estimate of a signal-to-noise ratio, against noise of a known level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vivavoce.audio import load
from vivavoce.listening.speech_gate import CHUNK, SpeechGate
from vivavoce_calibration.snr import estimated_snr

CLIP = Path(__file__).parents[2] / "examples" / "audio" / "human_june_fr.flac"
RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """A clip with a second of silence before and after."""
    return np.pad(load(CLIP, RATE), RATE)


@pytest.mark.parametrize("decibels", [10, 20, 30])
def test_the_estimate_is_the_level_of_the_speech_over_that_of_the_noise(speech: NDArray[np.float32], decibels: float) -> None:
    clean = np.mean(speech[RATE:-RATE].astype(float) ** 2)
    noise = np.random.default_rng(0).normal(0, np.sqrt(clean / 10 ** (decibels / 10)), len(speech))
    noisy = (speech + noise).astype(np.float32)
    gate = SpeechGate()
    heard = []
    for start in range(0, len(noisy) - CHUNK + 1, CHUNK):
        if gate.feed(noisy[start : start + CHUNK]).any():
            heard.append(float(np.mean(noisy[start : start + CHUNK].astype(float) ** 2)))
    true = 10 * np.log10(np.mean(heard) / np.mean(noise**2))
    # The quietest tenth of the chunks of white noise is 0.5 dB softer than all of them.
    assert estimated_snr(noisy) == pytest.approx(true, abs=0.8)
    assert estimated_snr(noisy) == pytest.approx(decibels, abs=3.5)


def test_the_estimate_does_not_depend_on_the_level(speech: NDArray[np.float32]) -> None:
    noisy = speech + np.random.default_rng(0).normal(0, 0.003, len(speech)).astype(np.float32)
    assert estimated_snr(noisy / 2) == pytest.approx(estimated_snr(noisy), abs=1)


def test_digital_silence_has_a_level_and_noise_alone_no_estimate(speech: NDArray[np.float32]) -> None:
    assert 50 < (estimated_snr(speech) or 0) < 101
    assert estimated_snr(np.random.default_rng(0).normal(0, 0.003, RATE).astype(np.float32)) is None
    assert estimated_snr(np.zeros(10, np.float32)) is None

"""Augmentation: every effect keeps length, type and finiteness, does what it says, and is a function of the generator."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from vivavoce_converters.distillation import augmentation as effects
from vivavoce_converters.distillation.augmentation import CODECS, AugmentRecipe, augment

EFFECTS = ("reverberate", "add_noise", "distort", "limit_band", "clip", "set_level", "code", "lose_packets")
TIME = np.arange(24_000) / 16_000
SPEECH = np.asarray(
    sum(np.sin(2 * np.pi * 150 * k * TIME) / k for k in range(1, 20)) * (1 + np.sin(9 * TIME)) * 0.1, np.float32
)


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("seed", range(4))
def test_effects_keep_length_type_and_finiteness(name: str, seed: int) -> None:
    result = getattr(effects, name)(SPEECH, np.random.default_rng(seed))
    assert result.shape == SPEECH.shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert not np.array_equal(result, SPEECH)


@pytest.mark.parametrize("name", EFFECTS)
def test_effects_survive_silence(name: str) -> None:
    silence = np.zeros(16_000, np.float32)
    assert np.isfinite(getattr(effects, name)(silence, np.random.default_rng(0))).all()


@pytest.mark.parametrize("codec", range(len(CODECS)))
def test_every_codec_gives_back_the_same_speech(codec: int) -> None:
    class Fixed(np.random.Generator):
        def integers(self, *_: object) -> int:  # type: ignore[override]
            return codec

    coded = effects.code(SPEECH, Fixed(np.random.PCG64(1)))
    limit = 4000 if CODECS[codec][2] == 8000 else 8000
    low = np.abs(np.fft.rfft(SPEECH))[: int(0.8 * limit * 1.5)]
    assert np.corrcoef(low, np.abs(np.fft.rfft(coded))[: len(low)])[0, 1] > 0.9


def test_opus_is_drawn_down_to_the_lowest_rates() -> None:
    rng = np.random.default_rng(0)
    long = np.tile(SPEECH, 10) + rng.normal(0, 0.01, 10 * len(SPEECH)).astype(np.float32)
    sizes = []
    for rate in (6, 16, 64):
        buffer = io.BytesIO()
        level = effects.opus_quality(rate)
        soundfile.write(buffer, long, 16_000, format="OGG", subtype="OPUS", compression_level=level)
        sizes.append(8 * len(buffer.getvalue()) / (len(long) / 16_000) / 1000)
    # Kilobits a second with Ogg's own; what a rate asks for is a mean that speech may stay under.
    assert sizes[0] < 10
    assert sizes == sorted(sizes)
    assert effects.opus_quality(1000) == 0.0
    assert effects.opus_quality(1) == 1.0


@pytest.mark.parametrize("seed", range(8))
def test_nothing_above_four_kilohertz_passes_a_telephone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.1, 16_000).astype(np.float32)
    power = np.abs(np.fft.rfft(effects.telephone(noise, rng))) ** 2
    assert power[4200:].sum() < 0.01 * power.sum()


def test_suppression_leaves_the_voice_and_takes_the_noise() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.01, len(SPEECH)).astype(np.float32)
    gated = [effects.suppress_noise(x, np.random.default_rng(4)) for x in (noise, SPEECH + noise)]
    assert np.std(gated[0]) < 0.6 * np.std(noise)
    assert np.corrcoef(SPEECH, gated[1])[0, 1] > 0.95
    assert not effects.suppress_noise(np.zeros(16_000, np.float32), rng).any()


def test_a_call_is_a_telephone_or_suppression() -> None:
    white = np.random.default_rng(5).normal(0, 0.1, 16_000).astype(np.float32)
    power = [np.abs(np.fft.rfft(effects.transmit(white, np.random.default_rng(seed)))) ** 2 for seed in range(12)]
    narrow = sum(bool(one[4200:].sum() < 0.01 * one.sum()) for one in power)
    assert 0 < narrow < 12


def test_a_file_of_few_bits_keeps_the_voice_and_not_the_samples() -> None:
    for seed in range(6):
        given = effects.compress(SPEECH, np.random.default_rng(seed))
        assert np.corrcoef(np.abs(np.fft.rfft(SPEECH)), np.abs(np.fft.rfft(given)))[0, 1] > 0.9
        assert np.std(given - SPEECH) > 0.03 * np.std(SPEECH)


def test_mixing_reaches_the_ratio() -> None:
    noise = np.random.default_rng(1).standard_normal(len(SPEECH)).astype(np.float32)
    added = effects.mix(SPEECH, noise, 10.0) - SPEECH
    assert 10 * np.log10(np.mean(SPEECH**2) / np.mean(added**2)) == pytest.approx(10.0, abs=0.01)


def test_level_is_drawn_anew_whatever_it_was() -> None:
    nothing_else = AugmentRecipe(**dict.fromkeys(AugmentRecipe.model_fields, 0.0))
    peaks = [
        [np.abs(augment(SPEECH * gain, np.random.default_rng(seed), nothing_else, lambda: SPEECH)).max() for seed in range(20)]
        for gain in (0.01, 1.0)
    ]
    np.testing.assert_allclose(peaks[0], peaks[1], rtol=1e-4)
    assert max(peaks[0]) / min(peaks[0]) > 10


def test_same_generator_same_result() -> None:
    every = AugmentRecipe(**dict.fromkeys(AugmentRecipe.model_fields, 1.0))
    first, second = (augment(SPEECH, np.random.default_rng(7), every, lambda: SPEECH) for _ in range(2))
    np.testing.assert_array_equal(first, second)

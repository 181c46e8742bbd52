"""What the packing of a new bundle needs: an engine's entry, and a self test from its own scores on a reference signal."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from vivavoce.bundle import AudioContract, Carry, EngineFile, SelfTest
from vivavoce.engines.engine import Engine, OnnxEngine
from vivavoce.files import sha256

__all__ = [
    "TOLERANCE",
    "engine_file",
    "engine_in_memory",
    "make_self_test",
    "reference_signal",
    "reference_windows",
    "self_test_deviation",
]

# Two correct runtimes differ by rounding; INT8 kernels also saturate and fuse differently from one processor to the next.
TOLERANCE = {"float32": 0.01, "int8": 0.25}

SELF_TEST_FILE = "self-test.flac"
WINDOWS = 2


def make_self_test(engine: Engine, audio: AudioContract, *, tolerance: float) -> tuple[SelfTest, bytes]:
    """The self test that an engine's own scores on the reference signal make, and its audio file (FLAC)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, reference_windows(audio).ravel(), audio.sample_rate, format="FLAC", subtype="PCM_16")
    scores = engine.score(reference_windows(audio))
    rounded = tuple(round(float(score), 6) for score in scores)
    flac = buffer.getvalue()
    return SelfTest(file=SELF_TEST_FILE, sha256=sha256(flac), scores=rounded, tolerance=tolerance), flac


def engine_file(
    file: str,
    files: Mapping[str, bytes],
    *,
    precision: Literal["float32", "float16", "int8"],
    target: str,
    weight_bits: Literal[7, 8] | None = None,
    carry: Carry | None = None,
) -> EngineFile:
    """The entry for an ONNX file and those that hold its weights, which are all others of `files`."""
    digests = {name: sha256(content) for name, content in files.items()}
    made = digests.pop(file)
    return EngineFile(
        kind="onnx",
        precision=precision,
        target=target,
        weight_bits=weight_bits,
        file=file,
        sha256=made,
        data=digests,
        carry=carry,
    )


def engine_in_memory(file: EngineFile, files: Mapping[str, bytes]) -> OnnxEngine:
    """The engine in memory."""
    return OnnxEngine(files[file.file], file, data={name: files[name] for name in file.data})


def self_test_deviation(engine: Engine, audio: AudioContract, expected: Sequence[float]) -> float:
    """The largest difference between an engine's scores on the reference signal and the expected ones."""
    return float(np.abs(engine.score(reference_windows(audio)) - np.array(expected)).max())


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

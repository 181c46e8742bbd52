"""The benchmark: how much of real time a bundle's engines take on this machine, stage by stage, and what a start costs.

Every window is scored, as if somebody spoke throughout, so the figures are upper bounds: pauses cost the speech gate alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..audio import Samples
from ..bundle import Bundle, default_bundle
from ..detector import Detector
from ..engines.engine import Engine, Incremental, Past
from ..engines.self_test import clip
from ..errors import ConfigurationError, VivavoceError
from ..listening.speech_gate import SpeechGate
from ..machine import machine, versions
from . import cold_start

__all__ = ["benchmark", "described"]


def benchmark(
    bundle: str | os.PathLike[str] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    seconds: float = 60.0,
    precision: str | None = None,
    against: str | None = None,
    threads: int = 1,
    repeats: int = 5,
) -> dict[str, Any]:
    """Times of a bundle on one recording, as a JSON-ready dictionary; durations are in seconds, sizes in bytes.

    `file` is the recording; None repeats the bundle's self-test audio up to `seconds`. `precision` picks the engine, and
    `against` a second one, whose runs alternate with the first's so that both meet the same machine. Raises as `Detector`, and
    ConfigurationError where the settings leave nothing to measure.
    """
    if repeats < 1 or seconds <= 0:
        raise ConfigurationError(f"{repeats} repeats of {seconds} s measure nothing. Give 1 or more, and more than 0 s.")
    path = default_bundle() if bundle is None else Path(bundle)
    detectors = [
        TimedDetector(path, precision=name, threads=threads)
        for name in ([precision] if against is None else [precision, against])
    ]
    # The machine is described first, so that its load average is not the benchmark's own.
    report: dict[str, Any] = {"machine": machine(), "versions": versions(), "threads": threads, "repeats": repeats}
    rate = detectors[0].bundle.manifest.audio.sample_rate
    audio, source = clip(detectors[0].bundle, file, seconds)
    with _recording(file, audio, rate) as recording:
        runs = _interleaved(detectors, recording, audio, repeats)
        duration = len(audio) / rate
        engines = [
            {
                **_engine(detector),
                **_stages(rounds, duration),
                "fresh_process": _fresh(path, recording, detector.engine.file.precision, threads, repeats),
            }
            for detector, rounds in zip(detectors, runs, strict=True)
        ]
    report["bundle"] = described(detectors[0].bundle)
    report["audio"] = {"source": source, "seconds": duration}
    report["engines"] = engines
    report["ratios"] = _ratios(*runs) if against is not None else None
    return report


@dataclass(frozen=True)
class _Round:
    """One pass over the recording: seconds in all but the gate, in the gate, and in the engine for each window."""

    pipeline: float
    gate: float
    windows: list[float]

    @property
    def whole(self) -> float:
        return self.pipeline + self.gate

    @property
    def model(self) -> float:
        return sum(self.windows)


class TimedEngine:
    """An engine that notes the seconds of each of its calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.file, self.provider, self.skipped = engine.file, engine.provider, engine.skipped
        self.seconds: list[float] = []
        self.incremental = _TimedIncremental(engine.incremental, self.seconds) if engine.incremental else None

    def score(self, windows: NDArray[np.float32]) -> Samples:
        with _noting(self.seconds):
            return self._engine.score(windows)


class _TimedIncremental:
    def __init__(self, engine: Incremental, seconds: list[float]) -> None:
        self._engine, self._seconds, self.carry = engine, seconds, engine.carry

    def advance(self, samples: Samples, past: Past | None) -> tuple[float, Past]:
        with _noting(self._seconds):
            return self._engine.advance(samples, past)


@contextmanager
def _noting(seconds: list[float]) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds.append(perf_counter() - start)


class TimedDetector(Detector):
    """A detector whose engine is timed; its arguments are those of `Detector`."""

    def __init__(self, bundle: Path, *, precision: str | None, threads: int) -> None:
        super().__init__(bundle, precision=precision, threads=threads, speech_gate=False)
        self._timed = TimedEngine(super().engine)

    @property
    def engine(self) -> TimedEngine:
        return self._timed


def _interleaved(detectors: list[TimedDetector], recording: str, audio: Samples, repeats: int) -> list[list[_Round]]:
    """Each detector's rounds, taken in turns; a first call of each engine is not counted."""
    for detector in detectors:
        contract = detector.bundle.manifest.audio
        detector.engine.score(np.resize(audio, (1, contract.window)))
    rounds: list[list[_Round]] = [[] for _ in detectors]
    for _ in range(repeats):
        for detector, own in zip(detectors, rounds, strict=True):
            own.append(_round(detector, recording, audio))
    return rounds


def _round(detector: TimedDetector, recording: str, audio: Samples) -> _Round:
    detector.engine.seconds.clear()
    start = perf_counter()
    detector.detect(recording)
    pipeline = perf_counter() - start
    windows = list(detector.engine.seconds)
    if not windows:
        raise ConfigurationError(f"No window of {recording} can be scored. Give a longer recording that is not clipped.")
    start = perf_counter()
    SpeechGate().feed(audio)
    return _Round(pipeline, perf_counter() - start, windows)


def _stages(rounds: list[_Round], duration: float) -> dict[str, Any]:
    """Real-time factors of each stage (medians over the rounds) and the latency of one window (over all of them)."""
    windows = np.concatenate([one.windows for one in rounds])
    whole = [one.whole / duration for one in rounds]
    return {
        "windows": len(rounds[0].windows),
        "real_time_factor": {
            "model": float(np.median([one.model for one in rounds])) / duration,
            "speech_gate": float(np.median([one.gate for one in rounds])) / duration,
            "rest": float(np.median([one.pipeline - one.model for one in rounds])) / duration,
            "whole": float(np.median(whole)),
            "whole_lowest": min(whole),
            "whole_highest": max(whole),
        },
        "window_latency": {"median": float(np.median(windows)), "p95": float(np.percentile(windows, 95))},
    }


def _ratios(first: list[_Round], second: list[_Round]) -> dict[str, float]:
    """How many times as long the second engine takes: medians over pairs of neighbouring rounds."""
    pairs = list(zip(first, second, strict=True))
    return {
        "model": float(np.median([b.model / a.model for a, b in pairs])),
        "whole": float(np.median([b.whole / a.whole for a, b in pairs])),
    }


def _engine(detector: Detector) -> dict[str, Any]:
    file = detector.engine.file
    size = (detector.bundle.path / file.file).stat().st_size
    described = {"kind": file.kind, "precision": file.precision, "target": file.target, "file": file.file}
    return {**described, "bytes": size, "provider": detector.engine.provider}


def described(bundle: Bundle) -> dict[str, Any]:
    """Which bundle was measured, and its size."""
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    return {"name": bundle.manifest.name, "version": bundle.manifest.version, "bytes": size}


@contextmanager
def _recording(file: str | os.PathLike[str] | None, audio: Samples, rate: int) -> Iterator[str]:
    """The path of the recording: the given one, or a temporary WAV file with the audio."""
    if file is not None:
        yield os.fspath(file)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "self-test.wav"
        soundfile.write(path, audio, rate, subtype="PCM_16")
        yield str(path)


def _fresh(bundle: Path, recording: str, precision: str, threads: int, repeats: int) -> dict[str, float | None]:
    """What `probe` measures in new processes, as medians. -P keeps the script's own folder off their import path."""
    settings = {"bundle": str(bundle), "file": recording, "precision": precision, "threads": threads}
    command = [sys.executable, "-P", str(cold_start.__file__), json.dumps(settings)]
    measured = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise VivavoceError(
                f"The fresh process failed: {done.stderr.strip().splitlines()[-1]}. Run it yourself: {command}."
            )
        measured.append(json.loads(done.stdout))
    return {
        name: None if value is None else float(np.median([one[name] for one in measured]))
        for name, value in measured[0].items()
    }

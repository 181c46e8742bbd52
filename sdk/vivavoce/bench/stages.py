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

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import Field

from ..audio import Samples
from ..bundle import default_bundle
from ..detector import Detector
from ..engines.engine import Engine, Incremental, Past
from ..engines.self_test import clip
from ..errors import ConfigurationError, VivavoceError
from ..listening.speech_gate import SpeechGate
from ..machine import machine, versions
from . import cold_start
from .records import Clip, MeasuredBundle, Record, Report

__all__ = ["EngineTimes", "Round", "StageReport", "TimedEngine", "benchmark", "in_fresh_processes", "one_round", "ratios"]


class Factors(Record):
    """Seconds of work for each second of audio, medians over the repeats: of each stage, and of all."""

    model: float
    speech_gate: float
    rest: float
    whole: float
    whole_lowest: float
    whole_highest: float


class Latency(Record):
    """Seconds for one window, over all windows of all repeats."""

    median: float
    p95: float


class FreshProcess(Record):
    """What a start costs: medians over processes, in seconds; and bytes of resident memory at the peak, None where the system
    does not tell."""

    imported: float = Field(alias="import")
    load: float
    first_window: float
    first_verdict: float
    peak_bytes: float | None


class EngineTimes(Record):
    """What was measured of one engine."""

    kind: str
    precision: str
    target: str
    file: str
    bytes: int
    provider: str
    windows: int
    """How many the recording has."""
    real_time_factor: Factors
    window_latency: Latency
    fresh_process: FreshProcess


class Ratios(Record):
    """How many times as long the second engine takes: medians over pairs of neighbouring rounds."""

    model: float
    whole: float


class StageReport(Report):
    """Times of one engine or two on one recording."""

    threads: int
    bundle: MeasuredBundle
    audio: Clip
    engines: tuple[EngineTimes, ...]
    ratios: Ratios | None
    """None for one engine."""


def benchmark(
    bundle: str | os.PathLike[str] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    seconds: float = 60.0,
    precision: str | None = None,
    against: str | None = None,
    threads: int = 1,
    repeats: int = 5,
) -> StageReport:
    """Times of a bundle on one recording; durations are in seconds, sizes in bytes.

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
    before = machine()
    rate = detectors[0].bundle.manifest.audio.sample_rate
    audio, source = clip(detectors[0].bundle, file, seconds)
    with _recording(file, audio, rate) as recording:
        runs = _interleaved(detectors, recording, audio, repeats)
        duration = len(audio) / rate
        engines = [
            _times(
                detector,
                rounds,
                duration,
                in_fresh_processes(path, recording, detector.engine.file.precision, threads, repeats),
            )
            for detector, rounds in zip(detectors, runs, strict=True)
        ]
    return StageReport(
        machine=before,
        versions=versions(),
        threads=threads,
        repeats=repeats,
        bundle=MeasuredBundle.of(detectors[0].bundle),
        audio=Clip(source=source, seconds=duration),
        engines=tuple(engines),
        ratios=ratios(*runs) if against is not None else None,
    )


@dataclass(frozen=True)
class Round:
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


def _interleaved(detectors: list[TimedDetector], recording: str, audio: Samples, repeats: int) -> list[list[Round]]:
    """Each detector's rounds, taken in turns; a first call of each engine is not counted."""
    for detector in detectors:
        contract = detector.bundle.manifest.audio
        detector.engine.score(np.resize(audio, (1, contract.window)))
    rounds: list[list[Round]] = [[] for _ in detectors]
    for _ in range(repeats):
        for detector, own in zip(detectors, rounds, strict=True):
            own.append(one_round(detector, recording, audio))
    return rounds


def one_round(detector: TimedDetector, recording: str, audio: Samples) -> Round:
    """A pass of a detector over a recording, whose samples the speech gate hears by itself."""
    detector.engine.seconds.clear()
    start = perf_counter()
    detector.detect(recording)
    pipeline = perf_counter() - start
    windows = list(detector.engine.seconds)
    if not windows:
        raise ConfigurationError(f"No window of {recording} can be scored. Give a longer recording that is not clipped.")
    start = perf_counter()
    SpeechGate().feed(audio)
    return Round(pipeline, perf_counter() - start, windows)


def _times(detector: TimedDetector, rounds: list[Round], duration: float, fresh: FreshProcess) -> EngineTimes:
    windows = np.concatenate([one.windows for one in rounds])
    whole = [one.whole / duration for one in rounds]
    file = detector.engine.file
    return EngineTimes(
        kind=file.kind,
        precision=file.precision,
        target=file.target,
        file=file.file,
        bytes=(detector.bundle.path / file.file).stat().st_size,
        provider=detector.engine.provider,
        windows=len(rounds[0].windows),
        real_time_factor=Factors(
            model=float(np.median([one.model for one in rounds])) / duration,
            speech_gate=float(np.median([one.gate for one in rounds])) / duration,
            rest=float(np.median([one.pipeline - one.model for one in rounds])) / duration,
            whole=float(np.median(whole)),
            whole_lowest=min(whole),
            whole_highest=max(whole),
        ),
        window_latency=Latency(median=float(np.median(windows)), p95=float(np.percentile(windows, 95))),
        fresh_process=fresh,
    )


def ratios(first: list[Round], second: list[Round]) -> Ratios:
    """What the second engine's rounds are to the first's, which they took turns with."""
    pairs = list(zip(first, second, strict=True))
    return Ratios(
        model=float(np.median([b.model / a.model for a, b in pairs])),
        whole=float(np.median([b.whole / a.whole for a, b in pairs])),
    )


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


def in_fresh_processes(bundle: Path, recording: str, precision: str, threads: int, repeats: int) -> FreshProcess:
    """What `probe` measures in new processes, as medians. -P keeps the script's own folder off their import path.

    Raises VivavoceError where one fails.
    """
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
    told = {name: [one[name] for one in measured] for name in measured[0]}
    medians = {name: None if None in values else float(np.median(values)) for name, values in told.items()}
    return FreshProcess.model_validate(medians)

"""Speech for tests, and detectors whose engine is a function."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from vivavoce import Detector
from vivavoce.audio import Samples, load
from vivavoce.bundle import Bundle

__all__ = ["RATE", "FunctionEngine", "detector_with", "speech"]

RATE = 16_000
CLIPS = Path(__file__).parents[2] / "examples" / "audio"


@cache
def _voices() -> Samples:
    """Half a minute of people who speak almost without a pause, at 16 kHz."""
    names = (
        "human_allison_en.flac",
        "human_june_fr.flac",
        "human_carlo_it.flac",
        "human_ivrvoice_ru.mp3",
        "human_librivox_en.ogg",
    )
    return np.concatenate([load(CLIPS / name, RATE) for name in names])


def speech(seconds: float) -> Samples:
    """As much speech at 16 kHz, from the same beginning; it repeats after half a minute."""
    return np.resize(_voices(), round(seconds * RATE))


class FunctionEngine:
    """An engine whose score is a function of the window; it counts its windows."""

    provider = "function"
    incremental = None
    skipped = ()

    def __init__(self, bundle: Bundle, function: Callable[[Samples], float]) -> None:
        self.file = bundle.manifest.engines[0]
        self.function = function
        self.windows = 0
        self._lock = threading.Lock()

    def score(self, windows: Samples) -> Samples:
        with self._lock:
            self.windows += len(windows)
        return np.array([self.function(window) for window in windows], np.float32)


def detector_with(bundle: Path, function: Callable[[Samples], float], **options: Any) -> tuple[Detector, FunctionEngine]:
    """A detector on `bundle` whose engine is `function`."""
    engine = FunctionEngine(Bundle(bundle), function)
    with mock.patch("vivavoce.detector.open_engine", return_value=engine):
        return Detector(bundle, **options), engine

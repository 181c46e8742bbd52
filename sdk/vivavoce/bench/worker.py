"""What takes part in `bench --against`: one network in one runtime, alone in a process of its own, timed on command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio import Samples
from ..bundle import Bundle, EngineFile
from ..engines.engine import load_engine
from ..errors import VivavoceError
from .cold_start import peak_bytes
from .operators import profile

__all__ = ["Ended", "EngineEntrant", "Entrant", "Loaded", "run_entrant"]


@dataclass(frozen=True)
class Loaded:
    """What a worker tells first: what runs the network, the seconds that loading took, and a score for each window."""

    provider: str
    seconds: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Ended:
    """What it tells last: bytes of resident memory at the peak, None where the system does not tell, and the stem's share."""

    peak_bytes: int | None
    stem_share: float


class Entrant(Protocol):
    """One network in one runtime, loaded."""

    provider: str
    """What runs it."""

    def score(self, windows: NDArray[np.float32]) -> Samples:
        """Raw scores (batch,), higher = more bona fide, from samples (batch, window)."""
        ...

    def stem_share(self, windows: NDArray[np.float32]) -> float:
        """The share of the time of `score` that is neither encoder layers' nor back-end's: convolutions and positions."""
        ...


class EngineEntrant:
    """An engine of a bundle, its file checked against the manifest."""

    def __init__(self, bundle: Path, file: EngineFile, threads: int) -> None:
        self._bundle, self._file, self._threads = Bundle(bundle), file, threads
        self._engine = load_engine(self._bundle, file, threads=threads)
        self.provider = self._engine.provider
        self.score = self._engine.score

    def stem_share(self, windows: NDArray[np.float32]) -> float:
        """As ONNX Runtime's own profile tells it, in a second session: profiling costs time."""
        parts = profile(self._bundle, precision=self._file.precision, threads=self._threads, repeats=2).parts
        return sum(part.share for part in parts if part.name == "stem")


def run_entrant(pipe: Connection, enter: Callable[[], Entrant], clip: Path) -> None:
    """Loads an entrant and scores the windows of `clip` (n, window) each time that `pipe` says True, until it says False.

    Sends `Loaded`, then the seconds of each pass, by the clock and on a core, in the end `Ended`; or the one sentence of an
    error.
    """
    try:
        start = perf_counter()
        entrant = enter()
        loaded = perf_counter() - start
        windows = np.load(clip, allow_pickle=False)[:, None]
        scores = tuple(float(entrant.score(window)[0]) for window in windows)
        pipe.send(Loaded(entrant.provider, loaded, scores))
        while pipe.recv():
            start, busy = perf_counter(), process_time()
            for window in windows:
                entrant.score(window)
            pipe.send((perf_counter() - start, process_time() - busy))
        peak = peak_bytes()
        pipe.send(Ended(peak, entrant.stem_share(windows[0])))
    except VivavoceError as error:
        pipe.send(str(error))

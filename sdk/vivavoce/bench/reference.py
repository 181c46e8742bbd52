"""Bundles against what they were made from: the same windows through each engine and through the original network in its own
framework, in turns, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio import Samples
from ..bundle import AudioContract, Bundle
from ..engines.self_test import clip
from ..errors import ConfigurationError, VivavoceError, needs_extra
from ..listening.windows import grid
from ..machine import machine, versions
from .records import Clip, Record, Report, Spread
from .worker import Ended, EngineEntrant, Entrant, Loaded, run_entrant

__all__ = ["GROUP", "EntrantTimes", "ReferenceReport", "benchmark_against", "open_reference", "references"]

GROUP = "vivavoce.references"
"""Entry points of this group give the originals of bundles: the name is what `bench --against` takes, the object a function of
a bundle's folder, the checkpoint that it was converted from, and a number of threads, that gives an `Entrant`."""

FEW, MORE = 1, 2


class Windows(Clip):
    """The recording as it is cut."""

    windows: int


class Origin(Record):
    """A bundle, and what it was made from."""

    path: str
    name: str
    checkpoint_sha256: str


class Competitor(Record):
    """What takes part: a bundle's file, or the checkpoint, under the framework's name and without a bundle."""

    name: str
    bundle: str | None
    precision: str
    bytes: int


class EntrantTimes(Competitor):
    """What was measured of it on a number of threads."""

    provider: str
    threads: int
    load_seconds: float
    window_seconds: Spread
    speedup: Spread
    """How many times as long the reference takes in the same round."""
    processor_seconds: Spread
    """Like `window_seconds`, of the time that the process was on a core, which other processes lengthen less."""
    processor_speedup: Spread
    largest_score_difference: float
    peak_bytes: int | None
    stem_share: float


class ReferenceReport(Report):
    """Engines beside the network that they were made from, on one recording."""

    audio: Windows
    window: int
    bundles: tuple[Origin, ...]
    entrants: tuple[EntrantTimes, ...]


def references() -> dict[str, EntryPoint]:
    """The frameworks that the installed packages can run an original in, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def benchmark_against(
    reference: str,
    checkpoint: str | os.PathLike[str],
    bundles: Sequence[str | os.PathLike[str]],
    *,
    file: str | os.PathLike[str] | None = None,
    seconds: float = 60.0,
    threads: int = MORE,
    repeats: int = 5,
) -> ReferenceReport:
    """Times of every engine of `bundles` and of the network in `checkpoint`, which all were made from, on one recording.

    `reference` is the framework that runs the checkpoint, such as "torch". `file` is the recording; None repeats the first
    bundle's self-test audio up to `seconds`. Everything runs on one thread, then on `threads`; within a number of threads the
    entrants take turns, so that all meet the same machine.

    Raises ConfigurationError where the settings leave nothing to measure, the framework is unknown, or the bundles were made
    from different checkpoints; VivavoceError, with the command that installs it, where the framework is missing; and as
    `Detector`.
    """
    if repeats < 1 or seconds <= 0 or threads < 1 or not bundles:
        raise ConfigurationError(
            f"{repeats} repeats of {seconds} s on {threads} threads with {len(bundles)} bundles measure nothing. "
            f"Give 1 or more of each, and more than 0 s."
        )
    opened = [Bundle(path) for path in bundles]
    lineup = _lineup(reference, Path(checkpoint), opened)
    # The machine is described first, so that its load average is not the benchmark's own.
    before = machine()
    contract = opened[0].manifest.audio
    audio, source = clip(opened[0], file, seconds)
    windows = _windows(audio, contract)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "windows.npy"
        np.save(saved, windows)
        entrants = [row for count in sorted({FEW, threads}) for row in _round_robin(lineup, saved, count, repeats)]
    return ReferenceReport(
        machine=before,
        versions=versions(),
        repeats=repeats,
        audio=Windows(source=source, seconds=len(audio) / contract.sample_rate, windows=len(windows)),
        window=contract.window,
        bundles=tuple(_origin(bundle) for bundle in opened),
        entrants=tuple(entrants),
    )


@dataclass(frozen=True)
class _Place:
    """One in the line-up: what it is, and how to load it with a number of threads."""

    described: Competitor
    enter: Callable[[int], Entrant]


def _lineup(reference: str, checkpoint: Path, bundles: Sequence[Bundle]) -> list[_Place]:
    """The reference first, then every engine of the bundles that this runtime opens."""
    if reference not in references():
        known = ", ".join(references()) or "none is installed"
        raise ConfigurationError(
            f'There is no framework "{reference}" to run a checkpoint in. Choose one of: {known}. '
            f'For torch run: pip install "vivavoce[convert]"'
        )
    if not checkpoint.is_file():
        raise ConfigurationError(f"There is no file {checkpoint}. Give the checkpoint that the bundle was converted from.")
    origins = {bundle.manifest.model.checkpoint_sha256 for bundle in bundles}
    if len(origins) > 1 or len({bundle.manifest.audio.window for bundle in bundles}) > 1:
        names = ", ".join(str(bundle.path) for bundle in bundles)
        raise ConfigurationError(f"{names} were not made from one checkpoint. Give bundles that were.")
    original = Competitor(name=reference, bundle=None, precision="float32", bytes=checkpoint.stat().st_size)
    places = [_Place(original, partial(open_reference, reference, bundles[0].path, checkpoint))]
    for bundle in bundles:
        for engine in bundle.manifest.engines:
            if engine.kind == "onnx":
                size = sum((bundle.path / name).stat().st_size for name in (engine.file, *engine.data))
                described = Competitor(name=engine.file, bundle=str(bundle.path), precision=engine.precision, bytes=size)
                places.append(_Place(described, partial(EngineEntrant, bundle.path, engine)))
    return places


def open_reference(name: str, bundle: Path, checkpoint: Path, threads: int) -> Entrant:
    """The checkpoint in a framework. Raises MissingExtra, with the command that installs it, where the framework is missing."""
    with needs_extra("convert"):
        made: Entrant = references()[name].load()(bundle, checkpoint, threads)
    return made


def _round_robin(lineup: Sequence[_Place], windows: Path, threads: int, repeats: int) -> Iterator[EntrantTimes]:
    """What was measured of each in the line-up, the first being what the others are compared with."""
    with ExitStack() as stack:
        running = [stack.enter_context(_started(place, windows, threads)) for place in lineup]
        for _ in range(repeats):
            for one in running:
                one.passes.append(one.ask(True))
        reference = running[0]
        for one in running:
            count = len(one.loaded.scores)
            own, theirs = np.array(one.passes), np.array(reference.passes)
            (seconds, busy), (speedup, busy_speedup) = (own / count).T, (theirs / own).T
            difference = np.abs(np.subtract(one.loaded.scores, reference.loaded.scores)).max()
            ended: Ended = one.ask(False)
            yield EntrantTimes(
                **dict(one.place.described),
                provider=one.loaded.provider,
                threads=threads,
                load_seconds=one.loaded.seconds,
                window_seconds=Spread.of(seconds),
                speedup=Spread.of(speedup),
                processor_seconds=Spread.of(busy),
                processor_speedup=Spread.of(busy_speedup),
                largest_score_difference=float(difference),
                peak_bytes=ended.peak_bytes,
                stem_share=ended.stem_share,
            )


@dataclass
class _Running:
    """An entrant in its process."""

    place: _Place
    ask: Callable[[bool], Any]
    """True times a pass over the clip, False ends the process and tells what it took."""
    loaded: Loaded
    passes: list[tuple[float, float]] = field(default_factory=list)


@contextmanager
def _started(place: _Place, windows: Path, threads: int) -> Iterator[_Running]:
    # A forked copy of ONNX Runtime's threads would hang, and its memory would be its parent's.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_entrant, args=(theirs, partial(place.enter, threads), windows), daemon=True)
    process.start()
    theirs.close()

    def answer() -> Any:
        try:
            told = ours.recv()
        except EOFError as error:
            process.join()
            raise VivavoceError(
                f"The process that measures {place.described.name} ended with code {process.exitcode}. "
                f"Give the machine more memory, or measure fewer bundles at a time."
            ) from error
        if isinstance(told, str):
            raise VivavoceError(told)
        return told

    def ask(again: bool) -> Any:
        ours.send(again)
        return answer()

    try:
        yield _Running(place, ask, answer())
    finally:
        process.kill()
        process.join()


def _windows(audio: Samples, contract: AudioContract) -> NDArray[np.float32]:
    """The windows (n, window) of a recording; one shorter than a window is tiled to one."""
    if not len(audio):
        raise ConfigurationError("The recording is empty. Give a longer one.")
    found = grid(len(audio), contract.window, contract.hop)
    return np.stack([np.resize(audio[start:end], contract.window) for start, end in found])


def _origin(bundle: Bundle) -> Origin:
    manifest = bundle.manifest
    return Origin(path=str(bundle.path), name=manifest.name, checkpoint_sha256=manifest.model.checkpoint_sha256)

"""Scoring a corpus with a bundle: in parallel, and so that a run that was killed goes on where it stopped.

The score of a trial is the detector's own. Where the detector leaves the trial undecided, for want of speech or another reason,
the score is what its windows give when no reason counts: error rates need every trial, and leaving out the hard ones would
flatter. The reason is kept beside the score.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from vivavoce import AudioError, ConfigurationError, Detector, VivavoceError
from vivavoce.audio import Source, load
from vivavoce.bundle import MANIFEST
from vivavoce.engines.incremental import Continuation
from vivavoce.errors import needs_extra
from vivavoce.files import replacing, sha256
from vivavoce.listening.verdict import Judge
from vivavoce.listening.windows import grid
from vivavoce.machine import versions
from vivavoce.progress import Advance, quiet

from .corpora import CorpusError, Trial
from .snr import estimated_snr
from .telephone import through

__all__ = ["Scored", "Scorer", "score_corpus", "write_scores"]

Pool = Literal["processes", "ray"]

UNINVOLVED = ("python", "sounddevice")
"""Versions that no score depends on."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One trial's score: a log-likelihood ratio, or the engine's own score where the bundle has no calibration."""

    id: str
    score: float
    reason: str | None
    """Why the detector leaves the trial undecided; None where it decides."""
    duration: float
    speech: float
    snr: float | None = None
    """As `estimated_snr` has it; None also in journals from before it was."""


@dataclass(frozen=True, slots=True)
class _Failure:
    id: str
    message: str


@dataclass(frozen=True, slots=True)
class Scorer:
    """What scores: a bundle's folder and how to run it. Copies of it work in other processes."""

    bundle: Path
    precision: str | None = None
    threads: int = 1
    line: str | None = None
    """The telephone line that recordings come through; see `telephone`."""

    def open(self) -> Callable[[Trial], Scored | _Failure]:
        """A function that scores a trial, with a detector of its own."""
        detector = self.detector()
        return lambda trial: _score(detector, trial, self.line)

    def detector(self) -> Detector:
        """The bundle, opened. Raises as Detector does."""
        return Detector(self.bundle, precision=self.precision, threads=self.threads)

    def identity(self) -> dict[str, str]:
        """What a score depends on besides the audio: the bundle, the engine and the versions of what runs it."""
        manifest = (self.bundle / MANIFEST).read_bytes()
        engine = self.detector().engine
        return {
            "manifest_sha256": sha256(manifest),
            "engine": engine.file.file,
            "engine_sha256": engine.file.sha256,
            "provider": engine.provider,
            **({"telephone": self.line} if self.line else {}),
            **{name: version for name, version in versions().items() if name not in UNINVOLVED},
        }


def score_corpus(
    trials: Sequence[Trial],
    scorer: Scorer,
    *,
    journal: Path | None = None,
    jobs: int = 1,
    pool: Pool = "processes",
    advance: Advance = quiet,
) -> list[Scored]:
    """The scores of the trials, in their order.

    `journal` is a file that takes each score as it comes; where it has some already, only the rest is scored. `jobs` is how
    many workers score at the same time, each with an engine of its own: this process for 1, others beside it for more, or
    actors of Ray, on the cluster that RAY_ADDRESS names or else on this machine. `advance` is told of the scores that are
    there, at first of those in the journal.

    Raises ConfigurationError where the journal holds scores of other trials, of another bundle or engine, or by other versions,
    CorpusError where trials cannot be decoded or hold nothing to score, once all others are scored; and as Detector does.
    """
    opened = _Journal.open(journal, scorer.identity(), trials) if journal else contextlib.nullcontext(_Journal({}, None))
    failures: list[_Failure] = []
    with opened as book:
        advance(len(book.scores), len(trials))
        left = [trial for trial in trials if trial.id not in book.scores]
        with contextlib.closing(_outcomes(left, scorer, jobs, pool)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, _Failure):
                    failures.append(outcome)
                else:
                    book.add(outcome)
                    advance(len(book.scores), len(trials))
    if failures:
        raise CorpusError(
            f"{len(failures)} of {len(trials)} trials cannot be scored, such as {failures[0].id}: {failures[0].message} "
            f"Repair the audio, or take the trials out of the corpus' lists."
        )
    return [book.scores[trial.id] for trial in trials]


def write_scores(path: Path, scores: Iterable[Scored]) -> None:
    """Writes scores as ASVspoof 5 wants them: a header, then an id and a score a line, separated by a tab."""
    with replacing(path) as file:
        file.write("filename\tcm-score\n")
        file.writelines(f"{one.id}\t{one.score!r}\n" for one in scores)


# One trial.


def _score(detector: Detector, trial: Trial, line: str | None) -> Scored | _Failure:
    try:
        audio = through(line, trial.audio) if line else trial.audio
        result = detector.detect(audio)
        score = _forced(detector, audio) if result.score is None else result.score
        snr = estimated_snr(load(audio, detector.bundle.manifest.audio.sample_rate))
    except AudioError as error:
        return _Failure(trial.id, str(error))
    # That a score lies between thresholds says something about these, not about the recording.
    reason = None if result.reason == "between" else result.reason
    return Scored(trial.id, score, reason, result.duration, result.speech, snr)


def _forced(detector: Detector, audio: Source) -> float:
    """The mean score of all windows of a recording, whatever is in them."""
    contract = detector.bundle.manifest.audio
    samples = load(audio, contract.sample_rate)
    if not (len(samples) and np.isfinite(samples).all()):
        raise AudioError(f"It holds {'samples that are not finite' if len(samples) else 'no samples'}.")
    judge = Judge(detector.engine, detector.bundle.manifest, detector.band)
    continuation = Continuation(detector.engine, contract.window)
    windows = grid(len(samples), contract.window, contract.hop)
    raw = [continuation.score(start, end, lambda a, b: samples[a:b]) for start, end in windows]
    return float(np.mean([judge.calibrated(score) for score in raw]))


# Many trials.


def _outcomes(trials: Sequence[Trial], scorer: Scorer, jobs: int, pool: Pool) -> Generator[Scored | _Failure]:
    """What becomes of each trial, in order."""
    if pool == "ray":
        yield from _on_ray(trials, scorer, jobs)
    elif jobs > 1 and len(trials) > 1:
        yield from _in_processes(trials, scorer, jobs)
    else:
        yield from map(scorer.open(), trials)


def _in_processes(trials: Sequence[Trial], scorer: Scorer, jobs: int) -> Iterator[Scored | _Failure]:
    # A forked copy of ONNX Runtime's threads would hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin_work, (scorer,))
    try:
        yield from _in_order((pool.submit(_work, trial) for trial in trials), ahead=8 * jobs)
    except BrokenProcessPool as error:
        raise VivavoceError(
            "A process that scores was killed. Run again to go on, with fewer jobs if memory is short."
        ) from error
    else:
        # An interpreter that ends while its executor does writes a traceback.
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _on_ray(trials: Sequence[Trial], scorer: Scorer, jobs: int) -> Iterator[Scored | _Failure]:
    with needs_extra("ray"):
        import ray
    if started := not ray.is_initialized():
        # Nothing of a run leaves the machine, unless its owner asks for that.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        actors: list[Any] = [ray.remote(_Actor).remote(scorer) for _ in range(jobs)]
        sent = (actors[number % jobs].score.remote(trial).future() for number, trial in enumerate(trials))
        yield from _in_order(sent, ahead=8 * jobs)
    finally:
        if started:
            ray.shutdown()


def _in_order(futures: Iterator[Future[Scored | _Failure]], ahead: int) -> Iterator[Scored | _Failure]:
    """The results of futures that are made while earlier ones are waited for, at most `ahead` at a time."""
    waiting: deque[Future[Scored | _Failure]] = deque()
    for future in futures:
        waiting.append(future)
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Actor:
    """A worker of Ray's."""

    def __init__(self, scorer: Scorer) -> None:
        self._score = scorer.open()

    def score(self, trial: Trial) -> Scored | _Failure:
        return self._score(trial)


_score_here: Callable[[Trial], Scored | _Failure]


def _begin_work(scorer: Scorer) -> None:
    """Prepares a worker process, which ends when its parent does: an executor's own workers survive a parent that is killed."""
    global _score_here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _score_here = scorer.open()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _work(trial: Trial) -> Scored | _Failure:
    return _score_here(trial)


# The journal.


class _Journal:
    """Scores by id, and the file that keeps them: JSON lines, the first with what they depend on, then one for each score.

    Only whole lines count, so a run that was killed in the middle of one leaves a file that can be gone on with.
    """

    def __init__(self, scores: dict[str, Scored], file: BinaryIO | None) -> None:
        self.scores, self._file = scores, file

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, identity: dict[str, str], trials: Sequence[Trial]) -> Iterator[_Journal]:
        """The journal at `path`, made where there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            size, scores = _read_journal(path, file, identity)
            if unknown := scores.keys() - {trial.id for trial in trials}:
                raise ConfigurationError(
                    f"{path} holds scores of {len(unknown)} trials that the corpus has not, such as {min(unknown)}. "
                    f"Name another folder, or delete the file."
                )
            file.truncate(size)
            if not size:
                _append(file, identity)
            yield cls(scores, file)

    def add(self, scored: Scored) -> None:
        self.scores[scored.id] = scored
        if self._file:
            _append(self._file, asdict(scored))


def _append(file: BinaryIO, record: dict[str, Any]) -> None:
    file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
    file.flush()


def _read_journal(path: Path, file: BinaryIO, identity: dict[str, str]) -> tuple[int, dict[str, Scored]]:
    """How many bytes of a journal are whole lines, and the scores in them."""
    file.seek(0)
    size, scores = 0, {}
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            if number == 1:
                _require_same(path, record, identity)
            else:
                scores[record["id"]] = Scored(**record)
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, VivavoceError):
                raise
            raise ConfigurationError(f"{path}, line {number}, is not a score. Delete the file to score all again.") from error
        size += len(line)
    return size, scores


def _require_same(path: Path, found: dict[str, Any], identity: dict[str, str]) -> None:
    if different := [name for name in {**found, **identity} if found.get(name) != identity.get(name)]:
        name = different[0]
        raise ConfigurationError(
            f"{path} holds scores of another {name}, {found.get(name)} instead of {identity.get(name)}. "
            f"Name another folder, or delete the file to score all again."
        )

"""Batches: one thing after another, or several at a time, in order; what fails is an error in its place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..errors import AudioError, VivavoceError, whole

__all__ = ["in_order"]

Thing = TypeVar("Thing")

AHEAD = 2
"""Things that wait for each one in work, so that a slow one holds up the others for a while only."""


def in_order(work: Callable[[Thing, threading.Event], Any], things: Iterable[Thing], jobs: int) -> Generator[Any, None, None]:
    """What `work` gives for each thing, or the error that it raises, in their order; `jobs` are in work at a time.

    The event is set once nobody wants the rest. Raises ConfigurationError at once for `jobs` that are no number from 1 to 1024.
    """
    jobs = whole("jobs", jobs, "things at a time", most=1024)
    return _one_by_one(work, things) if jobs == 1 else _at_once(work, things, jobs)


def _one_by_one(work: Callable[[Thing, threading.Event], Any], things: Iterable[Thing]) -> Generator[Any, None, None]:
    stop = threading.Event()
    for thing in things:
        yield _outcome(work, thing, stop)


def _at_once(work: Callable[[Thing, threading.Event], Any], things: Iterable[Thing], jobs: int) -> Generator[Any, None, None]:
    pool, stop = ThreadPoolExecutor(jobs), threading.Event()
    waiting: deque[Future[Any]] = deque()
    try:
        for thing in things:
            waiting.append(pool.submit(_outcome, work, thing, stop))
            if len(waiting) > AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _outcome(work: Callable[[Thing, threading.Event], Any], thing: Thing, stop: threading.Event) -> Any:
    try:
        return work(thing, stop)
    except VivavoceError as error:
        return error
    except Exception as error:  # Whatever it is, it is this thing's alone.
        failed = AudioError(
            f"It cannot be judged: {type(error).__name__}: {error}. Please report this, it is a fault of vivavoce."
        )
        failed.__cause__ = error
        return failed

"""`vivavoce scan`: a verdict for each recording."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn, TimeRemainingColumn

from ..audio import AUDIO_SUFFIXES
from ..detector import Detector
from ..errors import AudioError, ConfigurationError
from ..terminal.console import BAD, GOOD, MIXED, AcceptOption, BundleOption, PointOption, RejectOption, console
from .scan_rows import CsvLines, JsonLines, Outcome, Rows, Tally, Writer

__all__ = ["STDIN", "exit_code", "scan"]

STDIN = "-"


def scan(
    paths: Annotated[list[str] | None, typer.Argument(help="Recordings, folders of them, or - for standard input.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Two recordings that came along: a living and a synthetic voice.")
    ] = False,
    bundle: BundleOption = None,
    operating_point: PointOption = None,
    accept: AcceptOption = None,
    reject: RejectOption = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as results come.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV, as results come.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads for one inference.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Files judged at the same time.")] = 1,
    segments: Annotated[
        float | None,
        typer.Option(help="Draw the scores of segments of so many seconds, such as 0.5, and tell the lowest stretch."),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 whatever the verdicts are.")] = False,
) -> int:
    """Tell whether recordings hold a living voice.

    Exit code: 0 all are bona fide, 1 at least one is spoof, 2 the command could not run, 3 none is spoof, but at least one is
    undecided or unreadable.
    """
    if json and csv:
        raise ConfigurationError("--json and --csv exclude each other. Give one of them.")
    if demo:
        paths = [*(paths or ()), str(resources.files("vivavoce") / "demo")]
    if not paths:
        raise ConfigurationError("There is nothing to scan. Give recordings or folders, or try: vivavoce scan --demo")
    files = find(paths)
    detector = Detector(bundle, operating_point=operating_point, accept=accept, reject=reject, threads=threads)
    out = console()
    tally, start = Tally(), perf_counter()
    with _progress(out, len(files)) as advance:
        writer: Writer = JsonLines() if json else CsvLines() if csv else Rows(out, detector, segments is not None)
        for outcome in judge(files, detector, jobs, segments):
            writer.write(outcome)
            tally.add(outcome)
            advance()
    writer.end(tally, perf_counter() - start)
    return GOOD if exit_zero else exit_code(tally.kinds)


def exit_code(kinds: Mapping[str, int]) -> int:
    """The exit code for so many outcomes of each kind."""
    if kinds["spoof"]:
        return BAD
    return MIXED if kinds["undecided"] or kinds["unreadable"] else GOOD


def find(paths: Iterable[str]) -> list[str]:
    """The files to judge, in the order given, each folder replaced by the audio files under it.

    Raises ConfigurationError for a path that is not there, and for a folder without any.
    """
    files: list[str] = []
    for path in dict.fromkeys(paths):
        if path != STDIN and not Path(path).exists():
            raise ConfigurationError(f"{path} does not exist. Give recordings, folders of them, or - for standard input.")
        if path == STDIN or not Path(path).is_dir():
            files.append(path)
            continue
        found = sorted(str(file) for file in Path(path).rglob("*") if _is_audio(file))
        if not found:
            raise ConfigurationError(
                f"{path} holds no audio files. Give a folder with files that end in {', '.join(sorted(AUDIO_SUFFIXES))}."
            )
        files += found
    return files


def judge(files: Iterable[str], detector: Detector, jobs: int, segment_hop: float | None = None) -> Iterator[Outcome]:
    """The outcome of each file, in order; `jobs` files are in work at the same time."""
    if jobs == 1:
        yield from (_judge(file, detector, segment_hop) for file in files)
        return
    pool = ThreadPoolExecutor(jobs)
    waiting: deque[Future[Outcome]] = deque()
    try:
        for file in files:
            waiting.append(pool.submit(_judge, file, detector, segment_hop))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _judge(file: str, detector: Detector, segment_hop: float | None) -> Outcome:
    try:
        return Outcome(file, detector.detect(sys.stdin.buffer.read() if file == STDIN else file, segment_hop=segment_hop))
    except AudioError as error:
        return Outcome(file, error=str(error))
    except OSError as error:
        return Outcome(file, error=f"{file} cannot be read: {error.strerror}.")


def _is_audio(file: Path) -> bool:
    # Names with a dot in front are hidden, or what macOS puts beside a file on foreign disks.
    return file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith(".") and file.is_file()


@contextmanager
def _progress(out: Console, files: int) -> Iterator[Callable[[], None]]:
    """A bar on whichever of stdout and stderr is a terminal, above which the rows appear, and what moves it on."""
    shown = out if out.is_terminal else console(stderr=True)
    if not shown.is_terminal:
        yield lambda: None
        return
    columns = (SpinnerColumn("line"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True, redirect_stdout=shown is out) as progress:
        task = progress.add_task("", total=files)
        yield lambda: progress.advance(task)

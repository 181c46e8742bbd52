"""`vivavoce scan`: a verdict for each recording."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from importlib import resources
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal

import typer

from ..decoding.arrays import Channel
from ..decoding.folders import AUDIO_SUFFIXES, Found, find, told
from ..detector import Detector
from ..errors import ConfigurationError, VivavoceError
from ..terminal.console import (
    BAD,
    GOOD,
    MIXED,
    STDIN,
    AcceptOption,
    BundleOption,
    PointOption,
    RejectOption,
    console,
    drop_output,
    standard_input,
    uninterrupted,
)
from ..terminal.progress_bars import bar_below
from .scan_rows import CsvLines, JsonLines, Outcome, Rows, Tally, Writer

__all__ = ["CHANNEL", "channel_of", "exit_code", "scan"]

CHANNEL = (
    "Of several channels: mix (their mean, or the loudest where the mean would lose it), one by its number from 0, or each "
    "by itself."
)


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
    channel: Annotated[str, typer.Option(help=CHANNEL)] = "mix",
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 whatever the verdicts are.")] = False,
) -> int:
    """Tell whether recordings hold a living voice.

    Exit code: 0 all are bona fide, 1 at least one is spoof, 2 the command could not run, 3 none is spoof, but at least one is
    undecided, unreadable, or of an unknown kind and passed over in a folder.
    """
    if json and csv:
        raise ConfigurationError("--json and --csv exclude each other. Give one of them.")
    if demo:
        paths = [*(paths or ()), str(resources.files("vivavoce") / "demo")]
    if not paths:
        raise ConfigurationError("There is nothing to scan. Give recordings or folders, or try: vivavoce scan --demo")
    found, chosen = search(paths), channel_of(channel)
    detector = Detector(bundle, operating_point=operating_point, accept=accept, reject=reject, threads=threads)
    out = console()
    tally, start = Tally(of=len(found.recordings), passed_over=found.passed_over), perf_counter()
    writer: Writer = JsonLines() if json else CsvLines() if csv else Rows(out, detector, segments is not None)
    try:
        with bar_below(out) as advance:
            for done, outcome in enumerate(judge(found.recordings, detector, jobs, chosen, segments), start=1):
                with uninterrupted():
                    _write(writer, outcome, tally)
                    tally.add(outcome)
                advance(done, len(found.recordings))
    except KeyboardInterrupt:
        writer.end(tally, perf_counter() - start)
        raise
    writer.end(tally, perf_counter() - start)
    return GOOD if exit_zero else exit_code(tally.kinds + tally.left_out)


def _write(writer: Writer, outcome: Outcome, tally: Tally) -> None:
    """Writes an outcome whole, or not at all where stdout is a file that cannot grow."""
    size = _size()
    try:
        writer.write(outcome)
    except BrokenPipeError:
        raise
    except OSError as error:
        if size is not None:
            with suppress(OSError):
                os.ftruncate(sys.stdout.fileno(), size)
        drop_output()
        raise VivavoceError(
            f"The output cannot be written: {error.strerror or error}. {tally.files} of {tally.of} files are in it, whole rows "
            f"all. Make room, and judge the rest."
        ) from error


def _size() -> int | None:
    """How long the file is that stdout is; None where it is none."""
    try:
        state = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return state.st_size if stat.S_ISREG(state.st_mode) else None


def exit_code(kinds: Mapping[str, int]) -> int:
    """The exit code for so many outcomes of each kind."""
    if kinds["spoof"]:
        return BAD
    return MIXED if kinds["undecided"] or kinds["unreadable"] or kinds["passed over"] else GOOD


def search(paths: Iterable[str]) -> Found:
    """The files to judge, in the order given, each folder replaced by the recordings under it, and what was passed over.

    Raises ConfigurationError for a path that is not there, and for a folder without any.
    """
    files = Found()
    for path in paths:
        if path != STDIN and not Path(path).exists():
            raise ConfigurationError(f"{path} does not exist. Give recordings, folders of them, or - for standard input.")
        if path == STDIN or not Path(path).is_dir():
            files.recordings.append(path)
            continue
        found = find(path)
        if not found.recordings:
            raise ConfigurationError(
                f"{path} holds no audio files{f' ({told(found.passed_over)})' if found.passed_over else ''}. "
                f"Give a folder with files that end in {', '.join(sorted(AUDIO_SUFFIXES))}."
            )
        files.recordings += found.recordings
        files.passed_over += found.passed_over
    return files


def judge(
    files: list[str],
    detector: Detector,
    jobs: int,
    channel: Channel | Literal["each"] = "mix",
    segment_hop: float | None = None,
) -> Iterator[Outcome]:
    """The outcome of each file, in order, one for each channel that is judged by itself; `jobs` files are in work at a time."""
    sources: Iterator[Any] = (standard_input() if file == STDIN else file for file in files)
    with closing(detector.detect_many(sources, jobs=jobs, channel=channel, segment_hop=segment_hop)) as answers:
        for file, answer in zip(files, answers, strict=True):
            if isinstance(answer, VivavoceError):
                yield Outcome(file, error=str(answer))
            else:
                results = answer if isinstance(answer, tuple) else (answer,)
                yield from (Outcome(file, result, first=not number) for number, result in enumerate(results))


def channel_of(text: str) -> Channel | Literal["each"]:
    """A channel as a user writes it. Raises ConfigurationError for what is none."""
    if text in ("mix", "each"):
        return text  # type: ignore[return-value]
    if not text.isdecimal():
        raise ConfigurationError(f'There is no channel "{text}". Give mix, each, or a number from 0.')
    return int(text)

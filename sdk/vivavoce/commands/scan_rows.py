"""How `vivavoce scan` writes an outcome: as a row for people, as a JSON object, or as a line of CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ..band import Band
from ..decoding.folders import told
from ..detector import Detector
from ..result import Provenance, Result, lowest_stretch
from ..terminal.console import WORDS, console, duration, mark, printable

__all__ = [
    "FIELDS",
    "KINDS",
    "CsvLines",
    "JsonLines",
    "Outcome",
    "Rows",
    "Tally",
    "Writer",
    "bar",
    "clock",
    "heading",
    "strip",
    "unit",
]

FIELDS = (
    *("file", "verdict", "score", "probability", "threshold", "reject_below", "reason", "remedy", "duration", "speech"),
    *("missing", "error", "clock", *(field.name for field in dataclasses.fields(Provenance)), "channel"),
)
"""The columns of CSV. A JSON object has the same keys but for those of a provenance, which are together under that name, and
the segments."""

KINDS = ("bonafide", "spoof", "undecided", "unreadable")

SCALE = 8.0
"""Distance from the threshold, in LLR, at which the bar is full."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a result, or why there is none."""

    file: str
    result: Result | None = None
    error: str | None = None
    first: bool = True
    """Whether it is the first about its file, of which each channel may have one."""

    @property
    def kind(self) -> str:
        """The verdict, or "unreadable"."""
        return "unreadable" if self.result is None else self.result.verdict

    def to_dict(self) -> dict[str, Any]:
        """The same keys for every outcome, None where there is nothing; `clock` is now, in UTC."""
        blank = dict.fromkeys((*(one.name for one in dataclasses.fields(Result)), "remedy"))
        fields = blank if self.result is None else self.result.to_dict()
        return {"file": self.file, **fields, "error": self.error, "clock": clock()}


@dataclass
class Tally:
    """How many outcomes of each kind there were, the seconds of audio in them, and of how many files; what was passed over."""

    kinds: Counter[str] = field(default_factory=Counter)
    audio: float = 0.0
    of: int = 0
    passed_over: list[str] = field(default_factory=list)
    files: int = 0

    @property
    def left_out(self) -> Counter[str]:
        """What was passed over, as an outcome."""
        return Counter({"passed over": len(self.passed_over)})

    def add(self, outcome: Outcome) -> None:
        self.kinds[outcome.kind] += 1
        self.audio += 0.0 if outcome.result is None else outcome.result.duration
        self.files += outcome.first

    def told(self) -> str:
        """Such as "3 files: 1 bona fide, 2 spoof, 0 undecided, 0 unreadable"."""
        counts = ", ".join(f"{self.kinds[kind]} {WORDS[kind]}" for kind in KINDS)
        files = f"{self.files} of {self.of}" if self.files < self.of else f"{self.files}"
        more = f"; {told(self.passed_over)}" if self.passed_over else ""
        return f"{files} file{'' if self.of == 1 else 's'}: {counts}{more}"


class Writer(Protocol):
    """Writes each outcome to stdout at once, and then what is to be said about all of them."""

    def write(self, outcome: Outcome) -> None: ...

    def end(self, tally: Tally, seconds: float) -> None: ...


class _Lines:
    """Lines for programs. What is said about all of them goes to stderr, where stdout is no terminal."""

    def end(self, tally: Tally, seconds: float) -> None:
        if not sys.stdout.isatty():
            console(stderr=True).print(Text(printable(tally.told())))


class JsonLines(_Lines):
    """One JSON object a line."""

    def write(self, outcome: Outcome) -> None:
        _put(json.dumps(outcome.to_dict()) + "\n")


class CsvLines(_Lines):
    """A line of column names, and a line for each outcome."""

    def __init__(self) -> None:
        self._line = io.StringIO()
        self._writer = csv.DictWriter(self._line, FIELDS, extrasaction="ignore", lineterminator="\n")
        self._writer.writeheader()

    def write(self, outcome: Outcome) -> None:
        row = outcome.to_dict()
        self._writer.writerow({**row, **(row["provenance"] or {})})
        _put(self._line.getvalue())
        self._line.seek(0)
        self._line.truncate()


def _put(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


class Rows:
    """For people: what decides, a row for each outcome in columns that suit the terminal's width, and a summary. The file comes
    last in its row, whole unless a terminal is too narrow for it."""

    def __init__(self, out: Console, detector: Detector, segments: bool = False) -> None:
        self._out, self._columns, self._segments = out, _Columns.fit(out), segments
        out.print(Text(printable(heading(detector)), "dim"), soft_wrap=False)
        out.print(Text(self._columns.header(unit(detector)), "bold"))

    def write(self, outcome: Outcome) -> None:
        self._out.print(self._columns.row(outcome, self._out))
        if (
            self._segments
            and outcome.result is not None
            and (drawn := strip(outcome.result, ascii_only=not _blocks(self._out)))
        ):
            self._out.print(Padding(Text(drawn, "dim"), (0, 0, 0, 2), expand=False), soft_wrap=False)
        # The row shows the file's name already.
        if more := (outcome.error or "").removeprefix(f"{outcome.file} ") or self._columns.left_out(outcome):
            self._out.print(Padding(Text(printable(more), "dim"), (0, 0, 0, 2), expand=False), soft_wrap=False)

    def end(self, tally: Tally, seconds: float) -> None:
        factor = f", real-time factor {seconds / tally.audio:.3f}" if tally.audio else ""
        line = f"{tally.told()}; {tally.audio:.1f} s of audio in {seconds:.1f} s{factor}"
        self._out.print(Text(line, "bold"), soft_wrap=False)


def strip(result: Result, *, ascii_only: bool) -> str:
    """The scores of a result's segments, one character each from lowest to highest, and where the lowest stretch is."""
    lowest = lowest_stretch(result.segments)
    if lowest is None:
        return ""
    steps = "_.-=+*%#" if ascii_only else "▁▂▃▄▅▆▇█"
    scores = [one.score for one in result.segments]
    span = max(scores) - min(scores) or 1.0
    drawn = "".join(steps[min(int((score - min(scores)) / span * len(steps)), len(steps) - 1)] for score in scores)
    return f"{drawn}  lowest from {lowest.start:.2f} to {lowest.end:.2f} s, {lowest.score:+.1f}"


def _blocks(out: Console) -> bool:
    return (out.encoding or "").lower().startswith("utf")


VERDICT, SCORE, TIME, GAP = 12, 6, 7, 2


@dataclass(frozen=True)
class _Columns:
    """Verdict, score, bar (2 * `half` + 1 characters, or none for 0), seconds of audio and of speech (or not), file."""

    half: int
    times: bool
    file: int | None
    """Characters that a file's name may take; None: as many as it has."""

    @classmethod
    def fit(cls, out: Console) -> _Columns:
        half, times = (9, True) if out.width >= 100 else (6, True) if out.width >= 72 else (0, False)
        columns = cls(half, times, None)
        left = out.width - len(columns.header("LLR")) + len("file")
        return cls(half, times, max(left, 8) if out.is_terminal else None)

    def header(self, score: str) -> str:
        bar = f"  {'threshold':^{2 * self.half + 1}}" if self.half else ""
        return f"{'verdict':<{VERDICT}}  {score:>{SCORE}}{bar}  {self._times('audio', 'speech')}file"

    def row(self, outcome: Outcome, out: Console) -> Text:
        result = outcome.result
        row = Text().append_text(mark(outcome.kind, out))
        row.append(" " * (VERDICT + GAP - row.cell_len))
        row.append_text(self._score(result, out)).append(" " * GAP)
        row.append(self._times(*("", "") if result is None else map(duration, (result.duration, result.speech))))
        channel = "" if result is None or result.channel is None else f" [channel {result.channel}]"
        return row.append(self._name(outcome.file + channel))

    def left_out(self, outcome: Outcome) -> str | None:
        """The reason for which the row has no room."""
        return None if outcome.result is None or self.half else outcome.result.reason

    def _score(self, result: Result | None, out: Console) -> Text:
        """The score and its bar, or in their place the reason why there is none, as wide in either case."""
        width = SCORE + (GAP + 2 * self.half + 1 if self.half else 0)
        if result is None or result.score is None:
            reason = None if result is None or not self.half else result.reason
            return Text(f"{reason or '':<{width}}")
        score = Text(f"{result.score:>+{SCORE}.2f}")
        return score.append("  ").append_text(_bar_of(result, self.half, out)) if self.half else score

    def _times(self, audio: str, speech: str) -> str:
        return f"{audio:>{TIME}}  {speech:>{TIME}}  " if self.times else ""

    def _name(self, file: str) -> str:
        name = printable(file)
        if self.file is None or cell_len(name) <= self.file:
            return name
        # The end of a path tells files apart.
        return "…" + chop_cells(name[::-1], self.file - 1)[0][::-1]


def heading(detector: Detector) -> str:
    """What decides: the bundle, and the thresholds under the names by which the user chose them."""
    manifest, band = detector.bundle.manifest, detector.band
    name = f"{manifest.name} {manifest.version}, {'' if ',' in band.name else 'operating point '}{band.name}"
    return f"{name}: bona fide from {unit(detector)} {band.accept:+.2f}{_lower(band)}"


def _lower(band: Band) -> str:
    return "" if f"{band.reject:+.2f}" == f"{band.accept:+.2f}" else f", spoof below {band.reject:.2f}, undecided between"


def clock() -> str:
    """Now, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _bar_of(result: Result, half: int, out: Console) -> Text:
    """How far a score lies beyond the threshold that it is judged by: an empty bar between the two."""
    score = result.score or 0.0
    return bar(score - result.threshold if result.accepted else min(score - result.reject_below, 0.0), half, out)


def unit(detector: Detector) -> str:
    """What a score is called: a log-likelihood ratio only where the bundle is calibrated."""
    return "LLR" if detector.bundle.manifest.calibration else "score"


def bar(margin: float, half: int, out: Console) -> Text:
    """2 * `half` + 1 characters that fill up from the middle, the threshold: to the right for a margin > 0."""
    full, left, right, middle = ("-", "-", "-", "|") if out.options.ascii_only else ("━", "╺", "╸", "│")
    steps = round(min(abs(margin) / SCALE, 1.0) * 2 * half)
    whole, part = full * (steps // 2), steps % 2
    if margin >= 0:
        return Text(" " * half + middle).append(f"{whole + right * part:<{half}}", "green")
    return Text().append(f"{left * part + whole:>{half}}", "red").append(middle + " " * half)

"""How `vivavoce listen` tells what happens: as lines for people, or as JSON. listen_panel.py adds what is heard meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from ..result import Event, Result
from ..sources import Lost
from ..terminal.console import console, duration, mark, printable
from .scan_rows import clock

__all__ = ["JsonEvents", "Lines", "View", "position"]


class View:
    """Tells what happens in a stream, within its `with` block."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def hear(self, chunk: NDArray[Any] | Lost, *, recording: bool) -> None:
        """Takes note of the audio that goes by, and whether it is being recorded."""

    def write(self, event: Event, recording: Path | None) -> None:
        """Tells of an event and, where an alarm is recorded, of the file that will hold it."""

    def note(self, text: str) -> None:
        """Tells something about the listening itself, from any thread."""
        console(stderr=True).print(Text(printable(f"vivavoce: {text}"), "yellow"))


class JsonEvents(View):
    """One JSON object a line: first what is listened to and how, of the kind "listening"; then the events that are news, each
    with `clock` (when it was told, in UTC) and `recording` (a path or null). `all_verdicts` adds those that change nothing."""

    def __init__(self, start: Mapping[str, object], *, all_verdicts: bool = False) -> None:
        self._all = all_verdicts
        print(json.dumps({"kind": "listening", "clock": clock(), **start}), flush=True)

    def write(self, event: Event, recording: Path | None) -> None:
        if event.kind == "verdict" and not (event.changed or self._all):
            return
        print(json.dumps({**event.to_dict(), "clock": clock(), "recording": recording and str(recording)}), flush=True)


class Lines(View):
    """A heading, and a line for each event that is news, with its time in the stream, and by the clock where no terminal shows
    it. `scores` adds a line for each window."""

    def __init__(self, out: Console, heading: str, unit: str, *, scores: bool) -> None:
        self.out, self._unit, self._scores = out, unit, scores
        self._print(Text(printable(heading), "dim"))

    def write(self, event: Event, recording: Path | None) -> None:
        if (event.kind == "verdict" and not event.changed) or (event.kind == "score" and not self._scores):
            return
        when = "" if self.out.is_terminal else f"{clock()}  "
        channel = "" if event.channel is None else f"channel {event.channel}  "
        line = Text(f"{when}{position(event.time):>10}  {channel}").append_text(self._told(event))
        self._print(line.append("  recording") if recording else line)

    def _print(self, line: Text) -> None:
        # A line stays whole where a program may read it.
        self.out.print(line, soft_wrap=not self.out.is_terminal)

    def _told(self, event: Event) -> Text:
        if event.kind == "finished" and event.result is not None:
            return self._summary(event.result)
        if event.kind == "verdict" and event.verdict:
            return mark(event.verdict, self.out).append(f"  {_judged(event, self._unit)}", "default")
        return Text(
            _words(event, self._unit), "default" if event.kind in ("score", "speech-started", "speech-ended") else "yellow"
        )

    def _summary(self, result: Result) -> Text:
        why = result.reason if result.score is None else _judged(result, self._unit)
        missing = f", {duration(result.missing)} missing" if result.missing else ""
        line = Text("result  ").append_text(mark(result.verdict, self.out))
        return line.append(f"  {why}; {duration(result.speech)} of speech in {duration(result.duration)}{missing}", "default")


def position(seconds: float) -> str:
    """A time in the stream, such as "0:12:05.3"."""
    tenths = round(10 * seconds)
    return f"{tenths // 36_000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def _judged(judged: Event | Result, unit: str) -> str:
    chance = "" if judged.probability is None else f", P(bona fide) {_chance(judged.probability)}"
    return f"{unit} {judged.score:+.2f}{chance}"


def _chance(probability: float) -> str:
    """Two digits, but never a certainty."""
    return "< 0.01" if probability < 0.005 else "> 0.99" if probability > 0.995 else f"{probability:.2f}"


def _words(event: Event, unit: str) -> str:
    if event.kind == "score":
        return f"{unit} {event.score:+.2f} from {position(event.start)} on"
    lost = f"{event.lost:.2f} s of audio" if event.lost else "some audio"
    return {
        "speech-started": "speech",
        "speech-ended": f"silence after {duration(event.time - event.start)} of speech",
        "invalid": "samples that are no audio, taken for silence",
        "gap": f"{lost} never arrived",
        "overflow": f"{lost} dropped, for the machine or the device did not keep up",
        "device-lost": "the device is gone; waiting for it",
        "device-back": "the device is back",
    }[event.kind]

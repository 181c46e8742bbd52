"""The panel of `vivavoce listen` on a terminal: level, score and verdict as they move, below the lines of events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..band import Band
from ..decoding.arrays import as_float
from ..result import Event
from ..sources import Lost
from ..terminal.console import duration, mark, printable
from .listen_lines import Lines, position
from .scan_rows import bar

__all__ = ["Panel"]

REFRESHES = 8
"""Pictures a second."""

FLOOR = -60.0
"""Level in dB of full scale at which the bar is empty; at 0 it is full."""

DECAY = 20.0
"""How fast the level falls back, in dB a second of audio."""


class Panel(Lines):
    """Lines that scroll, as `Lines` writes them, and below them four that stay."""

    def __init__(self, out: Console, heading: str, unit: str, *, scores: bool, band: Band, sample_rate: int) -> None:
        super().__init__(out, heading, unit, scores=scores)
        self._band, self._sample_rate = band, sample_rate
        self._frames, self._level = 0, FLOOR
        self._speaking = self._recording = False
        self._score: float | None = None
        self._verdict: Event | None = None
        self._alarms, self._missing = 0, 0.0
        self._live = Live(console=out, refresh_per_second=REFRESHES, transient=True, get_renderable=self.picture)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def hear(self, chunk: NDArray[Any] | Lost, *, recording: bool) -> None:
        frames, peak = (chunk.frames, 0.0) if isinstance(chunk, Lost) else (len(chunk), _peak(chunk))
        self._frames += frames
        self._recording = recording
        fallen = self._level - DECAY * frames / self._sample_rate
        self._level = max(FLOOR, fallen, 20 * np.log10(max(peak, 1e-9)))

    def write(self, event: Event, recording: Path | None) -> None:
        self._missing += event.lost
        if event.kind in ("speech-started", "speech-ended"):
            self._speaking = event.kind == "speech-started"
        if event.kind in ("score", "verdict"):
            self._score = event.score
        if event.kind == "verdict" and event.changed:
            self._verdict = event
            self._alarms += event.verdict == "spoof"
        super().write(event, recording)

    def note(self, text: str) -> None:
        self.out.print(Text(printable(f"vivavoce: {text}"), "yellow"), soft_wrap=False)

    def picture(self) -> Group:
        """The rows as they are now, cut to the terminal's width."""
        half = max(4, min(20, (self.out.width - 36) // 2))
        rows = [Text(), self._level_row(2 * half + 1), self._score_row(half), self._verdict_row(), self._state_row()]
        for row in rows:
            row.truncate(self.out.width - 1, overflow="crop")
        return Group(*rows)

    def _level_row(self, width: int) -> Text:
        filled = round((self._level - FLOOR) / -FLOOR * width)
        style = "red" if self._level > -1 else "yellow" if self._level > -6 else "green"
        full = "-" if self.out.options.ascii_only else "━"
        row = Text("level    ").append(f"{full * min(filled, width):<{width}}", style)
        return row.append(f"  {self._level:+4.0f} dB  {'speech' if self._speaking else ''}")

    def _score_row(self, half: int) -> Text:
        score, band = self._score, self._band
        margin = 0.0 if score is None else score - band.accept if score >= band.accept else min(score - band.reject, 0.0)
        row = Text("score    ").append_text(bar(margin, half, self.out))
        row.append("" if self._score is None else f"  {self._score:+6.2f}", "default")
        lower = "" if band.reject == band.accept else f"{band.reject:+.2f} to "
        return row.append(f"  threshold {lower}{band.accept:+.2f}", "dim")

    def _verdict_row(self) -> Text:
        row = Text("verdict  ")
        if self._verdict is None or self._verdict.verdict is None:
            return row.append("none yet", "dim")
        row.append_text(mark(self._verdict.verdict, self.out))
        return row.append(f"  since {position(self._verdict.time)}", "default")

    def _state_row(self) -> Text:
        alarms = f"{self._alarms} alarm{'' if self._alarms == 1 else 's'}"
        row = Text(f"{position(self._frames / self._sample_rate)}  ").append(alarms, "red" if self._alarms else "")
        if self._missing:
            row.append(f"  {duration(self._missing)} missing", "yellow")
        if self._recording:
            row.append("  recording", "red")
        return row.append("  Ctrl-C ends", "dim")


def _peak(chunk: NDArray[Any]) -> float:
    return float(np.nan_to_num(np.abs(as_float(chunk)), posinf=0).max(initial=0))

"""The alarm command of `vivavoce listen`: a program that runs beside the stream when a voice is taken for synthetic."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..errors import ConfigurationError
from ..result import Event

__all__ = ["AlarmCommand"]

STDERR = 2

LONGEST = 60.0
"""Seconds that a command may run."""

FAREWELL = 5.0
"""Seconds that a command gets to end by itself when listening ends; after that it is left alone."""


class AlarmCommand:
    """Runs `command`, split into words as a shell would and started without one, at each alarm.

    A thread of its own waits for it, never the stream. While it runs, further alarms start no other: they are counted, and the
    next run is told. After 60 s it is killed. It has nothing on its standard input, and its output joins standard error, or is
    dropped if `quiet`.

    The alarm is in its environment: VIVAVOCE_SCORE, VIVAVOCE_PROBABILITY (empty without a calibration), VIVAVOCE_START and
    VIVAVOCE_TIME (seconds of the stream that were judged), VIVAVOCE_CLOCK (now, in UTC), VIVAVOCE_RECORDING (the file that will
    hold the clip; empty without one) and VIVAVOCE_SKIPPED (alarms since the last run).

    Raises ConfigurationError for a command that cannot be taken apart or found.
    """

    def __init__(self, command: str, *, tell: Callable[[str], None], quiet: bool = False) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigurationError(
                f"The alarm command {command!r} cannot be taken apart: {error}. Close every quote."
            ) from error
        if not self._words or shutil.which(self._words[0]) is None:
            raise ConfigurationError(
                f"There is no program {(self._words or [''])[0]!r} for alarms. Give one that is installed, and its arguments."
            )
        self._tell = tell
        self._output = subprocess.DEVNULL if quiet else STDERR
        self._running: threading.Thread | None = None
        self._skipped = 0

    def start(self, alarm: Event, recording: Path | None) -> None:
        """Starts the command, unless it is running."""
        if self._running and self._running.is_alive():
            self._skipped += 1
            alarms = f"{self._skipped} alarm{'' if self._skipped == 1 else 's'}"
            self._tell(f"the alarm command is still running; {alarms} passed over")
            return
        environment = {**os.environ, **_variables(alarm, recording, self._skipped)}
        self._skipped = 0
        self._running = threading.Thread(target=self._run, args=(environment,), daemon=True)
        self._running.start()

    def close(self) -> None:
        """Gives a running command some time to end."""
        if self._running:
            self._running.join(FAREWELL)

    def _run(self, environment: dict[str, str]) -> None:
        try:
            # A session of its own, so that Ctrl-C ends the listening and not the alarm.
            running = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._tell(f"the alarm command cannot be started: {error.strerror}")
            return
        try:
            code = running.wait(LONGEST)
        except subprocess.TimeoutExpired:
            _kill(running)
            self._tell(f"the alarm command was killed after {LONGEST:.0f} s")
            return
        if code:
            self._tell(f"the alarm command ended with {code}")


def _kill(running: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    else:
        running.kill()
    running.wait()


def _variables(alarm: Event, recording: Path | None, skipped: int) -> dict[str, str]:
    values = {
        "SCORE": alarm.score,
        "PROBABILITY": alarm.probability,
        "START": alarm.start,
        "TIME": alarm.time,
        "CLOCK": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "RECORDING": recording.absolute() if recording else None,
        "SKIPPED": skipped,
    }
    return {f"VIVAVOCE_{name}": "" if value is None else str(value) for name, value in values.items()}

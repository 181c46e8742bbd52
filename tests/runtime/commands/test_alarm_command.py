"""The alarm command: started without a shell, one at a time, never waited for."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vivavoce import ConfigurationError, Event
from vivavoce.commands import alarm_command as module
from vivavoce.commands.alarm_command import AlarmCommand

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the commands are a shell's")

ALARM = Event("verdict", 2.0, 6.0, "spoof", -2.5, 0.1, changed=True)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_command_finds_the_alarm_in_its_environment(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import json, os, sys; print(json.dumps(dict(os.environ)), file=open(sys.argv[1], 'w'))")
    command = AlarmCommand(f"{sys.executable} {program} {tmp_path}/seen", tell=pytest.fail)
    command.start(ALARM, Path("clip.flac"))
    command.close()
    environment = json.loads((tmp_path / "seen").read_text())
    seen = {name: value for name, value in environment.items() if name.startswith("VIVAVOCE_")}
    clock = seen.pop("VIVAVOCE_CLOCK")
    assert seen == {
        "VIVAVOCE_SCORE": "-2.5",
        "VIVAVOCE_PROBABILITY": "0.1",
        "VIVAVOCE_START": "2.0",
        "VIVAVOCE_TIME": "6.0",
        "VIVAVOCE_RECORDING": str(Path("clip.flac").absolute()),
        "VIVAVOCE_SKIPPED": "0",
    }
    assert clock.endswith("+00:00")


def test_words_reach_the_program_as_they_are(tmp_path: Path) -> None:
    command = AlarmCommand(f"touch '{tmp_path}/a; touch b' {tmp_path}/$HOME {tmp_path}/`id`", tell=pytest.fail)
    command.start(ALARM, None)
    command.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["$HOME", "`id`", "a; touch b"]


def test_one_runs_at_a_time_and_the_next_is_told_what_it_missed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    told: list[str] = []
    command = AlarmCommand(f"sh -c 'echo $VIVAVOCE_SKIPPED >> {tmp_path}/log; read line < {tmp_path}/gate'", tell=told.append)
    command.start(ALARM, None)
    until((tmp_path / "log").exists)
    command.start(ALARM, None)
    command.start(ALARM, None)
    assert told == [f"the alarm command is still running; {n} passed over" for n in ("1 alarm", "2 alarms")]
    (tmp_path / "gate").write_text("on\n")
    command.close()
    command.start(ALARM, None)
    (tmp_path / "gate").write_text("on\n")
    command.close()
    assert (tmp_path / "log").read_text() == "0\n2\n"


@pytest.mark.parametrize(
    ("words", "message"), [("sh -c 'exit 3'", "the alarm command ended with 3"), ("sleep 100", "was killed after 0 s")]
)
def test_command_that_fails_or_hangs_is_told(words: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.2)
    told: list[str] = []
    command = AlarmCommand(words, tell=told.append, quiet=True)
    command.start(ALARM, None)
    command.close()
    assert len(told) == 1
    assert message in told[0]


def test_command_that_disappeared_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    told: list[str] = []
    command = AlarmCommand(str(program), tell=told.append)
    program.unlink()
    command.start(ALARM, None)
    command.close()
    assert told == ["the alarm command cannot be started: No such file or directory"]


def test_end_of_listening_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "FAREWELL", 0.05)
    monkeypatch.setattr(module, "LONGEST", 1.0)
    before = set(threading.enumerate())
    command = AlarmCommand(f"sh -c 'touch {tmp_path}/on; sleep 50'", tell=lambda text: None)
    command.start(ALARM, None)
    until((tmp_path / "on").exists)
    command.close()
    (running,) = set(threading.enumerate()) - before
    running.join()


@pytest.mark.parametrize("words", ["", "   ", "no-such-program-anywhere", "echo 'open"])
def test_command_that_cannot_be_used_is_refused(words: str) -> None:
    with pytest.raises(ConfigurationError, match="alarm"):
        AlarmCommand(words, tell=pytest.fail)

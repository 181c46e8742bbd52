"""The unit file for systemd: systemd understands it, and `vivavoce listen` understands the command in it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from portaudio import FakeSoundDevice
from typer.testing import CliRunner

from vivavoce.commands.app import build

UNIT = Path(__file__).parents[3] / "examples" / "systemd" / "vivavoce.service"
PROGRAM = "/opt/vivavoce/bin/vivavoce"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace(PROGRAM, sys.executable).replace("/usr/bin/logger", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_line_is_a_section_a_comment_or_a_setting_that_is_set_once() -> None:
    text = re.sub(r"\\\n", " ", UNIT.read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    settings = [line.partition("=")[0] for line in lines if not line.startswith("[")]
    assert all(re.fullmatch(r"[A-Z]\w+", name) for name in settings)
    assert {name for name in settings if settings.count(name) > 1} == {"SystemCallFilter"}


def test_command_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gets as far as looking for a microphone."""
    (command,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    program, *words = shlex.split(command.replace("\\\n", " ").replace("%S", str(tmp_path)).replace("/usr/bin/logger", "true"))
    assert program == PROGRAM
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice())
    done = CliRunner().invoke(build(), words)
    assert done.exit_code == 2
    assert "There is no input device" in done.stderr

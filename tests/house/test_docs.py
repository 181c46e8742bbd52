"""Every block of code of the README and of docs/ runs, or says above it why not.

A page's Python blocks run in order, in one namespace; each block for a shell runs by itself, beside the repository's examples.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from portaudio import FakeSoundDevice
from speaking import speech

from vivavoce import Microphone

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ALL_PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
PAGES = [page for page in ALL_PAGES if BLOCK.search(page.read_text("utf-8"))]

# The reason is in a comment, which readers of the page do not see, right above the block.
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>[^\n]*)\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL
)
FOR_SHELLS = ("sh", "bash", "console")
NOT_CODE = ("text", "toml", "json", "ini", "html", "mermaid")
SHELL_BLOCKS = [
    pytest.param(found["block"], id=f"{page.name}-{page.read_text('utf-8')[: found.start()].count(chr(10)) + 1}")
    for page in ALL_PAGES
    if page.name != "cli.md"  # Its blocks run in test_cli.py.
    for found in FENCE.finditer(page.read_text("utf-8"))
    if found["language"] in FOR_SHELLS and not found["reason"]
]


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page may count on: the repository as the current folder, a voice on standard input and at the microphone."""
    fake = FakeSoundDevice(FakeSoundDevice.device("Microphone", 16_000.0))
    open_device = Microphone._open

    def open_and_speak(self: Microphone, device: Any) -> None:
        open_device(self, device)
        fake.streams[-1].hear(speech(5))
        threading.Timer(0.1, self.close).start()

    pcm = io.BytesIO((speech(3) * 32_767).astype(np.int16).tobytes())
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(Microphone, "_open", open_and_speak)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pcm))


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text("utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        # As many empty lines before it as in the page, so that a traceback names the page's line.
        exec(compile("\n" * text[: block.start(1)].count("\n") + block[1], str(page), "exec"), names)
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_block_runs_or_says_why_not(page: Path) -> None:
    found = [one.group("language", "reason") for one in FENCE.finditer(page.read_text("utf-8"))]
    assert {language for language, _ in found} <= {"python", *FOR_SHELLS, *NOT_CODE}
    assert all(language in FOR_SHELLS for language, reason in found if reason), "Python blocks always run"


@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are for bash")
@pytest.mark.parametrize("block", SHELL_BLOCKS)
def test_shell_blocks_run(block: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        **{"cwd": tmp_path, "env": {**os.environ, "PATH": path}, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stderr

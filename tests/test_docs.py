"""Every Python block of the README and of docs/ runs, in order, in one namespace a page."""

from __future__ import annotations

import io
import re
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from portaudio import FakeSoundDevice
from speaking import speech

from vivavoce import Microphone

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if BLOCK.search(page.read_text("utf-8"))]


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

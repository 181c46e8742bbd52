"""The comparison with another Python: the same scores where it is the same, and a failure where it gives none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import elsewhere
import pytest

from vivavoce.bundle import default_bundle


def compared(monkeypatch: pytest.MonkeyPatch, corpus: Path, python: str) -> None:
    command = ["elsewhere.py", str(default_bundle()), str(corpus), "--subset", "dev", "--trials", "8", "--json"]
    monkeypatch.setattr(sys, "argv", [*command, "--python", python])
    elsewhere.main()


def test_the_same_python_gives_the_same_scores(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compared(monkeypatch, shared / "corpus", sys.executable)
    found = json.loads(capsys.readouterr().out)
    assert found["largest_difference"] < 1e-5
    assert 4 <= found["bonafide"] + found["spoof"] <= 8
    assert found["candidate"].endswith("there")


def test_a_python_that_fails_is_told(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="gave up with 3"):
        compared(monkeypatch, shared / "corpus", f"{sys.executable} -c 'raise SystemExit(3)'")

"""The wheel, as a user gets it: small, with its bundle, and without the builders' libraries."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCAN = """
import importlib.util, sys
from vivavoce import Detector
result = Detector().detect(sys.argv[1])
assert result.verdict in ("bonafide", "spoof"), result
for name in ("torch", "onnx", "transformers", "sklearn", "scipy", "matplotlib"):
    assert importlib.util.find_spec(name) is None, name
"""


@pytest.mark.slow
def test_a_fresh_environment_with_the_wheel_alone_judges_a_recording(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 12_000_000
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"], check=True)
    recording = ROOT / "examples" / "audio" / "human_allison_en.flac"
    subprocess.run([python, "-c", SCAN, recording], check=True, cwd=tmp_path)

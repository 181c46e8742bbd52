"""What importing loads: the runtime stays free of every library that it can do without."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vivavoce.errors import LEAST

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("torch", "onnx", "onnxruntime", "transformers", "tensorrt", "sounddevice", "scipy", "sklearn", "matplotlib"),
    *("typer", "rich", "asyncio"),
)


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_vivavoce_loads_nothing_heavy() -> None:
    code = f"import sys, vivavoce; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert python(code).split() == []


def test_opening_a_detector_loads_only_its_runtime() -> None:
    code = f"import sys; from vivavoce import Detector; Detector(); print(*[name for name in {HEAVY} if name in sys.modules])"
    assert set(python(code).split()) <= {"onnxruntime", "asyncio"}


def test_no_library_beneath_leaves_an_identifier_or_reports(tmp_path: Path) -> None:
    code = "import vivavoce_converters.onnx_graph.graph; from vivavoce import Detector; Detector()"
    # ONNX Runtime holds its tongue by itself where it takes the machine for one that tests.
    quiet = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in quiet}
    subprocess.run([sys.executable, "-c", code], env=kept | {"HOME": str(tmp_path)}, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("module", ["onnxruntime", "sounddevice"])
def test_missing_library_answers_with_the_command_that_installs_it(module: str) -> None:
    extra, action = {
        "onnxruntime": ("cpu", "vivavoce.Detector()"),
        "sounddevice": ("mic", "vivavoce.Microphone().__enter__()"),
    }[module]
    code = f"""
import sys
sys.modules[{module!r}] = None
import vivavoce
try:
    {action}
except vivavoce.MissingExtra as error:
    print(error)
"""
    assert python(code).strip() == f'{module} is not installed. Run: pip install "vivavoce[{extra}]"'


@pytest.mark.parametrize(
    ("module", "before", "action"),
    [
        ("onnxruntime", "1.23.2", "vivavoce.Detector()"),
        ("av", "17.0.1", "vivavoce.Detector().detect(b'FLV' + bytes(99))"),
    ],
)
def test_a_library_in_a_version_that_is_not_safe_is_not_used(module: str, before: str, action: str) -> None:
    pytest.importorskip(module)
    code = f"""
import {module}
{module}.__version__ = {before!r}
import vivavoce
try:
    {action}
except (vivavoce.MissingExtra, vivavoce.AudioError) as error:
    print(error, "|", error.__cause__)
"""
    (extra, least) = next((extra, least) for extra, (name, least) in LEAST.items() if name == module)
    assert f'{module} {least} or later is not installed. Run: pip install "vivavoce[{extra}]"' in python(code)


def test_the_versions_that_are_safe_are_those_that_the_extras_install() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for extra, (module, least) in LEAST.items():
        assert any(one.startswith(module) and one.endswith(f">={least}") for one in extras[extra])

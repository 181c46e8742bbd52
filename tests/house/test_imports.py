"""What imports what: the runtime stays free of the tools, and of every library that it can do without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "vivavoce": ROOT / "sdk",
    "vivavoce_calibration": ROOT / "calibration",
    "vivavoce_converters": ROOT / "converters",
}
MAY_IMPORT = {
    "vivavoce": {"vivavoce"},
    "vivavoce_calibration": {"vivavoce", "vivavoce_calibration"},
    "vivavoce_converters": {"vivavoce", "vivavoce_calibration", "vivavoce_converters"},
}
HEAVY = (
    *("torch", "onnx", "onnxruntime", "transformers", "tensorrt", "sounddevice", "scipy", "sklearn", "matplotlib"),
    *("typer", "rich", "asyncio"),
)


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def imported(package: str) -> Iterator[tuple[Path, str]]:
    """Every module that the sources of `package` name in an import, wherever in the file it stands."""
    for path in (PACKAGES[package] / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield path, node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_dependencies_between_the_packages_go_one_way(package: str) -> None:
    names = [(path, module.split(".")[0]) for path, module in imported(package)]
    assert len(names) > 10
    ours = [(path.name, name) for path, name in names if name in PACKAGES and name not in MAY_IMPORT[package]]
    assert ours == []


def test_importing_vivavoce_loads_nothing_heavy() -> None:
    code = f"import sys, vivavoce; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert python(code).split() == []


def test_opening_a_detector_loads_only_its_runtime() -> None:
    code = f"import sys; from vivavoce import Detector; Detector(); print(*[name for name in {HEAVY} if name in sys.modules])"
    assert set(python(code).split()) <= {"onnxruntime", "asyncio"}


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

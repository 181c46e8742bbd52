"""The wheel, as a user gets it: small, with its bundle, without the builders' libraries; and the quickstart, word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICKSTART = (ROOT / "docs" / "index.md").read_text("utf-8")
BUILDERS = ("torch", "onnx", "transformers", "sklearn", "scipy", "matplotlib")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel with the extra `app`."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 12_000_000
    venv.create(folder / "environment", with_pip=True)
    found = folder / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([found, "-m", "pip", "install", "--quiet", f"{wheel}[app]"], check=True)
    return found


@pytest.mark.slow
def test_a_fresh_environment_holds_none_of_the_builders_libraries(python: Path) -> None:
    code = f"import importlib.util; print([name for name in {BUILDERS} if importlib.util.find_spec(name)])"
    assert subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.slow
def test_the_quickstart_runs_word_for_word(python: Path, tmp_path: Path) -> None:
    assert "<!-- not run: the tests install the wheel into a fresh environment instead" in QUICKSTART
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", QUICKSTART, re.MULTILINE | re.DOTALL))
    done = subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(("bonafide", "spoof"))
    if shutil.which("bash"):
        path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
        for block in re.findall(r"(?<!-->\n)^```sh\n(.*?)^```$", QUICKSTART, re.MULTILINE | re.DOTALL):
            subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)


@pytest.mark.slow
def test_help_fits_a_screen(python: Path) -> None:
    done = subprocess.run([python, "-m", "vivavoce", "--help"], check=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) <= 30
    assert "offline" in done.stdout

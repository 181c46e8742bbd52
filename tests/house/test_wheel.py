"""What is published: the wheel as a user gets it, at the newest and the least versions of what it needs, and the quickstart."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "pyproject.toml"
PROJECT = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
QUICKSTART = (ROOT / "docs" / "index.md").read_text("utf-8")
DATA = {
    *(f"{package}/py.typed" for package in ("vivavoce", "vivavoce_calibration", "vivavoce_converters")),
    *("vivavoce/bench/gemm.onnx", "vivavoce/engines/pairs.onnx", "vivavoce/demo/CREDITS.md"),
    *("vivavoce/demo/human_carlo_it.flac", "vivavoce/demo/synthetic_piper_en.flac"),
    *(f"vivavoce/bundles/default/{path.name}" for path in (ROOT / "sdk" / "vivavoce" / "bundles" / "default").iterdir()),
}
BUILDERS = ("torch", "onnx", "transformers", "sklearn", "scipy", "matplotlib")


@dataclass(frozen=True)
class Resolved:
    """A Python, and whether it gets the least versions that are allowed or the newest."""

    python: str
    least: bool

    def install(self, folder: Path, wheel: Path, extras: str, *beside: str) -> Path:
        """The interpreter of a new environment with the wheel, its extras and requirements beside it."""
        subprocess.run([self.python, "-m", "venv", folder], check=True)
        found = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if self.least:
            # uv takes the least of what it is asked for itself, not of what a wheel asks for: it reads pyproject.toml.
            least = ["--quiet", "--resolution", "lowest-direct", "-r", PYPROJECT, *beside]
            wanted = [f"--extra={extra}" for extra in extras.split(",")]
            subprocess.run([sys.executable, "-m", "uv", "pip", "install", "--python", found, *least, *wanted], check=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", f"{wheel}[{extras}]", *beside], check=True)
        return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module", params=["newest", "least", "python3.12", "python3.13", "python3.14"])
def resolved(request: pytest.FixtureRequest) -> Resolved:
    """This Python, or another one on this machine's path."""
    if request.param == "least":
        pytest.importorskip("uv", reason="uv, which finds the least versions, is not installed")
    if not request.param.startswith("python"):
        return Resolved(sys.executable, request.param == "least")
    other = shutil.which(request.param)
    if not other or subprocess.run([other, "--version"], capture_output=True).returncode:
        pytest.skip(f"{request.param} is not on this machine's path")
    return Resolved(other, least=False)


@pytest.fixture(scope="module")
def python(resolved: Resolved, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel with the extra `app`."""
    (wheel,) = built.glob("*.whl")
    return resolved.install(tmp_path_factory.mktemp("environment"), wheel, "app")


def test_what_the_suite_runs_with_is_pinned_by_hash() -> None:
    pinned = {}
    for block in re.split(r"\n(?=\S)", (ROOT / "requirements-dev.txt").read_text("utf-8")):
        if found := re.match(r"([\w.-]+)==([^ ]+)", block):
            assert "--hash=sha256:" in block
            pinned[canonicalize_name(found[1])] = found[2]
    extras, wanted, needed = PROJECT["optional-dependencies"], ["dev"], list(PROJECT["dependencies"])
    while wanted:
        for text in extras[wanted.pop()]:
            one = Requirement(text)
            wanted += one.extras if one.name == "vivavoce" else []
            needed += [] if one.name == "vivavoce" else [text]
    for one in map(Requirement, needed):
        assert one.name == "torch" or one.specifier.contains(pinned[canonicalize_name(one.name)]), "run `make lock`"


@pytest.mark.slow
def test_the_wheel_holds_modules_and_data_that_are_known(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < 12_000_000
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"vivavoce", "vivavoce_calibration", "vivavoce_converters"}
    recipe = re.compile(r"vivavoce_converters/recipes/\w+\.toml")
    assert {name for name in names if not name.endswith(".py") and not recipe.fullmatch(name)} == DATA
    assert not [name for name in names if re.search(r"(^|/)(test_\w+|conftest)\.py$", name)]


@pytest.mark.slow
def test_the_source_distribution_holds_what_its_tests_read(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a checkout")
    assert {name for name in tracked.stdout.splitlines() if not name.startswith((".ci/", "sdk/large/"))} <= names


@pytest.mark.slow
def test_a_fresh_environment_holds_none_of_the_builders_libraries(python: Path) -> None:
    code = f"import importlib.util; print([name for name in {BUILDERS} if importlib.util.find_spec(name)])"
    assert subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("resolved", ["least"], indirect=True)
def test_the_least_versions_are_those_that_the_project_names(python: Path) -> None:
    named = [Requirement(one) for one in PROJECT["dependencies"]]
    code = f"from importlib.metadata import version; print(*map(version, {[one.name for one in named]}))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    floors = [str(one.specifier).removeprefix(">=") for one in named]
    assert [f"{version}.".startswith(f"{floor}.") for version, floor in zip(found, floors, strict=True)] == [True] * len(floors)


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
def test_the_larger_bundle_is_a_wheel_of_data_that_the_command_finds(python: Path, tmp_path: Path) -> None:
    place = ROOT / "sdk" / "large"
    if not place.is_dir():
        pytest.skip("the larger bundle is a distribution of its own")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, place]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert names == {f"vivavoce_large/{path.name}" for path in (place / "vivavoce_large").iterdir()}
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    scan = [python, "-m", "vivavoce", "scan", "--json", "--exit-zero", "--bundle", "large"]
    done = subprocess.run([*scan, ROOT / "examples" / "audio" / "human_june_fr.flac"], check=True, capture_output=True)
    assert json.loads(done.stdout)["provenance"]["bundle"] == "large"


@pytest.mark.slow
def test_nobody_scans_without_a_network_and_on_a_file_system_that_cannot_be_written(python: Path) -> None:
    """What the flags of docs/deployment.md's container ask for, in Linux's namespaces."""
    locked = 'mount -o remount,ro,bind / && exec unshare --user --map-user=65534 --map-group=65534 "$@"'
    jail = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c", locked, "sh"]
    if not shutil.which("unshare") or subprocess.run([*jail, "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no namespaces")
    assert subprocess.run([*jail, "touch", ROOT / "written"], capture_output=True).returncode
    scan = [python, "-m", "vivavoce", "scan", "--json", "--exit-zero", ROOT / "examples" / "audio" / "human_june_fr.flac"]
    jailed, plain = (subprocess.run([*start, *scan], check=True, capture_output=True, text=True) for start in (jail, []))
    assert json.loads(jailed.stdout)["score"] == json.loads(plain.stdout)["score"]
    assert jailed.stderr == plain.stderr


@pytest.mark.slow
def test_a_frozen_command_gives_the_same_score(python: Path, tmp_path: Path) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pyinstaller"], check=True)
    (tmp_path / "app.py").write_text("from vivavoce.cli import main\n\nmain()\n", "utf-8")
    subprocess.run([python, "-m", "PyInstaller", "--noconfirm", "app.py"], cwd=tmp_path, check=True, capture_output=True)
    scan = ["scan", "--json", "--exit-zero", ROOT / "examples" / "audio" / "human_june_fr.flac"]
    frozen, plain = (
        json.loads(subprocess.run([*start, *scan], cwd=tmp_path, check=True, capture_output=True).stdout)
        for start in ([tmp_path / "dist" / "app" / "app"], [python, "-m", "vivavoce"])
    )
    assert frozen["score"] == plain["score"]


@pytest.mark.slow
def test_the_tests_of_the_source_distribution_pass(resolved: Resolved, built: Path, tmp_path: Path) -> None:
    """The runtime's and the calibration's: the converters need a torch that no fresh environment gets in minutes."""
    extras = PROJECT["optional-dependencies"]
    tools = [one for one in extras["convert"] + extras["dev"] if one.startswith(("hypothesis>", "onnx>", "pytest>"))]
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    found = resolved.install(tmp_path / "environment", wheel, "app,calibrate,formats", *tools)
    with tarfile.open(source) as file:
        file.extractall(tmp_path, filter="data")
    left_out = [f"--ignore=tests/runtime/{path}" for path in ("bench/test_reference.py", "engines/test_gpu.py")]  # Of torch.
    # Versions of pydantic word a schema differently.
    left_out += ["--deselect", "tests/runtime/test_bundle.py::test_the_published_schema_is_that_of_the_models"]
    run = [found, "-m", "pytest", "-m", "not slow", "-q", "tests/runtime", "tests/calibration", *left_out]
    done = subprocess.run(run, cwd=tmp_path / source.name.removesuffix(".tar.gz"), capture_output=True, text=True)
    assert not done.returncode, done.stdout

"""The GPU benchmark: it refuses where there is no GPU, and on a stand-in for one measures what runs and tells what does not."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles import make_bundle
from int8_bundles import with_int8
from loudness_corpus import make_corpus
from nvidia import install

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def benchmark() -> Any:
    specification = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def smi(folder: Path, words: str, code: int = 0) -> None:
    """An nvidia-smi that says these words."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{words}'\nexit {code}\n")
    program.chmod(0o755)


def test_without_a_gpu_it_refuses_and_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "bundle", "--corpus", "corpus", "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": str(tmp_path)}, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("There is no NVIDIA GPU here")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
def test_a_driver_without_a_gpu_is_refused_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path / "bin", "No devices were found", 6)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SystemExit, match=r"can be used: No devices were found\. Nothing was measured"):
        benchmark().gpu()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
def test_one_command_writes_one_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    smi(tmp_path / "bin", "NVIDIA Stand-in 1, 999.01, 8192 MiB, 8.7, 1300 MHz, 60.00 W")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    corpus = make_corpus(tmp_path / "corpus", bonafide=4, spoof=4)
    out = tmp_path / "gpu.json"
    bundles = [str(with_int8(tmp_path / "both")), str(make_bundle(tmp_path / "float"))]
    settings = ["--corpus", str(corpus), "--subset", "dev", "--batch", "4", "--repeats", "3", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *bundles, *settings])
    benchmark().main()
    found = json.loads(out.read_text())
    assert (found["gpu"]["name"], found["gpu"]["driver_version"]) == ("NVIDIA Stand-in 1", "999.01")
    assert found["versions"]["onnxruntime"]
    both, alone = found["bundles"]
    assert {run["precision"] for run in both["runs"]} == {"int8", "int8 + float16", "float32", "float16"}
    assert {run["precision"] for run in alone["runs"]} == {"float32", "float16"}
    assert len(both["runs"]) == 4 * 4
    native = [run for run in both["runs"] if run["runtime"] == "tensorrt"]
    assert all(run["latency_median"] > 0 and run["windows_per_second"] > 0 for run in native)
    same = next(run for run in native if run["precision"] == "float32")["against cpu float32"]
    assert same["largest_difference"] < 1e-3
    assert same["pearson"] == pytest.approx(1)
    assert same["eer"] == same["eer_of_the_reference"]
    assert all("error" in run for run in both["runs"] if run["runtime"] == "onnxruntime tensorrt-rtx")

"""Which of a bundle's files is opened: what a file was made for decides, not the order alone."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from bundles import make_bundle

from vivavoce.bundle import Bundle
from vivavoce.engines.engine import open_engine


@pytest.mark.parametrize(
    ("machine", "targets", "taken"),
    [
        ("x86_64", ("arm64", "x86-vnni"), "float32.onnx"),
        ("AMD64", ("arm64", "x86-avx2"), "float32.onnx"),
        ("aarch64", ("x86-vnni", "arm64"), "float32.onnx"),
        ("arm64", ("arm64", "x86-vnni"), "int8.onnx"),
        ("x86_64", ("tensorrt", "x86-vnni"), "int8.onnx"),  # Made for no processor: the order decides.
        ("riscv64", ("arm64", "x86-vnni"), "int8.onnx"),
    ],
)
def test_the_processors_own_file_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, targets: tuple[str, str], taken: str
) -> None:
    path = make_bundle(tmp_path / "bundle", precisions=("int8", "float32"))
    manifest = json.loads((path / "manifest.json").read_text())
    for engine, target in zip(manifest["engines"], targets, strict=True):
        engine |= {"precision": "int8", "target": target, "weight_bits": 8}
    (path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert open_engine(Bundle(path), device="cpu").file.file == taken


def test_the_first_files_precision_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle(tmp_path / "bundle", precisions=("int8", "float32"))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["engines"][0]["target"] = "x86-vnni"
    (path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert open_engine(Bundle(path), device="cpu").file.file == "int8.onnx"

"""Bundles beside the network that they were made from: what is measured and how, never how fast anything is."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from bundles import make_bundle
from tiny_networks import LAYERS, countermeasure
from typer.testing import CliRunner

from vivavoce.bench import reference
from vivavoce.bench.records import Spread
from vivavoce.bench.reference import ReferenceReport
from vivavoce.bundle import Bundle
from vivavoce.commands import bench_reference
from vivavoce.commands.app import build
from vivavoce.errors import BundleError, ConfigurationError, VivavoceError
from vivavoce_converters.checkpoints.load import load_checkpoint
from vivavoce_converters.checkpoints.notes import OPTIONS
from vivavoce_converters.checkpoints.reference import TorchReference
from vivavoce_converters.networks.countermeasure import save_countermeasure
from vivavoce_converters.steps.convert import convert


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "network.safetensors"
    save_countermeasure(countermeasure(kind="nes2net", nest=(2, 2)), path)
    return path


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Bundle:
    """One layer less than the checkpoint has, so that a rebuilt network shows whether the conversion's options were taken."""
    return convert(checkpoint, checkpoint.parent / "bundle", layers=LAYERS - 1)


@pytest.fixture(scope="module")
def report(checkpoint: Path, bundle: Bundle) -> ReferenceReport:
    return reference.benchmark_against("torch", checkpoint, [bundle.path], seconds=8, threads=2, repeats=2)


def test_every_entrant_runs_on_one_thread_and_on_more(report: ReferenceReport, bundle: Bundle, checkpoint: Path) -> None:
    assert ReferenceReport.model_validate_json(report.to_json()) == report
    found = [(one.name, one.threads, one.bytes) for one in report.entrants]
    sizes = {"torch": checkpoint.stat().st_size, "float32.onnx": (bundle.path / "float32.onnx").stat().st_size}
    assert found == [(name, threads, size) for threads in (1, 2) for name, size in sizes.items()]
    assert dict(report.audio) == {"source": "the self test's audio, repeated", "seconds": 8.0, "windows": 3}
    assert report.window == bundle.manifest.audio.window
    assert report.machine.processor


def test_what_is_compared_is_the_same_network(report: ReferenceReport) -> None:
    assert max(one.largest_score_difference for one in report.entrants) < 1e-3
    assert [one.provider.split()[0] for one in report.entrants[:2]] == ["torch", "CPUExecutionProvider"]


def test_figures_of_an_entrant(report: ReferenceReport) -> None:
    for one in report.entrants:
        assert 0 < one.stem_share < 1
        assert one.peak_bytes is None or one.peak_bytes > 10_000_000
        for spread in (one.window_seconds, one.speedup, one.processor_seconds, one.processor_speedup):
            assert 0 < spread.lowest <= spread.median <= spread.highest
        if one.name == "torch":
            assert one.speedup == one.processor_speedup == Spread(median=1, lowest=1, highest=1)


def test_verb_shows_what_was_measured(
    bundle: Bundle, checkpoint: Path, report: ReferenceReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(bench_reference, "benchmark_against", lambda *given, **named: asked.append((given, named)) or report)
    arguments = ["bench", str(bundle.path), "--against", "torch", "--checkpoint", str(checkpoint), "--seconds", "1"]
    done = CliRunner().invoke(build(), [*arguments, "--repeats", "3"])
    assert done.exit_code == 0, done.output
    assert asked == [(("torch", checkpoint, [bundle.path]), {"file": None, "seconds": 1.0, "threads": 2, "repeats": 3})]
    for words in (
        "versions ",
        "float32.onnx, float32 (CPUExecutionProvider)",
        "torch, float32 (torch ",
        "1.00 x (1.00 to 1.00)",
    ):
        assert words in done.stdout


def test_a_checkpoint_of_another_network_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_countermeasure(countermeasure(nest=(2, 2)), other)
    with pytest.raises(ConfigurationError, match=r"is not what .* was converted from: its sha256 begins with"):
        TorchReference(bundle.path, other, 1)
    with pytest.raises(VivavoceError, match=r"is not what .* was converted from"):
        reference.benchmark_against("torch", other, [bundle.path], seconds=1, repeats=1)


def test_what_cannot_be_compared_is_refused(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    loudness = make_bundle(tmp_path / "loudness")
    with pytest.raises(ConfigurationError, match="were not made from one checkpoint"):
        reference.benchmark_against("torch", checkpoint, [bundle.path, loudness])
    with pytest.raises(
        ConfigurationError, match=r'no framework "jax".* Choose one of: torch\. .*pip install "vivavoce\[convert\]"'
    ):
        reference.benchmark_against("jax", checkpoint, [bundle.path])
    with pytest.raises(ConfigurationError, match="There is no file"):
        reference.benchmark_against("torch", tmp_path / "none.pth", [bundle.path])
    for settings in ({"repeats": 0}, {"seconds": 0}, {"threads": 0}):
        with pytest.raises(ConfigurationError, match="measure nothing"):
            reference.benchmark_against("torch", checkpoint, [bundle.path], **settings)  # type: ignore[arg-type]
    with pytest.raises(BundleError):
        reference.benchmark_against("torch", checkpoint, [tmp_path])
    for arguments in (["--checkpoint", str(checkpoint)], ["--against", "torch"]):
        done = CliRunner().invoke(build(), ["bench", str(bundle.path), *arguments])
        assert done.exit_code == 2
        assert "--against torch --checkpoint FILE" in done.output


def test_a_missing_framework_answers_with_the_command_that_installs_it(
    bundle: Bundle, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vivavoce_converters.checkpoints.reference", None)
    with pytest.raises(VivavoceError, match=r'pip install "vivavoce\[convert\]"'):
        reference.open_reference("torch", bundle.path, checkpoint, 1)


def test_the_options_of_a_conversion_are_all_taken_again() -> None:
    assert {*inspect.signature(load_checkpoint).parameters} == {"path", *OPTIONS}

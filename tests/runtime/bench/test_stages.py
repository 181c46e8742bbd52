"""The benchmark: what it measures and how, never how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import make_bundle
from typer.testing import CliRunner

from vivavoce import Detector
from vivavoce.bench import cold_start, stages
from vivavoce.bench.stages import Round, StageReport, TimedEngine
from vivavoce.commands.app import build
from vivavoce.errors import AudioError, ConfigurationError, VivavoceError
from vivavoce.machine import machine, versions

VOICE = Path(__file__).parents[3] / "examples" / "audio" / "human_june_fr.flac"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "two", precisions=("int8", "float32"))


@pytest.fixture(scope="module")
def report(bundle: Path) -> StageReport:
    return stages.benchmark(bundle, seconds=5, against="float32", repeats=2)


def test_report_is_json_and_names_the_conditions(report: StageReport, bundle: Path) -> None:
    assert StageReport.model_validate_json(report.to_json()) == report
    told = json.loads(report.to_json())
    assert told["engines"][0]["fresh_process"].keys() == {"import", "load", "first_window", "first_verdict", "peak_bytes"}
    assert told["bundle"]["bytes"] == sum(path.stat().st_size for path in bundle.iterdir())
    assert told["audio"] == {"source": "the self test's audio, repeated", "seconds": 5.0}
    assert (report.threads, report.repeats) == (1, 2)
    assert report.machine.processor
    assert report.versions["numpy"] == np.__version__


def test_report_scores_every_window_of_the_grid(report: StageReport, bundle: Path) -> None:
    contract = Detector(bundle).bundle.manifest.audio
    for engine, precision in zip(report.engines, ("int8", "float32"), strict=True):
        assert (engine.precision, engine.file) == (precision, f"{precision}.onnx")
        assert engine.windows == (5 * contract.sample_rate - contract.window) // contract.hop + 1
        assert engine.bytes == (bundle / engine.file).stat().st_size


def test_stages_and_starts_add_up(report: StageReport) -> None:
    for engine in report.engines:
        factor, fresh = engine.real_time_factor, engine.fresh_process
        parts = [factor.model, factor.speech_gate, factor.rest]
        assert min(parts) > 0
        # Each is a median over two rounds, thus a mean, and means add up.
        assert factor.whole == pytest.approx(sum(parts))
        assert factor.whole_lowest <= factor.whole <= factor.whole_highest
        assert engine.window_latency.median <= engine.window_latency.p95
        assert fresh.first_verdict == pytest.approx(fresh.imported + fresh.load + fresh.first_window)


def test_ratios_are_medians_over_neighbouring_rounds() -> None:
    first = [Round(1.0, 1.0, [0.25, 0.25]), Round(3.0, 1.0, [1.0]), Round(1.0, 0.0, [0.5])]
    second = [Round(3.0, 1.0, [1.0]), Round(3.0, 1.0, [3.0]), Round(8.0, 1.0, [4.0])]
    assert dict(stages.ratios(first, second)) == {"model": 3.0, "whole": 2.0}


def test_two_engines_run_in_turns(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    measure = stages.one_round

    def noting(detector: Detector, recording: str, audio: Any) -> Any:
        order.append(detector.engine.file.precision)
        return measure(detector, recording, audio)

    monkeypatch.setattr(stages, "one_round", noting)
    stages.benchmark(bundle, file=VOICE, against="float32", repeats=2)
    assert order == ["int8", "float32"] * 2


def test_a_timed_engine_scores_as_the_engine_does(bundle: Path) -> None:
    engine = Detector(bundle).engine
    timed = TimedEngine(engine)
    windows = np.full((1, 16_000), 0.1, np.float32)
    np.testing.assert_array_equal(timed.score(windows), engine.score(windows))
    assert len(timed.seconds) == 1
    assert (timed.file, timed.provider, timed.incremental) == (engine.file, engine.provider, None)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the trap is Linux's")
def test_peak_memory_of_a_fresh_process_is_not_its_parents() -> None:
    ballast = np.ones(300_000_000, np.uint8)
    code = (
        "import resource as r; from vivavoce.bench.cold_start import peak_bytes; "
        "print(peak_bytes(), r.getrusage(r.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, inherited = map(int, done.stdout.split())
    assert len(ballast) > 2 * peak
    assert peak > 10_000_000
    assert peak <= inherited * 1024


def test_probe_tells_peak_memory_where_the_system_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "Path", lambda path: Path("/nonexistent"))
    peak = cold_start.peak_bytes()
    assert (peak is None) if sys.platform == "win32" else (peak is not None and peak > 10_000_000)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert cold_start.peak_bytes() is None


def test_settings_that_leave_nothing_to_measure_are_refused(bundle: Path, tmp_path: Path) -> None:
    for settings in ({"repeats": 0}, {"seconds": 0}, {"against": "float16"}, {"threads": 0}):
        with pytest.raises(ConfigurationError):
            stages.benchmark(bundle, **{"seconds": 1, **settings})  # type: ignore[arg-type]
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    with pytest.raises(ConfigurationError, match="No window"):
        stages.benchmark(bundle, file=tmp_path / "empty.wav")
    with pytest.raises(AudioError):
        stages.benchmark(bundle, file=tmp_path / "nowhere.wav")


def test_failure_of_the_fresh_process_is_told(bundle: Path) -> None:
    with pytest.raises(VivavoceError, match="nowhere"):
        stages.in_fresh_processes(bundle, "nowhere.wav", "int8", threads=1, repeats=1)


def test_verb_shows_figures_conditions_and_ratios(bundle: Path) -> None:
    arguments = ["bench", str(bundle), "--seconds", "2", "--repeats", "1", "--against", "float32"]
    done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == 0
    for words in (
        "processor ",
        "versions ",
        "RTF, speech gate ",
        "peak resident memory ",
        "float32 against int8",
        "times as long",
    ):
        assert words in done.stdout
    told = json.loads(CliRunner().invoke(build(), [*arguments, "--json"]).stdout)
    assert told["ratios"].keys() == {"model", "whole"}


def test_machine_and_versions_describe_what_runs() -> None:
    found = machine()
    assert found.processor
    assert found.cores >= 1
    assert versions()["python"] == sys.version.split()[0]
    assert {"vivavoce", "numpy", "soundfile"} <= versions().keys()

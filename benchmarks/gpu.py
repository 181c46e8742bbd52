"""Measures bundles on an NVIDIA GPU and writes one JSON: `python benchmarks/gpu.py BUNDLE... --corpus CORPUS --out gpu.json`.

A bundle holds a float32 ONNX engine and INT8 for TensorRT (`vivavoce quantize BUNDLE --target tensorrt --keep-float`). Each is
run by CUDA, TensorRT and TensorRT for RTX through ONNX Runtime, and by TensorRT itself, in INT8, float16, float32: the latency
of one window, the throughput of a batch, and how far scores lie from the CPU's. What cannot run says why.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from vivavoce.audio import load
from vivavoce.bundle import Bundle, EngineFile
from vivavoce.engines.engine import Engine, OnnxEngine
from vivavoce.engines.tensorrt import TensorRTEngine
from vivavoce.errors import VivavoceError
from vivavoce.files import sha256
from vivavoce.machine import machine, versions
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.metrics import eer
from vivavoce_calibration.sampling import representative
from vivavoce_converters.onnx_graph.float16 import mixed_precision
from vivavoce_converters.steps.build_engine import BuildOptions, build_engine

DEVICES = ("cuda", "tensorrt", "tensorrt-rtx")
Windows = NDArray[np.float32]
Opener = Callable[[int], Engine]
"""Opens an engine for a batch of that many windows."""


def gpu() -> dict[str, str]:
    """What nvidia-smi says of the first GPU. Ends the program where there is none."""
    fields = ("name", "driver_version", "memory.total", "compute_cap", "clocks.max.sm", "power.limit")
    if shutil.which("nvidia-smi") is None:
        sys.exit("There is no NVIDIA GPU here, or no driver for it: nvidia-smi is not installed. Nothing was measured.")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"There is no NVIDIA GPU that can be used: {(done.stderr or done.stdout).strip()}. Nothing was measured.")
    return dict(zip(fields, map(str.strip, done.stdout.split(",")), strict=True))


def precisions(bundle: Bundle) -> dict[str, tuple[EngineFile, bytes]]:
    """The ONNX files to measure, by precision, those in float16 made on the spot."""
    found: dict[str, tuple[EngineFile, bytes]] = {}
    for file in bundle.manifest.engines:
        if file.kind == "onnx" and (file.precision, file.target) in (("float32", "any"), ("int8", "tensorrt")):
            content = bundle.read(file.file, file.sha256)
            half = mixed_precision(onnx.load_from_string(content)).SerializeToString()
            found[file.precision] = (file, content)
            found["float16" if file.precision == "float32" else "int8 + float16"] = (file, half)
    return found


def runs(bundle: Bundle) -> Iterator[tuple[str, str, Opener]]:
    """Every combination of a runtime and a precision, and what opens it."""
    window = bundle.manifest.audio.window
    for precision, (file, content) in precisions(bundle).items():
        for device in DEVICES:
            yield f"onnxruntime {device}", precision, _by_onnx_runtime(content, file, device, window)
        yield "tensorrt", precision, _by_tensorrt(content, file, window)


def _by_onnx_runtime(content: bytes, file: EngineFile, device: str, window: int) -> Opener:
    return lambda batch: OnnxEngine(content, file, device=device, shape=(batch, window))


def _by_tensorrt(content: bytes, file: EngineFile, window: int) -> Opener:
    def opener(batch: int) -> Engine:
        plan = build_engine(content, file, window, BuildOptions(batch=batch))
        return TensorRTEngine(plan, file.model_copy(update={"kind": "tensorrt", "sha256": sha256(plan)}))

    return opener


def measure(opener: Opener, windows: Windows, batch: int, repeats: int) -> tuple[dict[str, Any], Windows]:
    """Times of one runtime in seconds, medians of `repeats`, and its scores of all windows."""
    began = time.perf_counter()
    single = opener(1)
    single.score(windows[:1])
    opened = time.perf_counter() - began
    latencies = _times(single, windows[:1], repeats)
    scores = single.score(windows)
    many = opener(batch)
    full = np.resize(windows, (batch, windows.shape[1]))
    seconds = float(np.median(_times(many, full, repeats)))
    figures = {
        "provider": single.provider,
        "open_seconds": opened,
        "latency_median": float(np.median(latencies)),
        "latency_p95": float(np.percentile(latencies, 95)),
        "batch": batch,
        "windows_per_second": batch / seconds,
    }
    return figures, scores


def _times(engine: Engine, windows: Windows, repeats: int) -> list[float]:
    for _ in range(5):
        engine.score(windows)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        engine.score(windows)
        times.append(time.perf_counter() - began)
    return times


def agreement(scores: Windows, reference: Windows, bonafide: NDArray[np.bool_]) -> dict[str, float]:
    """How far scores lie from others of the same windows."""
    return {
        "largest_difference": float(np.abs(scores - reference).max()),
        "pearson": float(np.corrcoef(scores, reference)[0, 1]),
        "eer": eer(scores[bonafide], scores[~bonafide]),
        "eer_of_the_reference": eer(reference[bonafide], reference[~bonafide]),
    }


def report(path: Path, trials: Sequence[Trial], batch: int, repeats: int) -> dict[str, Any]:
    """All figures of one bundle, on the first window of each trial."""
    bundle = Bundle(path)
    audio = bundle.manifest.audio
    windows = np.stack([np.resize(load(trial.audio, audio.sample_rate), audio.window) for trial in trials])
    bonafide = np.array([trial.key == "bonafide" for trial in trials])
    references = {
        name: OnnxEngine(content, file).score(windows)
        for name, (file, content) in precisions(bundle).items()
        if name in ("float32", "int8")
    }
    rows = []
    for runtime, precision, opener in runs(bundle):
        row: dict[str, Any] = {"runtime": runtime, "precision": precision}
        try:
            figures, scores = measure(opener, windows, batch, repeats)
        except VivavoceError as error:
            row["error"] = str(error)
        else:
            against = {f"against cpu {name}": agreement(scores, one, bonafide) for name, one in references.items()}
            row |= {**figures, **against}
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return {"bundle": bundle.manifest.name, "parameters": bundle.manifest.model.parameters, "runs": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--subset", default="eval")
    parser.add_argument("--trials", type=int, default=256, help="windows to score, one of each of so many trials")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    made: dict[str, Any] = {"gpu": gpu(), "machine": machine().model_dump(), "versions": versions()}
    trials = representative(read_corpus(options.corpus, subset=options.subset), options.trials)
    made["corpus"] = {"name": options.corpus.name, "subset": options.subset, "trials": len(trials)}
    made["bundles"] = [report(path, trials, options.batch, options.repeats) for path in options.bundles]
    partial = options.out.with_name(f".{options.out.name}")
    partial.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    partial.replace(options.out)


if __name__ == "__main__":
    main()

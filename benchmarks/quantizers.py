"""Our INT8 file beside what other quantizers make of the same float32 network: size, time and flipped decisions.

python benchmarks/quantizers.py FLOAT INT8 CORPUS --modelopt /path/to/python
python benchmarks/quantizers.py FLOAT INT8 CORPUS --modelopt /path/to/python --write

FLOAT is a bundle with a float32 ONNX engine, INT8 the one that `vivavoce quantize` made of it. The others are ONNX Runtime's
`quantize_static` and NVIDIA's Model Optimizer (`pip install "nvidia-modelopt[onnx]"`, in a Python of its own, since it asks
for other versions), with explicit Q/DQ nodes and ranges from the same windows. --write puts the table on the page.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import onnx
from markers import rewrite
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from vivavoce.audio import load
from vivavoce.bundle import Bundle
from vivavoce.machine import machine
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.sampling import representative
from vivavoce_converters.onnx_graph import names
from vivavoce_converters.onnx_graph.graph import session
from vivavoce_converters.quantization.sensitivity import Effect, Sample

PAGE = Path(__file__).parent.parent / "docs" / "internals" / "quantization.md"
BEGIN, END = "<!-- benchmarks/quantizers.py -->\n", "<!-- end -->\n"
Windows = NDArray[np.float32]
MODELOPT = """
import sys, numpy
from modelopt.onnx.quantization import quantize
source, windows, made, *operators = sys.argv[1:]
quantize(
    source,
    calibration_data={"samples": numpy.load(windows)},
    calibration_eps=["cpu"],
    high_precision_dtype="fp32",
    op_types_to_quantize=operators or None,
    output_path=made,
)
"""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = _model(options.float, "float32", folder / "float32.onnx")
        ours = _model(options.int8, "int8", folder / "ours.onnx")
        length = Bundle(options.float).manifest.audio.window
        seen = _windows(representative(read_corpus(options.corpus, subset="train", or_all=True), options.windows), length)
        files, absent = {"float32": source, "vivavoce quantize": ours}, []
        for name, quantize in quantizers(options.modelopt).items():
            try:
                files[name] = quantize(source, seen, folder)
            except (subprocess.CalledProcessError, OSError, ValueError, RuntimeError) as error:
                absent.append(f"{name} made nothing of this network: {_last_line(error)}")
        trials = representative(read_corpus(options.corpus, subset=options.subset, or_all=True), options.trials)
        text = compared(files, trials, length, options)
    if options.modelopt is None:
        absent.append("nvidia-modelopt was not given: name a Python that has it with `--modelopt`.")
    text += "".join(f"\n{line}\n" for line in absent)
    print(text)
    if options.write:
        rewrite(PAGE, BEGIN, END, text)


def quantizers(modelopt: str | None) -> dict[str, Callable[[Path, Windows, Path], Path]]:
    """Others' quantizers by name: each takes the float32 model, windows (n, samples) and a folder, and gives its file."""
    found: dict[str, Callable[[Path, Windows, Path], Path]] = {
        "`quantize_static`": partial(static, operators=[]),
        "`quantize_static`, MatMul": partial(static, operators=["MatMul"]),
    }
    if modelopt is not None:
        found["nvidia-modelopt"] = partial(optimized, python=modelopt, operators=[])
        found["nvidia-modelopt, MatMul"] = partial(optimized, python=modelopt, operators=["MatMul"])
    return found


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, windows: Windows) -> None:
        self._left = iter(windows)

    def get_next(self) -> dict[str, Windows] | None:
        return next(({names.SAMPLES: window[None]} for window in self._left), None)


def static(source: Path, seen: Windows, folder: Path, *, operators: list[str]) -> Path:
    """ONNX Runtime's own: Q/DQ nodes, unsigned activations, signed weights with a scale for each output channel, min-max."""
    made = folder / f"static {len(operators)}.onnx"
    quantize_static(
        source,
        made,
        _Reader(seen),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=operators or None,
    )
    return made


def optimized(source: Path, seen: Windows, folder: Path, *, python: str, operators: list[str]) -> Path:
    """What NVIDIA's Model Optimizer makes, in a Python that has it."""
    windows, made = folder / "windows.npy", folder / f"modelopt {len(operators)}.onnx"
    np.save(windows, seen)
    command = [python, "-c", MODELOPT, str(source), str(windows), str(made), *operators]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return made


def compared(files: Mapping[str, Path], trials: Sequence[Trial], length: int, options: argparse.Namespace) -> str:
    """The table: every file on the same windows, timed in turns."""
    audio = _windows(trials, length)
    models = {name: onnx.load(path) for name, path in files.items()}
    sample = Sample(models["float32"], audio, np.array([trial.key == "bonafide" for trial in trials]))
    effects = {name: sample.effect(model) for name, model in models.items()}
    times = in_turns(models, audio[: options.rounds])
    rows = [
        "| file | MB | times as fast as float32 | correlation | residual | flips |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(_row(name, files[name], times[name] / times["float32"], effect) for name, effect in effects.items()),
    ]
    told = (
        f"{len(trials)} windows of {options.corpus.resolve().name} {options.subset}, others' ranges from {options.windows} "
        f"of train; {machine().processor}, one thread, medians of {options.rounds} windows in turns. Flips are those that "
        f"the residual turns, after the affine map that calibration would fit."
    )
    return "\n".join([told, "", *rows, ""])


def in_turns(models: Mapping[str, onnx.ModelProto], windows: Windows) -> dict[str, float]:
    """Median seconds of processor time of a window for each model, on one thread, in turns."""
    made = {name: session(model.SerializeToString()) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for window in windows:
        for name, one in made.items():
            start = process_time()
            one.run([names.SCORE], {names.SAMPLES: window[None]})
            seconds[name].append(process_time() - start)
    return {name: float(np.median(found)) for name, found in seconds.items()}


def _row(name: str, file: Path, time: float, effect: Effect) -> str:
    size = file.stat().st_size / 1e6
    return f"| {name} | {size:.1f} | {1 / time:.2f} | {effect.correlation:.4f} | {effect.residual:.3f} | {effect.flips:.1%} |"


def _model(bundle: Path, precision: str, path: Path) -> Path:
    """The bundle's ONNX engine of that precision, checked against its sha256, in a file."""
    opened = Bundle(bundle)
    file = next(one for one in opened.manifest.engines if (one.kind, one.precision) == ("onnx", precision))
    path.write_bytes(opened.read(file.file, file.sha256))
    return path


def _windows(trials: Sequence[Trial], length: int) -> Windows:
    """The first window (n, length) of each trial."""
    return np.stack([np.resize(load(trial.audio, 16_000)[:length], length) for trial in trials])


def _last_line(error: Exception) -> str:
    text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[-1]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("float", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--modelopt", help="a Python that has nvidia-modelopt[onnx]")
    parser.add_argument("--subset", default="eval")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--windows", type=int, default=64, help="that ranges are taken from")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="put the table on its page")
    return parser.parse_args()


if __name__ == "__main__":
    main()

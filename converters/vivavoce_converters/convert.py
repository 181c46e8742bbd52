"""Conversion: a checkpoint becomes a bundle, and a bundle of full precision becomes one of INT8."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from vivavoce.bundle import AudioContract, Bundle, EngineFile, Manifest, Model, OperatingPoint, sha256
from vivavoce.engine import OnnxEngine
from vivavoce.errors import ConfigurationError
from vivavoce.packing import require_new, write_bundle
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.sampling import representative

from .batches import windows
from .checkpoints import Description, load_checkpoint
from .export import export_onnx
from .pack import reference_windows, self_test
from .quantize import quantize_onnx

__all__ = ["convert", "quantize_bundle"]

UNCALIBRATED = OperatingPoint(name="uncalibrated", threshold=0.0)
# Two correct runtimes differ by rounding; INT8 kernels also saturate and fuse differently from one processor to the next.
TOLERANCE = {"float32": 0.01, "int8": 0.25}


def convert(
    checkpoint: Path,
    out: Path,
    *,
    name: str | None = None,
    licence: str = "unknown",
    corpora: Sequence[str] = (),
    **options: Any,
) -> Bundle:
    """The bundle `out` (a new directory) with one float32 ONNX engine that scores as the checkpoint does.

    `licence` is that of the weights and `corpora` what they were trained on, for the manifest. `options` are those of
    `load_checkpoint`. The bundle is not calibrated: its scores are the network's own, and its one operating point is the
    threshold 0. Raises what `load_checkpoint` and `export_onnx` raise; then nothing is written.
    """
    require_new(out)
    network, known = load_checkpoint(checkpoint, **options)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        path = Path(folder) / "float32.onnx"
        report = export_onnx(network, path, window=known.window)
        content = path.read_bytes()
    engine = EngineFile(kind="onnx", precision="float32", target="any", file="float32.onnx", sha256=sha256(content))
    audio = AudioContract(window=known.window, hop=known.window // 2, normalization=known.normalization, score=known.score)
    test, flac = self_test(content, engine, audio, tolerance=TOLERANCE["float32"])
    manifest = Manifest(
        name=name or out.name,
        version="1",
        description=f"{known.family}, converted by vivavoce {version('vivavoce')}.",
        model=_model(known, licence, corpora, largest_difference=report.difference),
        audio=audio,
        engines=(engine,),
        operating_points=(UNCALIBRATED,),
        default_operating_point=UNCALIBRATED.name,
        self_test=test,
    )
    return write_bundle(out, manifest, {engine.file: content, test.file: flac})


def quantize_bundle(
    bundle: Bundle, out: Path, trials: Sequence[Trial], target: str, *, count: int = 256, keep_float: bool = False
) -> Bundle:
    """The bundle `out` (a new directory) with an INT8 engine for `target`, from `bundle`'s float32 engine.

    Activation ranges come from one window of each of `count` trials that stand for the corpus. Calibration, operating points
    and evaluations are not taken over: they were measured on other scores. Raises ConfigurationError where the bundle has no
    float32 ONNX engine.
    """
    require_new(out)
    parent = bundle.manifest
    source = next((e for e in parent.engines if (e.kind, e.precision) == ("onnx", "float32")), None)
    if source is None:
        raise ConfigurationError(f'The bundle "{parent.name}" has no float32 ONNX engine. Convert its checkpoint again.')
    float_content = bundle.read(source.file, source.sha256)
    sample = representative(trials, count)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        original, quantized = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        original.write_bytes(float_content)
        quantize_onnx(original, quantized, (batch.numpy() for batch in windows(sample, parent.audio.window, 1)), target)
        content = quantized.read_bytes()
    file = f"int8.{target}.onnx"
    engine = EngineFile(kind="onnx", precision="int8", target=target, file=file, sha256=sha256(content))
    test, flac = self_test(content, engine, parent.audio, tolerance=TOLERANCE["int8"])
    deviation = _deviation(float_content, source, parent.audio, test.scores) if keep_float else 0.0
    manifest = parent.model_copy(
        update={
            "engines": (engine, source) if keep_float else (engine,),
            "self_test": test.model_copy(update={"tolerance": max(TOLERANCE["int8"], 2 * deviation)}),
            "calibration": None,
            "operating_points": (UNCALIBRATED,),
            "default_operating_point": UNCALIBRATED.name,
            "evaluations": (),
            "regression": None,
        }
    )
    files = {engine.file: content, test.file: flac} | ({source.file: float_content} if keep_float else {})
    documents = {name: bundle.read(name, digest) for name, digest in parent.documents.items()}
    return write_bundle(out, manifest, files | documents)


def _model(known: Description, licence: str, corpora: Sequence[str], **measured: Any) -> Model:
    options = {"family": known.family, "merge": known.merge, "layers": known.layers, **known.assumed}
    return Model(
        front_end=known.front_end,
        back_end=known.back_end,
        parameters=known.parameters,
        checkpoint_sha256=known.sha256,
        licence=licence,
        corpora=tuple(corpora),
        provenance={"conversion": options | measured, "training": known.provenance},
    )


def _deviation(content: bytes, engine: EngineFile, audio: AudioContract, expected: Sequence[float]) -> float:
    scores = OnnxEngine(content, engine).score(reference_windows(audio))
    return float(np.abs(scores - np.array(expected)).max())

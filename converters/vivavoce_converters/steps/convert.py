"""Conversion: a checkpoint becomes a bundle of full precision."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vivavoce.bundle import AudioContract, Bundle, Manifest, Model
from vivavoce.bundle_writing import UNCALIBRATED, require_new, write_bundle

from ..checkpoints.load import Description, load_checkpoint
from ..checkpoints.notes import Conversion
from ..networks.stateful import carry
from .engine_files import TOLERANCE, engine_file, engine_in_memory, make_self_test
from .export import export_onnx

__all__ = ["convert"]


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
        files = {file.name: file.read_bytes() for file in report.files}
    engine = engine_file("float32.onnx", files, precision="float32", target="any", carry=carry(network))
    audio = AudioContract(window=known.window, hop=known.window // 2, normalization=known.normalization, score=known.score)
    test, flac = make_self_test(engine_in_memory(engine, files), audio, tolerance=TOLERANCE["float32"])
    manifest = Manifest(
        name=name or out.name,
        version="1",
        description=f"{known.family}, converted by vivavoce {version('vivavoce')}.",
        model=_model(known, licence, corpora, report.difference),
        audio=audio,
        engines=(engine,),
        operating_points=(UNCALIBRATED,),
        default_operating_point=UNCALIBRATED.name,
        self_test=test,
    )
    return write_bundle(out, manifest, {**files, test.file: flac})


def _model(known: Description, licence: str, corpora: Sequence[str], difference: float) -> Model:
    conversion = Conversion(
        family=known.family, merge=known.merge, layers=known.layers, largest_difference=difference, **known.assumed
    )
    return Model(
        front_end=known.front_end,
        back_end=known.back_end,
        parameters=known.parameters,
        checkpoint_sha256=known.sha256,
        licence=licence,
        corpora=tuple(corpora),
        provenance={**conversion.noted(), "training": known.provenance},
    )

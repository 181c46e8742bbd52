"""Packing: a bundle appears complete or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from vivavoce.bundle import AudioContract, Bundle, EngineFile, Manifest, Model, OperatingPoint
from vivavoce.bundle_writing import write_bundle
from vivavoce.engines.engine import OnnxEngine
from vivavoce.errors import BundleError, ConfigurationError
from vivavoce.files import sha256
from vivavoce_converters.steps.engine_files import make_self_test, reference_signal

AUDIO = AudioContract(window=16_000, hop=8_000)


def peak_engine() -> bytes:
    """An engine whose score is the largest sample."""
    node = helper.make_node("ReduceMax", ["samples", "axes"], ["score"], keepdims=0)
    samples = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "n"])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph([node], "peak", [samples], [score], [helper.make_tensor("axes", TensorProto.INT64, [1], [1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def contents() -> tuple[Manifest, dict[str, bytes]]:
    content = peak_engine()
    engine = EngineFile(kind="onnx", precision="float32", target="any", file="peak.onnx", sha256=sha256(content))
    test, flac = make_self_test(OnnxEngine(content, engine), AUDIO, tolerance=1e-4)
    manifest = Manifest(
        name="peak",
        version="1",
        description="The largest sample.",
        model=Model(front_end="none", back_end="none", parameters=1, checkpoint_sha256=sha256(b""), licence="Apache-2.0"),
        audio=AUDIO,
        engines=(engine,),
        operating_points=(OperatingPoint(name="uncalibrated", threshold=0.0),),
        default_operating_point="uncalibrated",
        self_test=test,
    )
    return manifest, {engine.file: content, test.file: flac}


def test_a_bundle_opens_as_it_was_written(tmp_path: Path) -> None:
    manifest, files = contents()
    bundle = write_bundle(tmp_path / "new" / "bundle", manifest, files)
    assert bundle.manifest == manifest == Bundle(tmp_path / "new" / "bundle").manifest
    assert sorted(p.name for p in bundle.path.iterdir()) == ["manifest.json", "peak.onnx", "self-test.flac"]
    signal = reference_signal(2 * AUDIO.window, AUDIO.sample_rate).reshape(2, -1)
    np.testing.assert_allclose(manifest.self_test.scores, signal.max(axis=1), atol=1e-4)


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_nothing_is_left_of_a_bundle_that_does_not_hold(tmp_path: Path, fault: str) -> None:
    manifest, files = contents()
    files = {k: v for k, v in files.items() if k != "peak.onnx"} if fault == "missing" else files | {"peak.onnx": b"x"}
    with pytest.raises(BundleError, match=r"peak\.onnx"):
        write_bundle(tmp_path / "bundle", manifest, files)
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(ConfigurationError, match="exists"):
        write_bundle(tmp_path / "bundle", *contents())

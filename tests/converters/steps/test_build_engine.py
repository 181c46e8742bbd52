"""Engines for TensorRT: what the builder is asked for on each version, what comes into the bundle, and what is refused."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import WINDOW, make_bundle, raw_score
from int8_bundles import make_network, with_int8
from nvidia import VERSIONS, Gpu, install
from onnx import TensorProto, helper, numpy_helper
from tiny_networks import countermeasure, noise
from typer.testing import CliRunner

from vivavoce import ConfigurationError, DeviceError, MissingExtra
from vivavoce.bundle import Bundle, EngineFile
from vivavoce.commands.app import build as command
from vivavoce.commands.verify import checks
from vivavoce.engines.engine import open_engine
from vivavoce.errors import BundleError
from vivavoce.progress import Advance, quiet
from vivavoce_converters.commands.verbs import build_engine_command
from vivavoce_converters.onnx_graph.float16 import mixed_precision
from vivavoce_converters.quantization.quantize import Quantizer
from vivavoce_converters.quantization.tensorrt_rules import broken_rules
from vivavoce_converters.steps.build_engine import BuildError, BuildOptions, build_engine, build_engine_bundle
from vivavoce_converters.steps.export import export_onnx

FLOAT32 = BuildOptions(rest="float32")


@pytest.fixture(autouse=True)
def _caches_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return install(monkeypatch)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_calls_build_on_every_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    gpu = install(monkeypatch, version)
    parent = Bundle(with_int8(tmp_path / "bundle"))
    made = build_engine_bundle(parent, tmp_path / "out")
    file, *others = made.manifest.engines
    assert tuple(others) == parent.manifest.engines
    assert (file.kind, file.precision, file.target) == ("tensorrt", "int8", "sm8.7")
    assert file.file == f"int8.tensorrt-{version}.sm8.7.engine"
    assert (file.requires["tensorrt"], file.requires["compute_capability"]) == (version, "8.7")
    assert gpu.network.strongly_typed
    assert {flag.name for flag in gpu.config.flags} == set()
    assert [*gpu.config.pools.values()] == [2048 << 20]
    assert gpu.config.profiles[0].shapes == {"samples": [(1, WINDOW)] * 3}
    engine = open_engine(made)
    assert engine.provider == f"TensorRT {version}"
    samples = np.full((1, WINDOW), 0.1, np.float32)
    np.testing.assert_allclose(engine.score(samples), [raw_score(samples[0])], atol=0.5)
    assert {check.state for check in checks(made.path)} == {"ok"}


def test_options_reach_the_builder_and_the_manifest(tmp_path: Path, gpu: Gpu) -> None:
    options = BuildOptions(batch=8, rest="float32", workspace=64, version_compatible=True, hardware="ampere+")
    made = build_engine_bundle(Bundle(make_bundle(tmp_path / "bundle")), tmp_path / "out", options=options)
    assert [flag.name for flag in gpu.config.flags] == ["VERSION_COMPATIBLE"]
    assert gpu.config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert [*gpu.config.pools.values()] == [64 << 20]
    assert gpu.config.profiles[0].shapes == {"samples": [(1, WINDOW), (8, WINDOW), (8, WINDOW)]}
    file = made.manifest.engines[0]
    assert (file.precision, file.requires["tensorrt"], file.requires["compute_capability"]) == (
        "float32",
        f">={gpu.version}",
        ">=8.0",
    )
    assert open_engine(made, device="tensorrt").provider.startswith("TensorRT")


def test_what_an_engine_can_carry_is_left_out(tmp_path: Path, gpu: Gpu) -> None:
    model = onnx.load_from_string(make_network())
    past = helper.make_tensor_value_info("past_offset", TensorProto.FLOAT, [1])
    model.graph.input.append(past)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "past_offset"))
    model.graph.node.append(helper.make_node("Identity", ["past_offset"], ["present_offset"], "carry"))
    model.graph.output.append(helper.make_tensor_value_info("present_offset", TensorProto.FLOAT, [1]))
    onnx.checker.check_model(model)
    made = build_engine_bundle(Bundle(with_int8(tmp_path / "bundle", model.SerializeToString())), tmp_path / "out")
    engine = open_engine(made)
    samples = np.full((1, WINDOW), 0.1, np.float32)
    np.testing.assert_allclose(engine.score(samples), [raw_score(samples[0])], atol=0.5)


def test_engines_for_several_machines_share_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(with_int8(tmp_path / "bundle"))
    for index, (version, capability) in enumerate((("10.0.1", (8, 7)), ("11.4.0.106", (8, 9)), ("11.4.0.106", (8, 9)))):
        install(monkeypatch, version, capability)
        bundle = build_engine_bundle(bundle, tmp_path / f"out{index}")
    assert [file.target for file in bundle.manifest.engines] == ["sm8.9", "sm8.7", "any", "tensorrt"]
    install(monkeypatch, "10.0.1", (8, 7))
    engine = open_engine(bundle)
    assert engine.file.target == "sm8.7"
    assert "needs tensorrt 11.4.0.106, and this machine has 10.0.1" in engine.skipped[0]


def test_timings_are_kept_and_those_of_another_machine_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "timings"
    bundle = Bundle(with_int8(tmp_path / "bundle"))
    gpu = install(monkeypatch, "11.4.0.106")
    build_engine_bundle(bundle, tmp_path / "a", timing_cache=cache)
    kept = cache.read_bytes()
    assert b"11.4.0.106" in kept
    build_engine_bundle(bundle, tmp_path / "b", timing_cache=cache)
    assert gpu.config.cache.content == kept
    install(monkeypatch, "10.0.1")
    build_engine_bundle(bundle, tmp_path / "c", timing_cache=cache)
    assert b"10.0.1" in cache.read_bytes()
    build_engine_bundle(bundle, tmp_path / "d")
    assert [path.name for path in (tmp_path / "cache" / "vivavoce").iterdir()] == ["tensorrt-10.0.1-sm8.7.timing"]


def test_progress_is_told_from_the_builders_monitor(tmp_path: Path, gpu: Gpu) -> None:
    told: list[tuple[str, int, int]] = []

    def stages(phase: str) -> Advance:
        return lambda done, total: told.append((phase, done, total))

    build_engine_bundle(Bundle(with_int8(tmp_path / "bundle")), tmp_path / "out", stages=stages)
    assert told == [
        ("Building engine", 0, 2),
        *(("Timing tactics", done, 3) for done in (0, 1, 2, 3, 3)),
        *(("Building engine", done, 2) for done in (1, 2)),
    ]


def test_an_interruption_cancels_the_build_and_leaves_nothing(tmp_path: Path, gpu: Gpu) -> None:
    def interrupt(phase: str) -> Advance:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine_bundle(Bundle(with_int8(tmp_path / "bundle")), tmp_path / "out", stages=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "cache"]


def test_what_the_parser_refuses_is_told(gpu: Gpu) -> None:
    file = EngineFile(kind="onnx", precision="int8", target="tensorrt", weight_bits=8, file="int8.onnx", sha256="0" * 64)
    with pytest.raises(BuildError, match=r"cannot read int8\.onnx: QuantizeLinear quantize: Assertion failed: shiftIsAllZeros"):
        build_engine(make_network(zero=1), file, WINDOW, FLOAT32)


def test_what_the_builder_refuses_is_told_with_a_remedy(tmp_path: Path, gpu: Gpu) -> None:
    gpu.memory = 1 << 20
    with pytest.raises(BuildError, match=r"OutOfMemory \(Requested size was 9 GiB\)\. Free memory of the GPU, or .* than 2048"):
        build_engine_bundle(Bundle(with_int8(tmp_path / "bundle")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_engine_that_scores_otherwise_is_not_kept(tmp_path: Path, gpu: Gpu) -> None:
    with pytest.raises(BuildError, match=r"scores differ .* more than 1e-09. Leave the rest in float32"):
        build_engine_bundle(Bundle(with_int8(tmp_path / "bundle", tolerance=1e-9)), tmp_path / "out", options=FLOAT32)
    gpu.error_when_quiet = 1.0
    with pytest.raises(BuildError, match=r"scores differ from those of int8\.tensorrt\.onnx by 1, more than 0\.6"):
        build_engine_bundle(Bundle(with_int8(tmp_path / "quiet")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"target": "tpu"}, ConfigurationError, "Choose one of: tensorrt"),
        ({"precision": "int4"}, ConfigurationError, r"with int4\. It holds: float32 \(any\), int8 \(tensorrt\)"),
    ],
    ids=str,
)
def test_settings_that_allow_no_engine(
    tmp_path: Path, gpu: Gpu, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build_engine_bundle(Bundle(with_int8(tmp_path / "bundle")), tmp_path / "out", **settings)


def test_int8_for_a_processor_is_no_source(tmp_path: Path, gpu: Gpu) -> None:
    bundle = make_bundle(tmp_path / "bundle", precisions=("int8",))
    with pytest.raises(ConfigurationError, match="vivavoce quantize BUNDLE --target tensorrt"):
        build_engine_bundle(Bundle(bundle), tmp_path / "out")


def test_a_graph_against_the_rules_is_refused_before_tensorrt_sees_it(tmp_path: Path, gpu: Gpu) -> None:
    with pytest.raises(
        ConfigurationError, match=r"int8\.tensorrt\.onnx is not for TensorRT: quantize: its zero point is not 0"
    ):
        build_engine_bundle(Bundle(with_int8(tmp_path / "bundle", make_network(zero=1))), tmp_path / "out")
    assert gpu.network is None


def test_without_a_gpu_or_tensorrt_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: Gpu) -> None:
    bundle = Bundle(with_int8(tmp_path / "bundle"))
    gpu.starts = False
    with pytest.raises(DeviceError, match="TensorRT does not start"):
        build_engine_bundle(bundle, tmp_path / "out")
    gpu.driver = False
    with pytest.raises(DeviceError, match="NVIDIA GPU cannot be used"):
        build_engine_bundle(bundle, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra, match=r"vivavoce\[tensorrt\]"):
        build_engine_bundle(bundle, tmp_path / "out")


def test_the_verb_builds_and_says_what_is_next(tmp_path: Path, gpu: Gpu) -> None:
    app = command()
    if "build-engine" not in {one.name for one in app.registered_commands}:
        app.command("build-engine")(build_engine_command)
    settings = ["--rest", "float32", "--batch", "2", "--timing-cache", str(tmp_path / "timings")]
    done = CliRunner().invoke(app, ["build-engine", str(with_int8(tmp_path / "b")), "--out", str(tmp_path / "out"), *settings])
    assert done.exit_code == 0, done.output
    assert "int8.tensorrt-11.4.0.106.sm8.7.engine" in done.output
    assert f"Next: vivavoce verify {tmp_path / 'out'}" in done.output
    assert (tmp_path / "timings").is_file()
    assert gpu.config.profiles[0].shapes["samples"][2] == (2, WINDOW)


# Float16


def spectral() -> onnx.ModelProto:
    """log(mean(samples² + 1e-10)) through a layer normalisation and a product: the quiet end is out of float16's reach."""
    constants = {
        "axis": np.array([1], np.int64),
        "least": np.array(1e-10, np.float32),
        "weights": np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32),
        "ones": np.ones(16, np.float32),
        "shape": np.array([0, 16, -1], np.int64),
        "last": np.array([-1], np.int64),
    }
    make = helper.make_node
    nodes = [
        make("Reshape", ["samples", "shape"], ["frames"], "reshape"),
        make("Mul", ["frames", "frames"], ["powers"], "square"),
        make("ReduceMean", ["powers", "last"], ["mean"], "mean", keepdims=0),
        make("Max", ["mean", "least"], ["floored"], "floor"),
        make("Log", ["floored"], ["level"], "log"),
        make("LayerNormalization", ["level", "ones"], ["normal"], "norm"),
        make("MatMul", ["normal", "weights"], ["product"], "matmul"),
        make("ReduceMax", ["product", "axis"], ["score"], "max", keepdims=0),
    ]
    samples = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", 1600])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(
        nodes, "levels", [samples], [score], [numpy_helper.from_array(v, n) for n, v in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, samples: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["score"], {"samples": samples})[0]


def test_float16_keeps_levels_that_it_could_not_hold() -> None:
    model = spectral()
    before = model.SerializeToString()
    half = mixed_precision(model)
    assert model.SerializeToString() == before
    levels = 10.0 ** np.arange(-4.5, 0.5, 0.5)[:, None]
    samples = (np.random.default_rng(1).standard_normal((10, 1600)) * levels).astype(np.float32)
    np.testing.assert_allclose(run(half, samples), run(model, samples), rtol=0.01)
    makers = {output: node for node in half.graph.node for output in node.output}
    types = {one.name: one.data_type for one in half.graph.initializer}
    assert types["weights"] == TensorProto.FLOAT16
    assert types["least"] == types["ones"] == TensorProto.FLOAT
    assert makers[next(n for n in half.graph.node if n.op_type == "Log").input[0]].op_type == "Max"
    assert broken_rules(half) == []
    assert (
        half.graph.input[0].type.tensor_type.elem_type == half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    )


def test_float16_of_an_int8_model_keeps_its_rules_and_its_scores() -> None:
    model = onnx.load_from_string(make_network())
    half = mixed_precision(model)
    assert broken_rules(half) == []
    samples = (np.random.default_rng(1).standard_normal((4, WINDOW)) * 0.1).astype(np.float32)
    np.testing.assert_allclose(run(half, samples), run(model, samples), atol=0.5)


def test_float16_beside_int8_needs_an_opset_that_has_it() -> None:
    with pytest.raises(ConfigurationError, match=r"Opset 18 .* Leave the rest in float32"):
        mixed_precision(onnx.load_from_string(make_network(opset=18)))


# NVIDIA's own parser and builder, which need no GPU in TensorRT for RTX: pip install onnxruntime-ep-nv-tensorrt-rtx-cu13 and
# tensorrt-rtx-cu13-bindings.


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorRT for RTX in the place of TensorRT, whose classes and calls it shares."""
    install(monkeypatch)
    pytest.importorskip(
        "onnxruntime_ep_nv_tensorrt_rtx", reason="the libraries of TensorRT for RTX are not installed", exc_type=ImportError
    )
    try:
        module = importlib.import_module("tensorrt_rtx_bindings")
    except ImportError:
        pytest.skip("the Python bindings of TensorRT for RTX are not installed")
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_nvidias_builder_takes_what_the_rules_allow(rtx: Any, half: bool) -> None:
    content = make_network()
    if half:
        content = mixed_precision(onnx.load_from_string(content)).SerializeToString()
    file = EngineFile(kind="onnx", precision="int8", target="tensorrt", weight_bits=8, file="int8.onnx", sha256="0" * 64)
    phases: set[str] = set()
    built = build_engine(content, file, WINDOW, FLOAT32, stages=lambda phase: phases.add(phase) or quiet)
    assert len(built) > 1000
    assert "Building engine" in phases


@pytest.mark.slow
def test_nvidias_builder_takes_a_student_in_int8_and_float16(rtx: Any, tmp_path: Path) -> None:
    export_onnx(countermeasure(), tmp_path / "float32.onnx", window=WINDOW)
    windows = [noise(1, WINDOW, seed).numpy() for seed in range(4)]
    quantized = Quantizer(tmp_path / "float32.onnx", windows, "tensorrt").build()
    file = EngineFile(kind="onnx", precision="int8", target="tensorrt", weight_bits=8, file="int8.onnx", sha256="0" * 64)
    content = mixed_precision(quantized).SerializeToString()
    assert len(build_engine(content, file, WINDOW, BuildOptions())) > 100_000


def test_nvidias_parser_refuses_what_the_rules_forbid(rtx: Any) -> None:
    file = EngineFile(kind="onnx", precision="int8", target="tensorrt", weight_bits=8, file="int8.onnx", sha256="0" * 64)
    with pytest.raises(BuildError, match=r"cannot read int8\.onnx: QuantizeLinear quantize: .*shiftIsAllZeros"):
        build_engine(make_network(zero=1), file, WINDOW, FLOAT32)


def test_bundles_stay_whole(tmp_path: Path, gpu: Gpu) -> None:
    made = build_engine_bundle(Bundle(with_int8(tmp_path / "bundle")), tmp_path / "out")
    (made.path / made.manifest.engines[0].file).write_bytes(b"plan")
    with pytest.raises(BundleError, match="damaged or replaced"):
        open_engine(made)

"""Quantization: by each target's rules, exact where it rewrites, close to float where it rounds, never from nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper
from rewriting import inexact_products, product_model

from vivavoce.bundle import TARGETS as FORMATS_TARGETS
from vivavoce.errors import ConfigurationError
from vivavoce_converters.distillation.distill import build_student
from vivavoce_converters.distillation.recipe import StudentShape
from vivavoce_converters.onnx_graph.graph import Graph, session
from vivavoce_converters.quantization.plan import products as products_module
from vivavoce_converters.quantization.plan import smoothquant as smoothing_module
from vivavoce_converters.quantization.plan.activation_ranges import METHODS, Activation, Scale
from vivavoce_converters.quantization.plan.gptq import gptq, round_to_nearest, weight_scales
from vivavoce_converters.quantization.plan.products import convolutions_to_products, float_convolutions
from vivavoce_converters.quantization.plan.rounded_weights import weighed
from vivavoce_converters.quantization.plan.smoothquant import Choice, Operand, choose_by_class, migration_scales
from vivavoce_converters.quantization.quantize import TARGETS, Quantizer, quantize_model
from vivavoce_converters.quantization.rewrites import float16_storage, int8_placement, scale_migration, stored_weights
from vivavoce_converters.quantization.sensitivity import Effect, Sample, fastest_mix, parse_budget
from vivavoce_converters.quantization.tensorrt_rules import broken_rules
from vivavoce_converters.steps.export import export_onnx

WINDOW = 16_000
SHAPE = StudentShape(
    conv_channels=(16,) * 7,
    mel_branch=20,
    width=64,
    layers=2,
    heads=2,
    ffn=64,
    position_kernel=16,
    position_groups=4,
    nest=(4, 4),
)


def windows(count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield (rng.standard_normal((1, WINDOW)) * rng.uniform(0.01, 0.3)).astype(np.float32)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "float32.onnx"
    export_onnx(build_student(SHAPE).eval(), path, window=WINDOW, dynamic=False)
    return path


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the convolutions of a tiny network count as large."""
    monkeypatch.setattr(products_module, "SMALLEST", 16)


def scores(model: Path | onnx.ModelProto, batches: Iterator[NDArray[np.float32]]) -> NDArray[np.float64]:
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    made = session(content)
    return np.array([made.run(["score"], {"samples": batch})[0][0] for batch in batches], np.float64)


def test_targets_are_those_of_the_bundles_format() -> None:
    assert ["any", *TARGETS] == [*FORMATS_TARGETS]


@pytest.fixture(scope="module", params=TARGETS)
def quantized(request: pytest.FixtureRequest, float_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A target, and the network in 8 bits for it, small convolutions too."""
    path = tmp_path_factory.mktemp("quantized") / "int8.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products_module, "SMALLEST", 16)
        quantize_model(float_model, path, windows(16, 1), request.param)
    return request.param, path


def test_every_target_follows_its_rules(quantized: tuple[str, Path]) -> None:
    target, path = quantized
    onnx.checker.check_model(str(path), full_check=True)
    graph = onnx.load(path).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        zero = values[node.input[2]]
        assert zero.dtype == (np.int8 if TARGETS[target].signed else np.uint8)
        assert not TARGETS[target].symmetric or not zero.any()
    constants = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in values]
    weights = [n for n in constants if values[n.input[0]].ndim > 1]
    for node in weights:
        assert not values[node.input[2]].any()
        assert values[node.input[1]].size > 1
    integers = [n for n in graph.node if n.op_type == "MatMulInteger"]
    assert bool(integers) == target.startswith("x86")
    for name in [*(n.input[0] for n in weights), *(n.input[1] for n in integers)]:
        assert values[name].dtype == np.int8
        assert np.abs(values[name].astype(int)).max() == TARGETS[target].limit
    # Biases, and whatever adds, normalises or activates, see floats only.
    dequantized = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n not in constants}
    assert {node.op_type for node in graph.node if dequantized & set(node.input)} <= {"MatMul", "Conv"}
    assert not broken_rules(onnx.load(path)) or target != "tensorrt"


def test_onnx_runtime_makes_one_kernel_of_each_biased_product(float_model: Path, tmp_path: Path, small_is_large: None) -> None:
    """Bytes in, biased floats out, and nothing else done by it: no other pass over what it gives."""
    made = Quantizer(float_model, windows(4, 1), "x86-vnni").build()
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    assert not any(node.op_type in ("MatMulInteger", "BiasGelu", "QLinearMatMul") for node in nodes)
    fused = [node for node in nodes if node.op_type == "MatMulIntegerToFloat"]
    assert sum(len(node.input) == 7 and node.input[6] != "" for node in fused) == sum(
        node.op_type == "MatMulInteger" for node in made.graph.node
    )


def test_biases_inside_products_change_no_score(
    float_model: Path, small_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes as Q/DQ nodes and a sum give."""
    quantizer = Quantizer(float_model, windows(4, 1), "x86-vnni")
    made = quantizer.build()
    monkeypatch.setattr(int8_placement, "bias_add", lambda graph, node: None)
    apart = quantizer.build()
    assert not any(node.op_type == "MatMulInteger" for node in apart.graph.node)
    np.testing.assert_allclose(scores(made, windows(5, 3)), scores(apart, windows(5, 3)), rtol=1e-4, atol=1e-5)


def test_scores_stay_close_to_float(float_model: Path, quantized: tuple[str, Path]) -> None:
    _, path = quantized
    expected, found = scores(float_model, windows(12, 2)), scores(path, windows(12, 2))
    assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    assert not np.array_equal(found, expected)


def test_what_8_bits_would_spoil_stays_float(float_model: Path) -> None:
    # Three outer blocks with two convolutions of squeeze-excitation each, the grouped positional convolution, the first of the
    # waveform stem, and the five of the spectrogram.
    graph = Graph(onnx.load(float_model))
    assert len(float_convolutions(graph)) == 3 * 2 + 1 + 1 + 5
    made = Quantizer(float_model, windows(4, 1), "tensorrt").build().graph
    dequantized = {output for node in made.node if node.op_type == "DequantizeLinear" for output in node.output}
    assert len([n for n in made.node if n.op_type == "Conv" and n.input[1] not in dequantized]) == 13
    (head,) = [n for n in made.node if n.op_type == "Gemm"]
    assert not dequantized & set(head.input)


def test_rewriting_without_int8_changes_no_score(float_model: Path, small_is_large: None) -> None:
    quantizer = Quantizer(float_model, windows(6, 1), "x86-vnni")
    assert any(any(choice.strengths.values()) for choice in quantizer.plan.choices.values())
    layers = quantizer.plan.layers()
    assert len(set(layers.values())) == len(layers)
    assert all(layer.startswith(("front_end.", "back_end.")) for layer in layers.values())
    assert {name for one in quantizer.plan.choices.values() for name in one.named(layers).strengths} == set(layers.values())
    made = quantizer.build(())
    assert not any(node.op_type == "QuantizeLinear" for node in made.graph.node)
    assert sum(node.op_type == "Conv" for node in made.graph.node) < sum(
        node.op_type == "Conv" for node in onnx.load(float_model).graph.node
    )
    np.testing.assert_allclose(scores(made, windows(5, 3)), scores(float_model, windows(5, 3)), atol=2e-4)


def test_what_reads_the_samples_becomes_a_product_in_float(float_model: Path, small_is_large: None) -> None:
    quantizer = Quantizer(float_model, windows(4, 1), "x86-vnni")
    stem = [group for group in quantizer.groups if "conv_layers" in group]
    assert stem
    assert not any("conv_layers.0" in group for group in stem)
    made = quantizer.build().graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.initializer}
    first, last = [n for n in made.node if n.op_type == "MatMul" and "conv_layers.0" in n.name]
    assert values[first.input[1]].shape == (10 + 1, 10 + 1)
    assert values[last.input[1]].shape == (10 + 2, SHAPE.conv_channels[0])
    assert not any(n.op_type == "LayerNormalization" and "conv_layers.0" in n.name for n in made.node)
    assert not any(n.op_type == "Conv" and "conv_layers" in n.name for n in made.node)


@settings(max_examples=30, deadline=None)
@given(
    taps=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    frames=st.integers(10, 16),
    bias=st.booleans(),
    fewest=st.sampled_from([0, products_module.FEWEST]),
)
def test_an_unfolded_convolution_is_the_same(
    taps: int, stride: int, dilation: int, padding: tuple[int, int], frames: int, bias: bool, fewest: int
) -> None:
    rng = np.random.default_rng(taps + 10 * stride + 100 * frames)
    constants = {"w": rng.standard_normal((5, 3, taps)), "b": rng.standard_normal(5)}
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    node = onnx.helper.make_node(
        "Conv", inputs, ["y"], name="conv", strides=[stride], dilations=[dilation], pads=list(padding), kernel_shape=[taps]
    )
    first = onnx.helper.make_node("Relu", ["samples"], ["x"])
    graph = onnx.helper.make_graph(
        [first, node],
        "g",
        [onnx.helper.make_tensor_value_info("samples", 1, ["n", 3, "t"])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 5, "u"])],
        [numpy_helper.from_array(constants[name].astype(np.float32), name) for name in inputs[1:]],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    rewritten = Graph(changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products_module, "SMALLEST", 1)
        patch.setattr(products_module, "FEWEST", fewest)
        patch.setattr(products_module, "float_convolutions", lambda graph: [])
        convolutions_to_products(rewritten)
    made = rewritten.finish()
    onnx.checker.check_model(made, full_check=True)
    assert not any(node.op_type == "Conv" for node in made.graph.node)
    x = rng.standard_normal((2, 3, frames)).astype(np.float32)
    sessions = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]) for one in (model, made)
    ]
    expected, found = (session.run(None, {"samples": x})[0] for session in sessions)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def activation(rows: NDArray[np.float32], windows: int = 4) -> Activation:
    """What is observed in so many windows of equally many frames, of which these are all."""
    means = rows.reshape(windows, -1, rows.shape[1]).mean(axis=1)
    return Activation(rows, means, rows.min(axis=0), rows.max(axis=0), len(rows) // windows)


def test_migration_is_chosen_where_one_channel_dwarfs_the_others() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 32)).astype(np.float32)
    rows[:, 3] *= 200
    weights = rng.standard_normal((32, 16)).astype(np.float32)
    operand = Operand(activation(rows), weights, "LayerNormalization", movable=True)
    choice = choose_by_class({"x": operand}, signed=False, symmetric=False, limit=127)["LayerNormalization"]
    assert choice.strengths["x"] > 0
    plain = min(error for name, error in choice.errors.items() if name.endswith(" 0"))
    assert min(choice.errors.values()) < plain / 4
    scale = migration_scales(operand, choice.strengths["x"])
    np.testing.assert_allclose((rows / scale) @ (weights * scale[:, None]), rows @ weights, rtol=1e-3, atol=1e-2)
    fixed = Operand(activation(rows), weights, "Conv", movable=False)
    assert choose_by_class({"x": fixed}, signed=False, symmetric=False, limit=127)["Conv"].strengths == {"x": 0}


def test_frames_side_by_side_share_their_channels_scales() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 24)).astype(np.float32) * np.tile(np.geomspace(0.1, 30, 8), 3).astype(np.float32)
    operand = Operand(activation(rows), rng.standard_normal((24, 16)).astype(np.float32), "Conv", movable=True, taps=3)
    scale = migration_scales(operand, 0.5).reshape(3, 8)
    assert np.array_equal(scale, scale[[0, 0, 0]])
    assert (np.diff(scale[0]) > 0).all()
    assert choose_by_class({"x": operand}, signed=False, symmetric=False, limit=127)["Conv"].strengths["x"] > 0


def test_a_convolution_whose_channels_are_alike_moves_no_scales() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 24)).astype(np.float32)
    operand = Operand(activation(rows), rng.standard_normal((24, 16)).astype(np.float32), "Conv", movable=True, taps=3)
    assert choose_by_class({"x": operand}, signed=False, symmetric=False, limit=127)["Conv"].strengths["x"] == 0


def test_activations_of_a_class_share_the_method_and_move_scales_each_as_it_needs() -> None:
    rng = np.random.default_rng(0)
    even = rng.standard_normal((400, 32)).astype(np.float32)
    uneven = even * np.geomspace(0.01, 10, 32).astype(np.float32)
    weights = rng.standard_normal((32, 16)).astype(np.float32)
    operands = {
        name: Operand(activation(rows), weights, "Conv", movable=True) for name, rows in (("even", even), ("uneven", uneven))
    }
    (choice,) = choose_by_class(operands, signed=False, symmetric=False, limit=127).values()
    assert choice.strengths["even"] == 0
    assert choice.strengths["uneven"] > 0


def test_an_error_that_stays_within_a_window_counts_less_than_one_that_parts_windows() -> None:
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((8, 50, 4)).astype(np.float32)
    shifted = np.repeat(rng.standard_normal((8, 1, 4)).astype(np.float32), 50, axis=1)
    # As large frame by frame, and as what a bias takes up.
    assert smoothing_module.between_windows(frames, 400) < 0.1 * smoothing_module.between_windows(shifted, 400)
    assert smoothing_module.between_windows(np.ones_like(frames), 400) == 0
    # Fifty of four hundred frames tell of the mean over all: what their own noise adds is taken off.
    whole = rng.standard_normal((200, 400, 4)).astype(np.float32) + rng.standard_normal((200, 1, 4)).astype(np.float32) * 0.1
    found, exact = (smoothing_module.between_windows(part, 400) for part in (whole[:, :50], whole))
    assert found == pytest.approx(exact, rel=0.25)


def test_rounding_spares_the_means_of_windows() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 1, 64)).astype(np.float32) * 0.3
    rows = (centres + rng.standard_normal((40, 30, 64)).astype(np.float32)).reshape(-1, 64)
    weights = rng.standard_normal((64, 16)).astype(np.float32)
    means = rows.reshape(40, 30, 64).mean(axis=1)
    errors = []
    for seen in (rows, weighed(rows, means)):
        whole = gptq(weights, seen, 7) * weight_scales(weights, 7)
        errors.append(float(np.square(means @ (whole - weights)).sum()))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("uneven", [False, True])
def test_scales_moved_out_of_a_convolutions_frames_change_no_score_but_by_rounding(
    float_model: Path, small_is_large: None, monkeypatch: pytest.MonkeyPatch, uneven: bool
) -> None:
    monkeypatch.setattr(smoothing_module, "WORTH", np.inf if uneven else 0.0)
    quantizer = Quantizer(float_model, windows(6, 1), "x86-vnni")
    assert any(quantizer.plan.choices["Conv"].strengths.values()) == uneven
    exact = scores(float_model, windows(12, 5))
    for fine in ((), tuple(quantizer.groups)):
        assert np.corrcoef(scores(quantizer.build(None, fine), windows(12, 5)), exact)[0, 1] > 0.99


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), signed=st.booleans(), symmetric=st.booleans(), offset=st.floats(-3, 3))
def test_eight_bits_keep_values_to_half_a_step(seed: int, signed: bool, symmetric: bool, offset: float) -> None:
    values = (np.random.default_rng(seed).standard_normal(500) + offset).astype(np.float32)
    scale = Scale.over(*METHODS["min-max"](values), signed=signed or symmetric, symmetric=symmetric)
    # The zero point is rounded too, so the outermost values may lose a further half.
    assert np.abs(scale.round_trip(values) - values).max() <= 1.001 * scale.scale
    assert scale.round_trip(np.zeros(1, np.float32))[0] == 0


@pytest.mark.parametrize("method", METHODS)
def test_range_methods_stay_within_what_was_seen(method: str) -> None:
    values = np.random.default_rng(1).laplace(size=20_000).astype(np.float32)
    low, high = METHODS[method](values)
    assert values.min() <= low < 0 < high <= values.max()
    assert ((low, high) != (values.min(), values.max())) == (method in ("percentile", "mse"))


def test_compensated_rounding_loses_less_of_correlated_inputs() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((600, 8)) @ rng.standard_normal((8, 48)) + 0.1 * rng.standard_normal((600, 48))).astype(
        np.float32
    )
    weights = rng.standard_normal((48, 20)).astype(np.float32)
    step = weight_scales(weights, 127)
    errors = [
        np.square(rows @ (whole * step) - rows @ weights).sum()
        for whole in (round_to_nearest(weights, 127), gptq(weights, rows, 127))
    ]
    assert errors[1] < errors[0] / 3


def test_ranges_need_audio_and_a_known_target(float_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="corpus"):
        quantize_model(float_model, tmp_path / "int8.onnx", iter(()), "x86-vnni")
    with pytest.raises(ConfigurationError, match="x86-vnni"):
        quantize_model(float_model, tmp_path / "int8.onnx", windows(1, 1), "z80")
    assert not list(tmp_path.iterdir())


def test_every_group_is_measured_alone_and_ranked(float_model: Path) -> None:
    quantizer = Quantizer(float_model, windows(6, 1), "x86-vnni")
    audio = np.concatenate(list(windows(24, 5)))
    sample = Sample(onnx.load(float_model), audio, np.arange(24) % 2 == 0)
    costs = quantizer.groups
    everything = sample.effect(quantizer.build())
    loose = fastest_mix(quantizer.build, costs, sample, 1.0)
    assert loose.groups == tuple(costs)
    assert loose.effect == everything
    assert list(loose.alone) == sorted(loose.alone, key=lambda group: -loose.alone[group].residual)


class Additive:
    """A network whose groups have known variances, and flips that grow with them."""

    VARIANCES: ClassVar = {"cheap and bad": 0.09, "dear and bad": 0.08, "dear and good": 0.0004, "cheap and good": 0.0001}
    COSTS: ClassVar = {"cheap and bad": 1, "dear and bad": 100, "dear and good": 100, "cheap and good": 1}

    SECOND = 0.01
    """What a second byte leaves of a group's variance."""

    @staticmethod
    def build(groups: Collection[str], fine: Collection[str]) -> onnx.ModelProto:
        return cast(onnx.ModelProto, (groups, fine))

    def effect(self, model: tuple[Collection[str], Collection[str]], count: int | None = None) -> Effect:
        groups, fine = model
        residual = sum(self.VARIANCES[group] * (self.SECOND if group in fine else 1) for group in groups) ** 0.5
        return Effect(1 - residual**2 / 2, residual, self.predicted(residual) * 1.2)

    def predicted(self, residual: float) -> float:
        return residual / 10


@pytest.mark.parametrize(("budget", "groups"), [(1.0, 4), (0.035, 3), (0.004, 2), (0.0025, 1)])
def test_the_worst_bargain_becomes_float_first(budget: float, groups: int) -> None:
    network = cast(Sample, Additive())
    mix = fastest_mix(Additive.build, Additive.COSTS, network, budget)
    worst_first = ["cheap and bad", "dear and bad", "cheap and good", "dear and good"]
    assert set(mix.groups) == set(worst_first[4 - groups :])
    assert mix.effect.flips <= budget


@pytest.mark.parametrize(
    ("budget", "fine", "kept"),
    [
        (1.0, (), 4),
        (0.035, ("cheap and bad",), 4),
        (0.01, ("cheap and bad", "dear and bad"), 4),
        (0.004, ("cheap and good",), 2),
    ],
)
def test_a_second_byte_comes_before_float(budget: float, fine: tuple[str, ...], kept: int) -> None:
    mix = fastest_mix(Additive.build, Additive.COSTS, cast(Sample, Additive()), budget, two_bytes=True)
    assert (set(mix.two_byte_groups), len(mix.groups)) == (set(fine), kept)
    assert mix.effect.flips <= budget
    assert mix.alone_two_bytes["dear and bad"].residual == pytest.approx(mix.alone["dear and bad"].residual / 10)


@pytest.mark.parametrize("target", [name for name, target in TARGETS.items() if target.two_byte_activations])
@pytest.mark.parametrize("biased", [False, True])
def test_two_bytes_for_each_value_keep_it_and_others_up_to_four_times_as_far_from_zero(
    tmp_path: Path, target: str, biased: bool
) -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(-127, 128, (32, 24)).astype(np.float32)
    weights[0] = 127  # Then each is a whole number of its channel's steps, and rounding changes none.
    source = product_model(tmp_path / "float32.onnx", weights, rng.standard_normal(24).astype(np.float32) if biased else None)
    values = rng.uniform(-3, 5, (1, 40, 32)).astype(np.float32)
    made = Quantizer(source, [values / 4], target).build(None, {"product"})
    assert inexact_products(made) == []
    exact, found = (session(model.SerializeToString()).run(None, {"samples": values})[0] for model in (onnx.load(source), made))
    step = np.ptp(values) / 255
    assert np.abs(found - exact).max() <= step / 508 * np.abs(weights).sum(axis=0).max() * 1.05 + 1e-2
    assert np.abs(found - exact).max() > 0


def test_two_bytes_for_each_value_come_nearer_to_float_than_one(float_model: Path, small_is_large: None) -> None:
    quantizer = Quantizer(float_model, windows(6, 1), "x86-vnni")
    # The windows that ranges come from: what is beyond them is clipped, with two bytes as with one.
    exact = scores(float_model, windows(6, 1))
    everything = tuple(quantizer.groups)
    coarse, fine = (np.square(scores(quantizer.build(None, some), windows(6, 1)) - exact).mean() for some in ((), everything))
    assert fine < coarse / 2


def test_products_of_one_value_may_differ_in_bytes(float_model: Path, small_is_large: None) -> None:
    quantizer = Quantizer(float_model, windows(6, 1), "x86-vnni")
    exact = scores(float_model, windows(12, 5))
    coarse = np.abs(scores(quantizer.build(), windows(12, 5)) - exact).mean()
    for group in quantizer.groups:
        mixed = scores(quantizer.build(None, {group}), windows(12, 5))
        assert np.corrcoef(mixed, exact)[0, 1] > 0.99, group
        # The range of the value is not widened for those that read one byte of it.
        assert np.abs(mixed - exact).mean() < 1.5 * coarse, group


def test_a_budget_that_nothing_keeps_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="No part"):
        fastest_mix(Additive.build, Additive.COSTS, cast(Sample, Additive()), 1e-6)


def test_flips_are_those_of_every_residual_at_every_score(float_model: Path) -> None:
    audio = np.concatenate(list(windows(12, 5)))
    sample = Sample(onnx.load(float_model), audio, np.arange(12) % 2 == 0)
    same = sample.effect(onnx.load(float_model))
    assert same.residual == pytest.approx(0, abs=1e-6)
    assert same.flips == pytest.approx(0, abs=1e-6)
    # Many scores: the kernel is narrow, and the share is that of the pairs.
    rng = np.random.default_rng(0)
    sample.scores, sample.threshold = rng.normal(0.3, 2.0, 4000), 0.5
    left = rng.normal(0, 0.2, 200)
    expected = np.mean((sample.scores[:, None] >= 0.5) != (sample.scores[:, None] + left >= 0.5))
    assert sample.flips_of(left) == pytest.approx(expected, rel=0.1)
    assert sample.predicted(0.1) == pytest.approx(expected, rel=0.15)
    assert sample.predicted(1e-6) < sample.predicted(0.1) < sample.predicted(1.0) < 0.5


def test_a_small_residual_turns_as_many_decisions_whichever_scores_lie_next_to_the_threshold(float_model: Path) -> None:
    sample = Sample(onnx.load(float_model), np.concatenate(list(windows(4, 5))), np.arange(4) % 2 == 0)
    found = []
    for seed in range(20):
        sample.scores, sample.threshold = np.random.default_rng(seed).standard_normal(600), 0.0
        found.append(sample.predicted(0.01))
    assert np.std(found) < 0.15 * np.mean(found)
    assert np.mean(found) == pytest.approx(0.01 / np.pi, rel=0.1)


def test_weights_rounded_beforehand_are_kept_to_the_bit(
    float_model: Path, small_is_large: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def choose_more(operands: dict[str, Operand], **rules: Any) -> dict[str, Choice]:
        """Moves scales out of the convolutions' frames too."""
        choices = choose_by_class(operands, **rules)
        for entry, operand in operands.items():
            if operand.taps > 1 and operand.movable:
                choices[operand.layer_class].strengths[entry] = 0.5
        return choices

    monkeypatch.setattr(scale_migration, "choose_by_class", choose_more)
    monkeypatch.setattr(stored_weights, "WORTH_STORING", 500)
    first = Quantizer(float_model, windows(6, 1), "x86-vnni")
    assert any(one.input != one.int8_input and one.int8_input in first.plan.input_scales for one in first.plan.products)
    assert any(any(choice.strengths.values()) for choice in first.plan.choices.values())
    rounded = tmp_path / "rounded.onnx"
    onnx.save(first.build_rounded(), rounded)
    # Near the scores of the network that it was made of, and smaller.
    exact = scores(float_model, windows(12, 5))
    assert np.corrcoef(scores(rounded, windows(12, 5)), exact)[0, 1] > 0.99
    assert rounded.stat().st_size < float_model.stat().st_size

    again = Quantizer(rounded, windows(6, 1), "x86-vnni")
    assert again.groups == first.groups
    assert [one.input == one.int8_input for one in again.plan.products] == [
        one.input == one.int8_input for one in first.plan.products
    ]
    small = {one.group for one in again.plan.products if one.name not in again.plan.stored}
    large = set(again.groups) - small
    assert len(large) >= 4
    # In float, and with two bytes for each value, nothing is left to lose but in the products that are small.
    known = scores(rounded, windows(12, 5))
    np.testing.assert_allclose(scores(again.build(()), windows(12, 5)), known, atol=1e-4)
    stored = again.build((), compact=True)
    np.testing.assert_allclose(scores(stored, windows(12, 5)), known, atol=1e-4)
    # The windows that ranges come from: nothing is clipped in them.
    known = scores(rounded, windows(6, 1))
    fine, coarse = (np.abs(scores(again.build(large, twice), windows(6, 1)) - known).max() for twice in (tuple(large), ()))
    assert fine < 0.05 * coarse


def test_windows_that_are_not_heard_tell_of_margins_alone(float_model: Path) -> None:
    model, audio, bonafide = onnx.load(float_model), np.concatenate(list(windows(12, 5))), np.arange(12) % 2 == 0
    every, few = Sample(model, audio, bonafide), Sample(model, audio, bonafide, heard=6)
    assert few.threshold == every.threshold
    assert few.predicted(0.1) == every.predicted(0.1)
    quantized = Quantizer(float_model, windows(6, 1), "x86-vnni").build()
    six = Sample(model, audio[:6], bonafide[:6])
    left = six.effect(quantized).residual * six.scores.std()
    assert few.effect(quantized).residual * few.scores.std() == pytest.approx(left)
    assert every.effect(quantized, 6) == few.effect(quantized)
    assert every.effect(quantized) != few.effect(quantized)


def test_budgets_are_shares_of_flips() -> None:
    assert parse_budget("flips=0.5%") == pytest.approx(0.005)
    for text in ("0.5%", "flips=0.5", "eer=1%", "flips=0%"):
        with pytest.raises(ConfigurationError, match="is no budget"):
            parse_budget(text)


def test_what_stays_float_and_is_large_is_stored_in_half_and_computes_as_before(float_model: Path) -> None:
    model = onnx.load(float_model)
    before = scores(model, windows(4, 9))
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    bound = sorted(sizes.values())[-4]
    size = model.ByteSize()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(float16_storage, "WORTH_STORING", bound)
        float16_storage.store_in_float16(model)
    onnx.checker.check_model(model, full_check=True)
    halved = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16]
    assert {tensor.name.removesuffix("/half") for tensor in halved} == {name for name, count in sizes.items() if count >= bound}
    assert model.ByteSize() == pytest.approx(size - 2 * sum(np.prod(tensor.dims) for tensor in halved), abs=2_000)
    after = scores(model, windows(4, 9))
    assert 0 < np.abs(after - before).max() < 0.02 * np.abs(before).max()


def test_weights_beyond_half_precision_stay_as_they_are(float_model: Path) -> None:
    model = onnx.load(float_model)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(float16_storage, "WORTH_STORING", 1)
        large = next(tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims)
        name, value = large.name, numpy_helper.to_array(large) + np.float32(1e5)
        large.CopyFrom(numpy_helper.from_array(value, name))
        float16_storage.store_in_float16(model)
    kept = [tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    assert kept == [name]


def test_compensated_rounding_stands_rows_that_are_all_alike() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.standard_normal((1, 1024)), 300, axis=0).astype(np.float32)
    weights = rng.standard_normal((1024, 4)).astype(np.float32)
    step = weight_scales(weights, 127)
    errors = [
        np.square(rows.astype(np.float64) @ (whole * step - weights)).sum()
        for whole in (round_to_nearest(weights, 127), gptq(weights, rows, 127))
    ]
    assert errors[1] < errors[0] / 3


def test_float_groups_with_weights_of_8_bits_round_nothing_else(
    float_model: Path, small_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_weights, "WORTH_STORING", 16)
    quantizer = Quantizer(float_model, windows(6, 1), "x86-vnni")
    made = quantizer.build((), compact=True)
    stored = [tensor for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert len(stored) == len(quantizer.plan.products)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    literal = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = [literal.run(["score"], {"samples": batch})[0][0] for batch in windows(5, 3)]
    np.testing.assert_allclose(scores(made, windows(5, 3)), expected, atol=2e-4)


def test_a_strided_convolution_of_one_tap_has_one(tmp_path: Path, small_is_large: None) -> None:
    rng = np.random.default_rng(0)
    helper = onnx.helper
    weights = rng.standard_normal((24, 32, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Gelu", ["samples"], ["active"], "gelu"),
        helper.make_node("Conv", ["active", "weights"], ["out"], "conv", strides=[2]),
    ]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, width, None])
        for name, width in (("samples", 32), ("out", 24))
    ]
    graph = helper.make_graph(nodes, "strided", values[:1], values[1:], [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "float32.onnx")
    audio = rng.standard_normal((1, 32, 40)).astype(np.float32)
    quantizer = Quantizer(tmp_path / "float32.onnx", [audio], "x86-vnni")
    assert list(quantizer.plan.taps.values()) == [1]
    exact, found = (
        session(model.SerializeToString()).run(None, {"samples": audio})[0]
        for model in (onnx.load(tmp_path / "float32.onnx"), quantizer.build())
    )
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.999

"""Scales that go through attention: set where its values are made, they change no score."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from attention_networks import NETWORKS, WINDOW, attended, exported
from rewriting import rewritten
from tiny_networks import noise

from vivavoce_converters.onnx_graph.attention import attention_value_product
from vivavoce_converters.onnx_graph.bias import map_outputs
from vivavoce_converters.onnx_graph.graph import Graph, session
from vivavoce_converters.quantization.plan.products import products
from vivavoce_converters.quantization.quantize import Quantizer


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(request.param, tmp_path_factory)


def test_scales_set_in_the_values_change_no_score(network: Path) -> None:
    original = onnx.load(network)
    changed = 0

    def rewrite(graph: Graph) -> None:
        nonlocal changed
        for one in [one for one in products(graph, convolutions=False) if one.input in attended(graph)]:
            values = attention_value_product(graph, one.input)
            assert values is not None
            assert "v" in values.name.split(".")[-1]
            scale = np.geomspace(0.1, 10, len(graph.array(one.weight)), dtype=np.float32)
            map_outputs(graph, values, partial(np.multiply, 1 / scale))
            weights = graph.array(one.weight) * scale[:, None]
            graph.replace_input(one.node, 1, graph.constant(f"{one.name}/scaled", weights))
            changed += 1

    moved = rewritten(original, rewrite)
    assert changed == 2
    before, after = (session(model.SerializeToString()) for model in (original, moved))
    for window in noise(2, WINDOW).numpy():
        wanted, found = (made.run(["score"], {"samples": window[None]})[0] for made in (before, after))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_nothing_else_is_taken_for_values(network: Path) -> None:
    graph = Graph(onnx.load(network))
    given = set(attended(graph))
    assert not any(
        attention_value_product(graph, one.input) for one in products(graph, convolutions=False) if one.input not in given
    )


def test_values_that_others_read_are_left_alone(network: Path) -> None:
    model = onnx.load(network)
    graph = Graph(model)
    (name, *_) = attended(graph)
    values = attention_value_product(graph, name)
    assert values is not None
    (biased,) = graph.readers[values.output[0]]
    model.graph.node.append(onnx.helper.make_node("Relu", [biased.output[0]], ["beside"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("beside", onnx.TensorProto.FLOAT, None))
    assert attention_value_product(Graph(model), name) is None


def test_attention_pays_for_no_multiplication(network: Path) -> None:
    quantizer = Quantizer(network, [noise(1, WINDOW, seed).numpy() for seed in range(4)], "x86-vnni")
    made = quantizer.build()
    even = [node.output[0] for node in made.graph.node if node.output[0].endswith("/even")]
    assert not any(name.removesuffix("/even") in attended(Graph(onnx.load(network))) for name in even)
    samples = noise(1, WINDOW, 9).numpy()
    found, wanted = (
        session(model.SerializeToString()).run(["score"], {"samples": samples})[0] for model in (made, onnx.load(network))
    )
    assert abs(found - wanted).max() < 0.1

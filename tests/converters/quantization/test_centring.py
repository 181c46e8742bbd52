"""Centred channels: exact in float, in windows and in streams, and narrower ranges in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from attention_networks import NETWORKS, WINDOW, attended, exported
from numpy.typing import NDArray
from rewriting import rewritten
from tiny_networks import noise

from vivavoce_converters.onnx_graph.graph import Graph, session
from vivavoce_converters.quantization.plan.activation_ranges import Activation
from vivavoce_converters.quantization.plan.products import products
from vivavoce_converters.quantization.quantize import Quantizer
from vivavoce_converters.quantization.rewrites import centring
from vivavoce_converters.quantization.rewrites.centring import centre


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(request.param, tmp_path_factory)


def everything_centred(graph: Graph) -> set[str]:
    """Takes a number from 1 to 3 out of each channel of every value that can do without; the names of these values."""
    found = set()
    for entry in dict.fromkeys(one.int8_input for one in products(graph, convolutions=False)):
        readers = [one for one in products(graph, convolutions=False) if one.int8_input == entry]
        middle = np.linspace(1, 3, len(graph.array(readers[0].weight)), dtype=np.float32)
        if centre(graph, entry, readers, middle):
            found.add(entry)
    return found


def scores(model: onnx.ModelProto, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The score of the samples, and of what follows upon them where the network carries a state."""
    made = session(model.SerializeToString())
    pasts = [value.name for value in made.get_overridable_initializers()]
    first, *presents = made.run(["score", *(name.replace("past", "present") for name in pasts)], {"samples": samples})
    if not pasts:
        return [first]
    return [first, *made.run(["score"], {"samples": samples[:, :16_000], **dict(zip(pasts, presents, strict=True))})]


def test_middles_taken_out_change_no_score(network: Path) -> None:
    original, found = onnx.load(network), set[str]()
    moved = rewritten(original, lambda graph: found.update(everything_centred(graph)))
    graph = Graph(original)
    norms = [name for name in found if (maker := graph.maker(name)) is not None and maker.op_type == "LayerNormalization"]
    assert len(norms) >= 2
    assert found - set(norms) == set(attended(graph))
    samples = noise(1, WINDOW).numpy()
    for after, before in zip(scores(moved, samples), scores(original, samples), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_a_value_that_others_read_stays(network: Path) -> None:
    model = onnx.load(network)
    (name, *_) = attended(Graph(model))
    model.graph.node.append(onnx.helper.make_node("Relu", [name], ["beside"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("beside", onnx.TensorProto.FLOAT, None))
    assert name not in everything_centred(Graph(model))


def test_ranges_lie_about_the_middles(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = [noise(1, WINDOW, seed).numpy() for seed in range(4)]
    centred = Quantizer(network, windows, "arm64")
    monkeypatch.setattr(centring, "centre", lambda *_: False)
    plain = Quantizer(network, windows, "arm64")

    def widest(activation: Activation) -> float:
        return float(activation.peaks.max() / (activation.high - activation.low).max())

    shared = set(centred.plan.activations) & set(attended(Graph(onnx.load(network))))
    assert shared
    for name in shared:
        # The widest channel alone is what a centred value ranges over.
        assert widest(centred.plan.activations[name]) == pytest.approx(0.5, abs=1e-3)
        assert widest(plain.plan.activations[name]) >= 0.5 - 1e-3
    samples = noise(1, WINDOW, 9).numpy()
    found, wanted = (scores(made.build(()), samples)[0] for made in (centred, plain))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)

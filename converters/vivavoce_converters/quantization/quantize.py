"""Quantization: a float32 ONNX model to an INT8 one with explicit Q/DQ nodes, by target.

`PASSES` are what happens to a model first, whatever becomes of it: each takes the graph and the plan, rewrites the one and
gives another of the other. `Quantizer` then makes any mix of INT8 and float of it.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from ..onnx_graph.files import has_weights_beside, save, write
from ..onnx_graph.graph import Float32, Graph
from .plan.activation_ranges import observe, with_outputs
from .plan.plan import Plan
from .plan.products import Product, convolutions_to_products, replayed
from .plan.rounded_weights import Rounded, round_for
from .plan.targets import TARGETS, target_named
from .rewrites.centring import centre_channels
from .rewrites.float16_storage import store_in_float16
from .rewrites.int8_placement import place_int8
from .rewrites.layer_norms import fold_norms
from .rewrites.long_convolutions import transform_long_kernels
from .rewrites.outlier_channels import split_outliers
from .rewrites.scale_migration import choose_ranges, divided, migrate_scales
from .rewrites.stored_weights import store, unpack, worth_storing
from .tensorrt_rules import require_rules

__all__ = ["PASSES", "TARGETS", "Quantizer", "quantize_model"]

Pass = Callable[[Graph, Plan], Plan]

PASSES: tuple[Pass, ...] = (split_outliers, centre_channels, choose_ranges, migrate_scales)
"""In this order, behind the exact rewritings and the look at what products read."""


def quantize_model(
    source: Path,
    destination: Path,
    windows: Iterable[Float32],
    target: str,
    *,
    groups: Collection[str] | None = None,
    two_bytes: Collection[str] = (),
) -> Quantizer:
    """Writes the INT8 form of the float32 model `source` for `target`, with ranges from `windows` (each (batch, window)).

    It is what a bundle ships: `Quantizer.shipped` of these groups, by default of all. A model with its weights in a file beside
    it gives another such. Raises ConfigurationError for an unknown target, where there is nothing to take ranges from, and
    where TensorRT's rules forbid what was made.
    """
    quantizer = Quantizer(source, windows, target)
    save(quantizer.shipped(groups, two_bytes), destination, beside=quantizer.beside)
    return quantizer


class Quantizer:
    """A float32 model with all that its INT8 forms need: ranges, migrated scales and rounded weights.

    The inputs of the large products become INT8 and their outputs are float again: what adds, normalises or activates never
    sees 8 bits. Biases stay float. `plan` is what was decided, `beside` whether the model's weights are in another file.
    """

    def __init__(self, source: Path, windows: Iterable[Float32], target: str) -> None:
        plan = Plan(target_named(target))
        self.beside = has_weights_beside(source)
        graph = Graph(onnx.load(source))
        passes: tuple[Pass, ...] = (_exactly_rewritten, partial(_observed, windows=windows, beside=self.beside), *PASSES)
        for one in passes:
            plan = one(graph, plan.found(graph))
            graph = Graph(graph.finish())
        self.plan = plan
        self._model = graph.model
        self._rounded: dict[tuple[str, int | None, bool], Rounded] = {}

    @property
    def groups(self) -> dict[str, int]:
        """What can be quantized or left float, each as one, with its multiply-accumulates for a window."""
        found: defaultdict[str, int] = defaultdict(int)
        constants = {tensor.name: tensor for tensor in self._model.graph.initializer}
        for one in self.plan.products:
            found[one.group] += int(np.prod(constants[one.weight].dims)) * self.plan.activations[one.input].frames
        return dict(found)

    def shipped(self, groups: Collection[str] | None = None, two_bytes: Collection[str] = ()) -> onnx.ModelProto:
        """`build` with what stays float stored compactly: the other large groups' weights in 8 bits, the rest in float16."""
        model = self.build(groups, two_bytes, compact=True)
        if not self.plan.target.tensorrt:
            store_in_float16(model)
        return model

    def build(
        self, groups: Collection[str] | None = None, two_bytes: Collection[str] = (), *, compact: bool = False
    ) -> onnx.ModelProto:
        """The model with these groups in INT8, by default all. Raises ConfigurationError where TensorRT's rules forbid it.

        Those of `two_bytes` read two bytes for each value (`two_bytes.py`).

        `compact` stores the weights of the other large groups in 8 bits too. ONNX Runtime makes them float as it loads the
        model, and nothing else of those groups is rounded. TensorRT's rules allow no weights of that kind.
        """
        graph, nodes, plan = *self._copied(), self.plan
        chosen = [one for one in plan.products if groups is None or one.group in groups]
        placed: defaultdict[str, list[tuple[Product, onnx.NodeProto]]] = defaultdict(list)
        for one in chosen:
            placed[one.int8_input].append((one, nodes[one.name]))
        for int8_input, readers in placed.items():
            place_int8(graph, plan, int8_input, readers, two_bytes, partial(self._weights, graph))
        if compact and not plan.target.tensorrt:
            for one in plan.products:
                if one not in chosen and worth_storing(graph, one):
                    store(graph, plan, one, nodes[one.name])
        made = graph.finish()
        if plan.target.tensorrt:
            require_rules(made, "The INT8 model")
        return made

    def build_rounded(self) -> onnx.ModelProto:
        """The float32 model with its large weights in 8 bits and scales migrated.

        A `Quantizer` of it keeps these weights as they are and moves no scales, so it adds the rounding of activations alone.
        """
        graph, nodes, plan = *self._copied(), self.plan
        large = [one for one in plan.products if worth_storing(graph, one)]
        for int8_input in dict.fromkeys(one.int8_input for one in large if one.int8_input in plan.input_scales):
            readers = [one for one in large if one.int8_input == int8_input]
            value = divided(graph, plan, int8_input)
            for one in readers:
                graph.replace_input(nodes[one.name], 0, replayed(graph, one, value))
        for one in large:
            store(graph, plan, one, nodes[one.name], even=True)
        return graph.finish()

    def _copied(self) -> tuple[Graph, dict[str, onnx.NodeProto]]:
        """The model to be rewritten, and its nodes by what they give."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = Graph(model)
        return graph, {node.output[0]: node for node in graph.nodes}

    def _weights(self, graph: Graph, one: Product, room: int | None, two_bytes: bool) -> Rounded:
        """A product's rounded weights: the same in every mix, so they are rounded once."""
        key = one.name, room, two_bytes
        if key not in self._rounded:
            self._rounded[key] = round_for(graph, self.plan, one, room, two_bytes=two_bytes)
        return self._rounded[key]


def _exactly_rewritten(graph: Graph, plan: Plan) -> Plan:
    """What ONNX Runtime computes faster in another form, and what came in 8 bits as what it stands for."""
    plan = replace(plan, bytes_of=unpack(graph, plan.target.limit))
    if not plan.target.tensorrt:
        convolutions_to_products(graph)
        fold_norms(graph)
        transform_long_kernels(graph)
    return plan


def _observed(graph: Graph, plan: Plan, windows: Iterable[Float32], *, beside: bool) -> Plan:
    """What products read on the windows."""
    axes = {one.input: 1 if one.node.op_type == "Conv" else -1 for one in plan.products}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exposed.onnx"
        write(with_outputs(graph.model, axes), path, beside=beside)
        return replace(plan, activations=observe(path, axes, windows))

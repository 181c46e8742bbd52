"""The plan: everything that is known and decided about a model before its INT8 forms are made. Passes give a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...onnx_graph.graph import Float32, Graph
from .activation_ranges import METHODS, Activation, Scale
from .products import Product, products
from .smoothquant import Choice, Operand, without_unread_channels
from .targets import Target

__all__ = ["Bytes", "Plan"]

Bytes = tuple[NDArray[np.int8], Float32]
"""A product's weights and the step of each output channel."""


@dataclass(frozen=True)
class Plan:
    """What passes find out, each of what the ones before left."""

    target: Target
    bytes_of: Mapping[str, Bytes] = field(default_factory=dict)
    """By the names of weights, those that the model came with in 8 bits."""
    products: tuple[Product, ...] = ()
    """What can become INT8, in the graph's order."""
    stored: Mapping[str, Bytes] = field(default_factory=dict)
    """By the names of products, the same bytes: these are not rounded again, and no scales move into them."""
    activations: Mapping[str, Activation] = field(default_factory=dict)
    """By the names of values, what products read."""
    choices: Mapping[str, Choice] = field(default_factory=dict)
    """By the class of layer, the range method and each activation's strength of migration."""
    input_scales: Mapping[str, Float32] = field(default_factory=dict)
    """By the names of INT8 inputs, what their channels are divided by in a node of their own."""
    taps: Mapping[str, int] = field(default_factory=dict)
    """By the names of INT8 inputs, how many frames of them a product reads side by side."""

    def found(self, graph: Graph) -> Plan:
        """The plan with the products as they are in a graph, after it was rewritten."""
        now = tuple(products(graph, convolutions=self.target.tensorrt))
        return replace(
            self, products=now, stored={one.name: self.bytes_of[one.weight] for one in now if one.weight in self.bytes_of}
        )

    def readers(self, int8_input: str) -> list[Product]:
        """The products that read a value, or frames of it."""
        return [one for one in self.products if one.int8_input == int8_input]

    def int8_inputs(self) -> list[str]:
        """The values that become INT8, in the graph's order."""
        return list(dict.fromkeys(one.int8_input for one in self.products))

    def layers(self) -> dict[str, str]:
        """By the names of INT8 inputs, the network's own module that reads each: an exporter's names mean nothing.

        Where a module reads several, the others have the value's name behind the module's.
        """
        found: dict[str, str] = {}
        for int8_input in self.int8_inputs():
            layer = self.readers(int8_input)[0].layer
            found[int8_input] = f"{layer} ({int8_input})" if layer in found.values() else layer
        return found

    def operand(self, graph: Graph, int8_input: str) -> Operand:
        """A value with the weights of all products that read it."""
        readers = self.readers(int8_input)
        activation = self.activations[readers[0].input]
        weights = np.concatenate([_matrix(graph.array(one.weight)) for one in readers], axis=1)
        maker = graph.maker(readers[0].input) if readers[0].input != int8_input else None
        taps = len(maker.input) if maker is not None and maker.op_type == "Concat" else 1
        alike = all(one.node.op_type == "MatMul" and one.input == readers[0].input for one in readers)
        movable = alike and not any(one.name in self.stored for one in readers)
        return Operand(without_unread_channels(activation, weights), weights, readers[0].layer_class, movable, taps)

    def scale(self, one: Product, room: int | None) -> Scale:
        """The scale of what a product reads: of the range that was chosen, or of `room` times all that was seen.

        The first suits one byte a value, the second those for which there are two: their range can be wide, for values that
        were not seen may be many times as large as all that were.
        """
        values = self.activations[one.input].values()
        low, high = METHODS["min-max" if room else self.choices[one.layer_class].method](values)
        return Scale.over((room or 1) * low, (room or 1) * high, **self.target.rules)


def _matrix(weights: Float32) -> Float32:
    """A product's weights as (inputs, outputs): a convolution's taps count as outputs of their own."""
    return weights if weights.ndim == 2 else np.moveaxis(weights, 1, 0).reshape(weights.shape[1], -1)

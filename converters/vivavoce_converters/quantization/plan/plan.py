"""The plan: everything that is known and decided about a model before its INT8 forms are made. Passes give a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...onnx_graph.graph import Graph
from .activation_ranges import METHODS, Activation, Scale
from .products import Product, products
from .smoothquant import Choice, Operand, unread
from .targets import Target

__all__ = ["Bytes", "FloatArray", "Plan"]

FloatArray = NDArray[np.float32]
Bytes = tuple[NDArray[np.int8], FloatArray]
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
    input_scales: Mapping[str, FloatArray] = field(default_factory=dict)
    """By the names of entries, what their channels are divided by in a node of their own."""
    taps: Mapping[str, int] = field(default_factory=dict)
    """By the names of entries, how many frames of them a product reads side by side."""

    def found(self, graph: Graph) -> Plan:
        """The plan with the products as they are in a graph, after it was rewritten."""
        now = tuple(products(graph, convolutions=self.target.tensorrt))
        return replace(
            self, products=now, stored={one.name: self.bytes_of[one.weight] for one in now if one.weight in self.bytes_of}
        )

    def readers(self, entry: str) -> list[Product]:
        """The products that read a value, or frames of it."""
        return [one for one in self.products if one.entry == entry]

    def entries(self) -> list[str]:
        """The values that become INT8, in the graph's order."""
        return list(dict.fromkeys(one.entry for one in self.products))

    def layers(self) -> dict[str, str]:
        """By the names of entries, the network's own module that reads each: what the exporter calls a value is nobody's name.

        Where a module reads several, the others have the value's name behind the module's.
        """
        found: dict[str, str] = {}
        for entry in self.entries():
            layer = self.readers(entry)[0].layer
            found[entry] = f"{layer} ({entry})" if layer in found.values() else layer
        return found

    def operand(self, graph: Graph, entry: str) -> Operand:
        """A value with the weights of all products that read it."""
        readers = self.readers(entry)
        activation = self.activations[readers[0].reads]
        weights = np.concatenate([_matrix(graph.array(one.weight)) for one in readers], axis=1)
        maker = graph.maker(readers[0].reads) if readers[0].reads != entry else None
        taps = len(maker.input) if maker is not None and maker.op_type == "Concat" else 1
        alike = all(one.node.op_type == "MatMul" and one.reads == readers[0].reads for one in readers)
        movable = alike and not any(one.name in self.stored for one in readers)
        return Operand(unread(activation, weights), weights, readers[0].source, movable, taps)

    def scale(self, one: Product, room: int | None) -> Scale:
        """The scale of what a product reads: of the range that was chosen, or of `room` times all that was seen.

        The first suits one byte a value, the second those for which there are two, and ranges can be wide. The feed-forward
        states of Whisper's sixth layer reach 311 on 48 windows of speech and 11,036 on 120 others. With four times the room two
        bytes leave a residual of 0.0016 there, where they left 0.0064, and 0.0005 at most elsewhere.
        """
        values = self.activations[one.reads].values()
        low, high = METHODS["min-max" if room else self.choices[one.source].method](values)
        return Scale.over((room or 1) * low, (room or 1) * high, **self.target.rules)


def _matrix(weights: FloatArray) -> FloatArray:
    """A product's weights as (inputs, outputs): a convolution's taps count as outputs of their own."""
    return weights if weights.ndim == 2 else np.moveaxis(weights, 1, 0).reshape(weights.shape[1], -1)

"""The products of a network with constant weights: where its multiply-accumulates are, and what INT8 can take over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from ...onnx_graph import names
from ...onnx_graph.graph import MOVING, Graph, attribute, attributes

__all__ = ["FEWEST", "Product", "convolutions_to_products", "float_convolutions", "products", "replayed"]

SMALLEST = 192
"""Inputs and outputs that a convolution must have for INT8 to be faster: below, conversions cost what the product saves."""
FEWEST = 16
"""Inputs up to which a product takes the time of writing its outputs, in whatever precision."""
NARROW = 8
"""Outputs up to which a product takes the time of reading its inputs."""


@dataclass(frozen=True)
class Product:
    """A MatMul or Conv node with constant weights.

    `input` is the value that it multiplies, (batch, frames, inputs); `int8_input` the value that becomes INT8, which is another
    where the product reads several frames of it at once. `layer_class` is what ranges are chosen for: "Conv" for convolutions,
    for the others the operator that computes the INT8 input, since it decides how the values are spread. `group` names what is
    quantized together or not at all.
    """

    node: onnx.NodeProto
    input: str
    int8_input: str
    layer_class: str
    group: str

    @property
    def name(self) -> str:
        """What the product is called: its output's name, which is nobody else's."""
        return str(self.node.output[0])

    @property
    def layer(self) -> str:
        """The module of the network that it is of."""
        return names.layer_of(self.node.name)

    @property
    def weight(self) -> str:
        """The initializer with its weights."""
        return str(self.node.input[1])


def products(graph: Graph, *, convolutions: bool) -> list[Product]:
    """The quantizable products in the graph's order. `convolutions` tells whether those left as such are among them."""
    kept = set(map(id, float_convolutions(graph)))
    found = []
    for node in graph.nodes:
        if node.op_type not in ("MatMul", "Conv") or not graph.is_constant(node.input[1]) or id(node) in kept:
            continue
        if graph.is_constant(node.input[0]):  # Computed once, as a model is loaded.
            continue
        if node.op_type == "Conv" and not convolutions:
            continue
        shape = graph.array(node.input[1]).shape
        if node.op_type == "MatMul" and (len(shape) != 2 or shape[0] <= FEWEST or shape[1] <= NARROW):
            continue
        read, becomes = node.input[0], _before_taps(graph, node.input[0])
        plain = node.op_type == "MatMul" and becomes == read
        found.append(Product(node, read, becomes, _class(graph, becomes) if plain else "Conv", names.group_of(node.name)))
    return found


def convolutions_to_products(graph: Graph) -> None:
    """Makes a MatMul of each large convolution, exactly: frames to the last axis, the taps beside one another, one product.

    ONNX Runtime computes a MatMul in INT8 from float to float; a Conv only where its output is INT8 too, which costs the
    outliers of what follows their precision. And a layer norm over channels wants them last anyway: so the convolution of few
    taps that reads the samples becomes a MatMul too, which stays float.
    """
    kept = set(map(id, float_convolutions(graph)))
    for node in graph.nodes:
        if node.op_type == "Conv" and graph.is_constant(node.input[1]):
            weight = graph.array(node.input[1])
            wide = weight.ndim == 3 and weight.shape[0] >= SMALLEST and attribute(node, "group", 1) == 1
            large = id(node) not in kept and weight[0].size >= SMALLEST
            if wide and (large or (weight[0].size <= FEWEST and any(map(_swaps, graph.readers[node.output[0]])))):
                _to_product(graph, node)


def _to_product(graph: Graph, node: onnx.NodeProto) -> None:
    weight, name = graph.array(node.input[1]), node.name
    outputs, inputs, taps = weight.shape
    stride, dilation = attribute(node, "strides", [1])[0], attribute(node, "dilations", [1])[0]
    value = _frames(graph, node, node.input[0])
    before, after = attribute(node, "pads", [0, 0])
    if before or after:
        pads = graph.constant(f"{name}/pads", np.array([0, before, 0, 0, after, 0]))
        value = graph.add(node, "Pad", [value, pads], f"{name}/padded")
    if taps > 1 or stride > 1:
        parts = [_tap(graph, node, value, tap, taps, stride, dilation) for tap in range(taps)]
        value = graph.add(node, "Concat", parts, names.taps(name), axis=2) if taps > 1 else parts[0]
    matrix = weight.transpose(2, 1, 0).reshape(taps * inputs, outputs)
    narrow = len(matrix) < FEWEST and len(node.input) > 2
    if narrow:  # The bias as one more input, always 1, saves a pass over outputs that are many times what is read.
        ones = [
            graph.constant(f"{name}/more", np.array([0, 0, 0, 0, 0, 1])),
            graph.constant(f"{name}/one", np.array(1, np.float32)),
        ]
        value = graph.add(node, "Pad", [value, *ones], f"{name}/with-one")
        matrix = np.concatenate([matrix, graph.array(node.input[2])[None]])
    value = graph.add(node, "MatMul", [value, graph.constant(f"{name}/matrix", matrix)], f"{name}/product", name)
    if len(node.input) > 2 and not narrow:
        value = graph.add(node, "Add", [value, node.input[2]], f"{name}/biased")
    output = node.output[0]
    graph.remove(node)
    for reader in filter(_swaps, graph.readers[output]):
        for user in list(graph.readers[reader.output[0]]):
            graph.replace_input(user, list(user.input).index(reader.output[0]), value)
    graph.add(node, "Transpose", [value], output, perm=[0, 2, 1])


def _frames(graph: Graph, node: onnx.NodeProto, name: str) -> str:
    """A value (batch, channels, frames) as (batch, frames, channels): what it was before a transposition, where there was one,
    even before an activation."""
    maker, made = graph.maker(name), f"{name}/frames"
    if maker is not None and _swaps(maker):
        return str(maker.input[0])
    if graph.maker(made) is not None:
        return made
    if maker is not None and maker.op_type in ("Gelu", "Relu"):
        return graph.add(node, maker.op_type, [_frames(graph, node, maker.input[0])], made, **attributes(maker))
    return graph.add(node, "Transpose", [name], made, perm=[0, 2, 1])


def _swaps(node: onnx.NodeProto) -> bool:
    """Whether a node exchanges channels and frames."""
    return node.op_type == "Transpose" and list(attribute(node, "perm", [])) == [0, 2, 1]


def _tap(graph: Graph, node: onnx.NodeProto, value: str, tap: int, taps: int, stride: int, dilation: int) -> str:
    """The frames that one tap of a convolution sees."""
    start, beyond = tap * dilation, (taps - 1 - tap) * dilation
    bounds = {"starts": start, "ends": -beyond if beyond else np.iinfo(np.int64).max, "axes": 1, "steps": stride}
    made = names.tap(node.name, tap)
    given = [graph.constant(f"{made}/{key}", np.array([number])) for key, number in bounds.items()]
    return graph.add(node, "Slice", [value, *given], made)


def _before_taps(graph: Graph, name: str) -> str:
    """The value in front of the slices that `convolutions_to_products` made; the value itself elsewhere."""
    maker = graph.maker(name)
    if maker is None or not names.is_of_taps(name):
        return name
    first = graph.maker(maker.input[0]) if maker.op_type == "Concat" else maker
    return str(first.input[0]) if first is not None else name


def replayed(graph: Graph, one: Product, value: str) -> str:
    """What a product reads, made of `value` where it is made of the INT8 input."""

    def again(name: str) -> str:
        if name == one.int8_input:
            return value
        maker = graph.maker(name)
        if maker is None:
            return name
        inputs = [again(given) for given in maker.input]
        return graph.add(graph.makers[one.input], maker.op_type, inputs, f"{value}/{name}", **attributes(maker))

    return again(one.input)


def _class(graph: Graph, name: str) -> str:
    """The operator that computes a value, behind those that only move it or divide it by scales."""
    maker = graph.maker(name)
    while maker is not None and (maker.op_type in MOVING or names.is_even(maker.output[0])):
        maker = graph.maker(maker.input[0])
    if maker is None:
        return "input"
    return maker.op_type


def float_convolutions(graph: Graph) -> list[onnx.NodeProto]:
    """Convolutions that stay float, by what 8 bits would do to them.

    - Those that read the samples: with one scale for a level of -1 dB and of -40 dB, the quiet one keeps two bits.
    - Those of a spectrogram: powers range over 80 dB and more before the logarithm.
    - Those of squeeze-excitation, which see one pooled frame: they cost nothing and suffer most (TASLP 2024, "On the
      Quantization of Neural Models for Speaker Verification").
    - Grouped ones: ONNX Runtime has them in INT8 only with an INT8 output, and a positional convolution's reaches every layer.
    """
    samples = {value.name for value in graph.model.graph.input}
    spectral = set(map(id, graph.leading_to("Log")))
    return [
        node
        for node in graph.nodes
        if node.op_type == "Conv"
        and (
            id(node) in spectral
            or attribute(node, "group", 1) > 1
            or _reads(node, samples, graph)
            or _pooled(node.input[0], graph)
        )
    ]


def _reads(node: onnx.NodeProto, values: set[str], graph: Graph) -> bool:
    """Whether a node's first input is one of the values, or one of them in another shape."""
    name = node.input[0]
    while name not in values and (maker := graph.maker(name)) is not None and maker.op_type in MOVING:
        name = maker.input[0]
    return name in values


def _pooled(name: str, graph: Graph) -> bool:
    """Whether a value comes from a mean over time, through pointwise nodes and convolutions of one frame."""
    node = graph.maker(name)
    if node is None:
        return False
    if node.op_type == "ReduceMean":
        return True
    return node.op_type in ("Relu", "Conv") and _pooled(node.input[0], graph)

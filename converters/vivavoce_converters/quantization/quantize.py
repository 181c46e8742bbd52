"""Quantization: a float32 ONNX file to an INT8 one with explicit Q/DQ nodes, by target."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.external_data_helper import uses_external_data

from vivavoce.errors import ConfigurationError

from ..onnx_graph.attention import mixed_values
from ..onnx_graph.bias import adder, change_outputs, multiply_bytes
from ..onnx_graph.graph import Graph
from .plan.activation_ranges import METHODS, Activation, Scale, exposed, observe
from .plan.gptq import compensated, nearest, scales
from .plan.products import Product, moved, products, unfold
from .plan.smoothquant import Operand, choose, migrated
from .rewrites.centring import centre
from .rewrites.float16_storage import LEAST
from .rewrites.layer_norms import fold_norms
from .rewrites.long_convolutions import transform_long_kernels
from .rewrites.outlier_channels import outlying, part, unread
from .rewrites.two_bytes import add_product, remainder
from .tensorrt_rules import require_rules

__all__ = ["TARGETS", "Quantizer", "Target", "quantize_onnx"]

FloatArray = NDArray[np.float32]
Bytes = tuple[NDArray[np.int8], FloatArray]
"""A product's weights and the step of each output channel."""
Rounded = tuple[NDArray[np.int8], FloatArray, FloatArray]
POOLED = 8.0
HEADROOM = 4
"""The range of two bytes, in multiples of what was seen. Where another product reads the first of them alone, it is 1."""


@dataclass(frozen=True)
class Target:
    """What a processor's INT8 units want. Weights are always signed, symmetric, one scale per output channel.

    `fine` tells that two INT8 products take less time than one of float32. `tensorrt` tells who runs it: there convolutions
    stay as such and its rules are checked; elsewhere large ones become matrix products and small ones stay float.
    """

    signed: bool
    symmetric: bool = False
    weight_bits: Literal[7, 8] = 8
    fine: bool = False
    tensorrt: bool = False

    @property
    def limit(self) -> int:
        """The largest weight."""
        return int(2 ** (self.weight_bits - 1)) - 1

    @property
    def rules(self) -> dict[str, bool]:
        """How activations become bytes."""
        return {"signed": self.signed, "symmetric": self.symmetric}


TARGETS = {
    "x86-vnni": Target(signed=False, fine=True),
    # Without VNNI two products are added in 16 bits and saturate; 7-bit weights leave the room.
    "x86-avx2": Target(signed=False, weight_bits=7),
    "arm64": Target(signed=True, fine=True),
    # TensorRT asserts that every zero point is 0.
    "tensorrt": Target(signed=True, symmetric=True, tensorrt=True),
}


def quantize_onnx(source: Path, destination: Path, windows: Iterable[FloatArray], target: str) -> Quantizer:
    """Writes the INT8 form of the float32 model `source` for `target`, with ranges from `windows` (each (batch, window)).

    Everything that can be quantized is; `Quantizer` makes other mixes. A model with its weights in a file beside it gives
    another such. Raises ConfigurationError for an unknown target and where there is nothing to take ranges from.
    """
    quantizer = Quantizer(source, windows, target)
    save(quantizer.build(), destination, beside=quantizer.beside)
    return quantizer


class Quantizer:
    """A float32 model with all that its INT8 forms need: ranges, migrated scales and rounded weights.

    The inputs of the large products become INT8 and their outputs are float again: what adds, normalises or activates never
    sees 8 bits. Biases stay float.
    """

    def __init__(self, source: Path, windows: Iterable[FloatArray], target: str) -> None:
        if target not in TARGETS:
            raise ConfigurationError(f'There is no target "{target}". Choose one of: {", ".join(TARGETS)}.')
        self.target = TARGETS[target]
        self.beside = _beside(source)
        graph = Graph(onnx.load(source))
        bytes_of = _unpacked(graph, self.target.limit)
        if not self.target.tensorrt:
            unfold(graph)
            fold_norms(graph)
            transform_long_kernels(graph)
            graph = Graph(graph.finish())
        self.products = products(graph, convolutions=self.target.tensorrt)
        self._given = self._those_of(bytes_of)
        self._activations = self._observed(graph.model, windows)
        graph = self._centred(self._without_outliers(graph))
        self._given = self._those_of(bytes_of)
        operands = {entry: self._operand(graph, entry) for entry in dict.fromkeys(one.entry for one in self.products)}
        self.choices = choose(operands, limit=self.target.limit, **self.target.rules)
        self._divisors: dict[str, FloatArray] = {}
        self._taps = {entry: operand.taps for entry, operand in operands.items()}
        for entry, operand in operands.items():
            self._smooth(graph, entry, operand)
        self._model = graph.finish()
        self._rounded: dict[tuple[str, int | None, bool], Rounded] = {}

    @property
    def groups(self) -> dict[str, int]:
        """What can be quantized or left float, each as one, with its multiply-accumulates for a window."""
        found: defaultdict[str, int] = defaultdict(int)
        constants = {tensor.name: tensor for tensor in self._model.graph.initializer}
        for one in self.products:
            found[one.group] += int(np.prod(constants[one.weight].dims)) * self._activations[one.reads].frames
        return dict(found)

    def build(
        self, groups: Collection[str] | None = None, fine: Collection[str] = (), *, compact: bool = False
    ) -> onnx.ModelProto:
        """The model with these groups in INT8, by default all. Raises ConfigurationError where TensorRT's rules forbid it.

        Those of `fine` read two bytes for each value (`two_bytes.py`).

        `compact` stores the weights of the other large groups in 8 bits too. ONNX Runtime makes them float as it loads the
        model, and nothing else of those groups is rounded. TensorRT's rules allow no weights of that kind.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = Graph(model)
        nodes = {node.output[0]: node for node in graph.nodes}
        chosen = [one for one in self.products if groups is None or one.group in groups]
        placed: defaultdict[str, list[tuple[Product, onnx.NodeProto]]] = defaultdict(list)
        for one in chosen:
            placed[one.entry].append((one, nodes[one.name]))
        for entry, readers in placed.items():
            self._place(graph, entry, readers, fine)
        if compact and not self.target.tensorrt:
            for one in self.products:
                if one not in chosen and _large(graph, one):
                    self._store(graph, one, nodes[one.name])
        made = graph.finish()
        if self.target.tensorrt:
            require_rules(made, "The INT8 model")
        return made

    def build_rounded(self) -> onnx.ModelProto:
        """The float32 model with its large weights in 8 bits and scales migrated.

        A `Quantizer` of it keeps these weights as they are and moves no scales, so it adds the rounding of activations alone.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = Graph(model)
        nodes = {node.output[0]: node for node in graph.nodes}
        large = [one for one in self.products if _large(graph, one)]
        for entry in dict.fromkeys(one.entry for one in large if one.entry in self._divisors):
            readers = [one for one in large if one.entry == entry]
            value = self._even(graph, entry)
            for one in readers:
                graph.replace_input(nodes[one.name], 0, moved(graph, one, value))
        for one in large:
            self._store(graph, one, nodes[one.name], even=True)
        return graph.finish()

    def _those_of(self, bytes_of: Mapping[str, Bytes]) -> dict[str, Bytes]:
        """By the products' names what is known by their weights'."""
        return {one.name: bytes_of[one.weight] for one in self.products if one.weight in bytes_of}

    def _observed(self, model: onnx.ModelProto, windows: Iterable[FloatArray]) -> dict[str, Activation]:
        axes = {one.reads: 1 if one.node.op_type == "Conv" else -1 for one in self.products}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "exposed.onnx"
            _write(exposed(model, axes), path, beside=self.beside)
            return observe(path, axes, windows)

    def _without_outliers(self, graph: Graph) -> Graph:
        """Parts the outlying channels of products with more inputs than outputs, whose outputs are quickly passed over."""
        if self.target.tensorrt:
            return graph
        for one in self.products:
            inputs, outputs = graph.array(one.weight).shape
            if one.reads == one.entry and inputs > outputs and one.name not in self._given:
                channels = outlying(self._operand(graph, one.entry), **self.target.rules)
                if len(channels):
                    order = part(graph, one, channels, self._given)
                    self._activations[one.reads] = self._activations[one.reads].reordered(order)
        return self._finished(graph)

    def _centred(self, graph: Graph) -> Graph:
        """Moves the middle of each channel's range into biases where that costs nothing."""
        for entry in dict.fromkeys(one.entry for one in self.products):
            readers = self._readers(entry)
            activation = self._activations[readers[0].reads]
            if centre(graph, entry, readers, activation.middle):
                self._activations[entry] = activation.shifted(-activation.middle)
        return self._finished(graph)

    def _finished(self, graph: Graph) -> Graph:
        """The graph with the rewritings in it, and its products as they are then."""
        graph = Graph(graph.finish())
        self.products = products(graph, convolutions=self.target.tensorrt)
        return graph

    def _readers(self, entry: str) -> list[Product]:
        return [one for one in self.products if one.entry == entry]

    def _operand(self, graph: Graph, entry: str) -> Operand:
        readers = self._readers(entry)
        activation = self._activations[readers[0].reads]
        weights = np.concatenate([_matrix(graph.array(one.weight)) for one in readers], axis=1)
        activation = unread(activation, weights)
        maker = graph.maker(readers[0].reads) if readers[0].reads != entry else None
        taps = len(maker.input) if maker is not None and maker.op_type == "Concat" else 1
        alike = all(one.node.op_type == "MatMul" and one.reads == readers[0].reads for one in readers)
        movable = alike and not any(one.name in self._given for one in readers)
        return Operand(activation, weights, readers[0].source, movable, taps)

    def _smooth(self, graph: Graph, entry: str, operand: Operand) -> None:
        """Divides an activation's channels by their scales: in the layer norm before it, in the product that makes the values
        that attention mixes, or by a node that `build` adds."""
        strength = self.choices[operand.source].strengths[entry]
        scale = migrated(operand, strength)
        readers = self._readers(entry)
        self._activations[readers[0].reads] = operand.activation
        for name in {one.reads for one in readers}:
            self._activations[name] = self._activations[name].divided(scale)
        norm = graph.maker(entry)
        if norm is not None and norm.op_type == "LayerNormalization" and len(graph.readers[entry]) == len(readers):
            # New constants, for equal ones of several layers may be one and the same in the file.
            for index, name in enumerate(norm.input[1:], start=1):
                graph.replace_input(norm, index, graph.constant(f"{entry}/{index}/smooth", graph.array(name) / scale))
        elif strength and (values := mixed_values(graph, entry)) is not None and values.output[0] not in self._given:
            change_outputs(graph, values, lambda array: array / scale)
        else:
            if strength:
                self._divisors[entry] = scale
            return
        for one in readers:
            weights = graph.array(one.weight) * scale[:, None]
            graph.replace_input(one.node, 1, graph.constant(f"{one.name}/smooth", weights))

    def _place(self, graph: Graph, entry: str, readers: list[tuple[Product, onnx.NodeProto]], fine: Collection[str]) -> None:
        """Q behind the entry, in front of what moves it about; DQ and INT8 weights at each product."""
        first, value = graph.readers[entry][0], entry
        twice = [one.group in fine for one, _ in readers]
        room = (HEADROOM if all(twice) else 1) if any(twice) else None
        scale = self._scale(readers[0][0], room)
        quantum = [graph.constant(f"{entry}/scale", np.asarray(scale.scale)), graph.constant(f"{entry}/zero", scale.zero)]
        if entry in self._divisors:
            value = self._even(graph, entry)
        whole = graph.add(first, "QuantizeLinear", [value, *quantum], f"{entry}/int8")
        rest, finer = remainder(graph, first, value, [whole, *quantum], scale) if room else ("", [])

        def dequantized(node: onnx.NodeProto, inner: str, steps: list[str]) -> str:
            made = f"{inner}/float"
            return made if graph.maker(made) else graph.add(node, "DequantizeLinear", [inner, *steps], made)

        for one, node in readers:
            inner = moved(graph, one, whole)
            rounded = self._rounding(graph, one, room, fine=one.group in fine)
            last = None if self.target.signed else adder(graph, node)
            if last is not None:
                weights, steps, shift = rounded
                multiply_bytes(graph, node, inner, quantum[1], weights, np.asarray(scale.scale * steps, np.float32), shift)
            else:
                graph.replace_input(node, 0, dequantized(node, inner, quantum))
                self._place_weights(graph, one, node, rounded)
            if one.group in fine:
                added = dequantized(node, moved(graph, one, rest), finer)
                add_product(graph, last or node, added, f"{one.name}/rest", f"{one.name}/int8", rounded[1])

    def _even(self, graph: Graph, entry: str) -> str:
        """An entry with each channel divided by its scale, which is the same for all frames that a product reads at once."""
        scale = self._divisors[entry]
        factors = graph.constant(f"{entry}/smooth", 1 / scale[: len(scale) // self._taps[entry]])
        return graph.add(graph.readers[entry][0], "Mul", [entry, factors], f"{entry}/even")

    def _store(self, graph: Graph, one: Product, node: onnx.NodeProto, *, even: bool = False) -> None:
        """INT8 weights for a product that stays float, rounded so that its outputs on what was observed change least.

        `even` tells that what it reads is divided by its scales. No DequantizeLinear makes them float: ONNX Runtime (1.32) has
        a kernel for that which rounds the other operand to 8 bits too and takes half as long again. A Cast and a Mul of
        constants are folded once, as the model is loaded.
        """
        matrix, given = graph.array(node.input[1]), self._activations[one.reads]
        scale = self._divisors.get(one.entry)
        if scale is not None and even:
            matrix = matrix * scale[:, None]
        elif scale is not None:
            given = given.divided(np.reciprocal(scale))
        whole, steps = self._whole(one, matrix, _weighed(given.rows, given.means))
        names = [graph.constant(f"{one.name}/int8", whole), graph.constant(f"{one.name}/steps", steps)]
        wide = graph.add(node, "Cast", names[:1], f"{one.name}/wide", to=onnx.TensorProto.FLOAT)
        graph.replace_input(node, 1, graph.add(node, "Mul", [wide, names[1]], f"{one.name}/weights"))

    def _whole(self, one: Product, matrix: FloatArray, rows: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
        """A product's weights in 8 bits and their steps: those that the model came with, or rounded for these rows."""
        if one.name in self._given:
            return self._given[one.name]
        return compensated(matrix, rows, self.target.limit), scales(matrix, self.target.limit)

    def _place_weights(self, graph: Graph, one: Product, node: onnx.NodeProto, rounded: Rounded) -> None:
        whole, steps, shift = rounded
        named: dict[str, Any] = {"int8": whole, "steps": steps, "zeros": np.zeros(len(steps), np.int8)}
        inputs = [graph.constant(f"{one.name}/{key}", value) for key, value in named.items()]
        axis = 0 if node.op_type == "Conv" else 1
        graph.replace_input(node, 1, graph.add(node, "DequantizeLinear", inputs, f"{one.name}/weights", axis=axis))
        for reader in graph.readers[node.output[0]]:
            bias = next((name for name in reader.input if graph.is_constant(name)), None)
            if reader.op_type == "Add" and bias is not None and graph.array(bias).shape == shift.shape:
                index = list(reader.input).index(bias)
                graph.replace_input(reader, index, graph.constant(f"{one.name}/bias", graph.array(bias) + shift))

    def _scale(self, one: Product, room: int | None) -> Scale:
        """The scale of what a product reads: of the range that was chosen, or of `room` times all that was seen.

        The first suits one byte a value, the second those for which there are two, and ranges can be wide. The feed-forward
        states of Whisper's sixth layer reach 311 on 48 windows of speech and 11,036 on 120 others. With four times the room two
        bytes leave a residual of 0.0016 there, where they left 0.0064, and 0.0005 at most elsewhere.
        """
        values = self._activations[one.reads].values()
        low, high = METHODS["min-max" if room else self.choices[one.source].method](values)
        return Scale.over((room or 1) * low, (room or 1) * high, **self.target.rules)

    def _rounding(self, graph: Graph, one: Product, room: int | None, *, fine: bool) -> Rounded:
        """A product's INT8 weights, the step of each output channel, and what the rounding takes from its mean output."""
        key = one.name, room, fine
        if key not in self._rounded:
            weights = graph.array(one.weight)
            matrix = _matrix(weights) * self._divisors.get(one.entry, np.ones(1, np.float32))[:, None]
            limit = self.target.limit
            if one.node.op_type == "Conv":
                matrix = weights.reshape(len(weights), -1).T
                whole, shift = nearest(matrix, limit), np.zeros(len(weights), np.float32)
                self._rounded[key] = whole.T.reshape(weights.shape), scales(matrix, limit), shift
            else:
                activation = self._activations[one.reads]
                rows = activation.rows
                given = rows if fine else self._scale(one, room).round_trip(rows)
                whole, steps = self._whole(one, matrix, _weighed(given, activation.means))
                shift = (rows.mean(axis=0) @ matrix - given.mean(axis=0) @ (whole * steps)).astype(np.float32)
                self._rounded[key] = whole, steps, shift
        return self._rounded[key]


def _unpacked(graph: Graph, limit: int) -> dict[str, Bytes]:
    """Makes constants of weights that a model stores in 8 bits (`_store`); the bytes and steps of those within the limit."""
    found = {}
    for node in [node for node in graph.nodes if node.op_type == "Mul" and graph.is_constant(node.input[1])]:
        cast = graph.maker(node.input[0])
        if cast is None or cast.op_type != "Cast" or not graph.is_constant(cast.input[0]):
            continue
        whole, steps = graph.array(cast.input[0]), graph.array(node.input[1])
        if whole.dtype == np.int8 and whole.ndim == 2:
            name = graph.constant(f"{node.output[0]}/given", np.asarray(whole * steps, np.float32))
            for reader in list(graph.readers[node.output[0]]):
                graph.replace_input(reader, list(reader.input).index(node.output[0]), name)
            # Weights that were rounded for another target may have a bit too many for this one.
            if np.abs(whole).max() <= limit:
                found[name] = whole, steps
    return found


def _large(graph: Graph, one: Product) -> bool:
    """Whether a product's weights are worth storing in 8 bits."""
    size = np.prod(graph.array(one.node.input[1]).shape, dtype=np.int64)
    return bool(size >= LEAST) and one.node.op_type != "Conv"


def _matrix(weights: FloatArray) -> FloatArray:
    """A product's weights as (inputs, outputs): a convolution's taps count as outputs of their own."""
    return weights if weights.ndim == 2 else np.moveaxis(weights, 1, 0).reshape(weights.shape[1], -1)


def _weighed(rows: FloatArray, means: FloatArray) -> FloatArray:
    """A product's frames, and the means of windows weighed so that they count `POOLED` times as much as all frames together.

    The score is a mean over frames: what rounding does to the mean of a window reaches it, the rest mostly cancels out.
    """
    return np.concatenate([rows, means * np.float32((POOLED * len(rows) / len(means)) ** 0.5)])


def save(model: onnx.ModelProto, path: Path, *, beside: bool) -> None:
    """Checks a model and puts it in place, its weights in a file beside it where the caller says so."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        _write(model, partial, beside=beside)
        onnx.checker.check_model(str(partial))
        # The weights first: a model file never stands without the weights it names.
        for file in sorted(Path(folder).iterdir(), key=lambda file: file == partial):
            file.replace(path.parent / file.name)


def _write(model: onnx.ModelProto, path: Path, *, beside: bool) -> None:
    onnx.save(model, path, save_as_external_data=beside, location=f"{path.name}.data" if beside else None)


def _beside(model: Path) -> bool:
    """Whether the weights of a model are in another file, as those of one over 2 GiB must be."""
    return any(uses_external_data(tensor) for tensor in onnx.load(model, load_external_data=False).graph.initializer)

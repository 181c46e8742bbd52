"""An ONNX graph that can be looked at from both ends of each value, and rewritten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from vivavoce.engines import providers
from vivavoce.engines.saturation import avoid_saturation

__all__ = ["MOVING", "Float32", "Graph", "attribute", "attributes", "session"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
MOVING = ("Concat", "Slice", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Pad")
"""Operators that move values about and change none."""


class Graph:
    """A model's graph: which node makes each value, which read it, and what its constants are.

    Rewritings take effect in `model` with `finish`, which also drops what nothing reads any more.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.outputs = {value.name for value in model.graph.output}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._before: defaultdict[int, list[onnx.NodeProto]] = defaultdict(list)
        self._gone: set[int] = set()
        self.makers: dict[str, onnx.NodeProto] = {}
        self.readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            self._connect(node)

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for an input or a constant."""
        return self.makers.get(name)

    def ancestors(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Every node that the node's inputs come from, near ones first."""
        found: dict[int, onnx.NodeProto] = {}
        pending = [node]
        while pending:
            for name in pending.pop().input:
                maker = self.makers.get(name)
                if maker is not None and id(maker) not in found:
                    found[id(maker)] = maker
                    pending.append(maker)
        return list(found.values())

    def leading_to(self, operator: str) -> list[onnx.NodeProto]:
        """The nodes of an operator, and every node that their inputs come from; some may come twice."""
        last = [node for node in self.nodes if node.op_type == operator]
        return [found for node in last for found in (node, *self.ancestors(node))]

    def is_constant(self, name: str) -> bool:
        """Whether a value is an initializer."""
        return name in self._constants

    def array(self, name: str) -> Array:
        """The value of an initializer."""
        return numpy_helper.to_array(self._constants[name])

    def constant(self, name: str, value: Array) -> str:
        """Adds an initializer, or replaces the one of that name; its name."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(
        self, before: onnx.NodeProto, operator: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any
    ) -> str:
        """Adds a node in front of another; the name of its output."""
        node = helper.make_node(operator, inputs, [output], name or output, **attributes)
        self._before[id(before)].append(node)
        self._connect(node)
        return output

    def add_behind(self, node: onnx.NodeProto, value: str, inner: str) -> None:
        """Adds a value to what a node gives. What it gave before is called `inner` from then on, the sum as before."""
        before = self.add(node, node.op_type, list(node.input), inner, node.name, **attributes(node))
        self.replace_input(node, 0, before)
        self.replace_input(node, 1, value)
        del node.attribute[:]
        node.op_type, node.name = "Add", f"{inner}/sum"

    def replace_input(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Lets a node read another value."""
        self.readers[node.input[index]].remove(node)
        node.input[index] = name
        self.readers[name].append(node)

    def remove(self, node: onnx.NodeProto) -> None:
        """Takes a node out; whoever reads its output must be given another."""
        self._gone.add(id(node))

    def finish(self) -> onnx.ModelProto:
        """The model with all rewritings in it."""
        graph = self.model.graph
        nodes: list[onnx.NodeProto] = []
        read = self.outputs | {value.name for value in graph.input}
        for node in reversed([node for original in self.nodes for node in self._placed(original)]):
            if read & set(node.output):
                nodes.append(node)
                read.update(filter(None, node.input))
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(reversed(nodes))
        graph.initializer.extend(tensor for name, tensor in self._constants.items() if name in read)
        return self.model

    def _placed(self, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """A node with those added in front of it, each with its own before it."""
        for earlier in self._before[id(node)]:
            yield from self._placed(earlier)
        if id(node) not in self._gone:
            yield node

    def _connect(self, node: onnx.NodeProto) -> None:
        for output in node.output:
            self.makers[output] = node
        for name in node.input:
            self.readers[name].append(node)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The values of a node's attributes by their names."""
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, or `default`."""
    return attributes(node).get(name, default)


def session(model: str | bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU, of a file or of a model's bytes. 0 threads are as many as there are cores.

    ONNX Runtime's warnings are silenced: it would give one for each input that has a default. INT8 products are exact on any
    processor, for what is measured here decides what is written for others.
    """
    options = onnxruntime.SessionOptions()
    avoid_saturation(options)
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return providers.session(model, "cpu", options)

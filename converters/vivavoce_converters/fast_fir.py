"""Long convolutions with a quarter fewer products, exactly: Mou and Duhamel, "Short-length FIR filters and their use in fast
nonrecursive filtering", IEEE Transactions on Signal Processing 39 (6), 1991."""

from __future__ import annotations

import numpy as np
import onnx

from .graphs import Graph, attribute

__all__ = ["split_long_kernels"]

LONGEST = 64
"""Taps beyond which a convolution is split; shorter ones lose as much to further nodes."""
END = np.iinfo(np.int64).max


def split_long_kernels(graph: Graph) -> None:
    """Makes three convolutions of half the length of each long one, on every second frame.

    With x0, x1 the even and odd frames, w0, w1 the even and odd taps and * a convolution, the even and odd outputs are
    y0[n] = (w0 * x0)[n] + (w1 * x1)[n] and y1[n] = (w0 * x1)[n] + (w1 * x0)[n + 1], of which y1 also is
    ((w0 + w1) * (x1[n] + x0[n + 1])) - (w0 * x0)[n + 1] - (w1 * x1)[n]: three products of 32 where there were four.
    """
    for node in graph.nodes:
        if node.op_type == "Conv" and graph.is_constant(node.input[1]) and _is_long(graph, node):
            _split(graph, node)


def _is_long(graph: Graph, node: onnx.NodeProto) -> bool:
    *_, taps = shape = graph.array(node.input[1]).shape
    plain = attribute(node, "strides", [1]) == [1] and attribute(node, "dilations", [1]) == [1]
    return len(shape) == 3 and plain and taps > LONGEST and taps % 2 == 0


def _split(graph: Graph, node: onnx.NodeProto) -> None:
    name, weight = node.name, graph.array(node.input[1])
    half, group = weight.shape[2] // 2, attribute(node, "group", 1)

    def constant(key: str, *values: int) -> str:
        return graph.constant(f"{name}/{key}", np.array(values))

    def frames(value: str, key: str, start: int, end: int = END, step: int = 1) -> str:
        bounds = {"start": start, "end": end, "axis": 2, "step": step}
        inputs = [constant(f"{key}/{bound}", number) for bound, number in bounds.items()]
        return graph.add(node, "Slice", [value, *inputs], f"{name}/{key}")

    def add(operator: str, inputs: list[str], key: str) -> str:
        return graph.add(node, operator, inputs, f"{name}/{key}")

    def convolved(value: str, taps: str, key: str) -> str:
        return graph.add(node, "Conv", [value, taps], f"{name}/{key}", group=group, kernel_shape=[half])

    w0, w1 = (graph.constant(f"{name}/w{i}", weight[:, :, i::2]) for i in range(2))
    before, after = attribute(node, "pads", [0, 0])
    # Two frames more than the outputs need, so that an odd number of them is a whole number of pairs too.
    padded = add("Pad", [node.input[0], constant("pads", 0, 0, before, 0, 0, after + 2)], "padded")
    x0, x1 = frames(padded, "x0", 0, -1, 2), frames(padded, "x1", 1, END, 2)
    x1 = frames(x1, "x1/now", 0, -1)
    a, b = convolved(x0, w0, "a"), convolved(x1, w1, "b")
    both = convolved(add("Add", [x1, frames(x0, "x0/next", 1)], "x"), add("Add", [w0, w1], "w"), "c")
    y0 = add("Add", [frames(a, "a/now", 0, -1), b], "y0")
    y1 = add("Sub", [add("Sub", [both, frames(a, "a/next", 1)], "c-a"), b], "y1")
    pairs = [add("Unsqueeze", [value, constant("last", 3)], f"{value}/pair") for value in (y0, y1)]
    woven = graph.add(node, "Concat", pairs, f"{name}/pairs", axis=3)
    woven = add("Reshape", [woven, constant("shape", 0, 0, -1)], "woven")
    length = graph.add(node, "Shape", [node.input[0]], f"{name}/length", start=2, end=3)
    count = add("Add", [length, constant("more", before + after - 2 * half + 1)], "count")
    ends = [constant("cut/start", 0), count, constant("cut/axis", 2)]
    bias = node.input[2] if len(node.input) > 2 else ""
    graph.remove(node)
    output = node.output[0]
    woven = graph.add(node, "Slice", [woven, *ends], f"{name}/cut" if bias else output)
    if bias:
        column = graph.constant(f"{name}/bias", graph.array(bias)[:, None])
        graph.add(node, "Add", [woven, column], output)

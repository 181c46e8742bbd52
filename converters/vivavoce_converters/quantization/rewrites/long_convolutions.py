"""Long convolutions as products of spectra, exactly but for rounding: Gardner, "Efficient convolution without input-output
delay", Journal of the Audio Engineering Society 43 (3), 1995, with all partitions of one length."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...onnx_graph.graph import Graph, attribute

__all__ = ["transform_long_kernels"]

BLOCK = 32
"""Frames that are transformed at once: the fastest power of two for wav2vec 2.0's 128 taps and windows of 4 s."""
SHORTEST = 64
"""Taps up to which a convolution stays as it is: what the transforms take is what they save."""
END = np.iinfo(np.int64).max


def transform_long_kernels(graph: Graph) -> None:
    """Computes each long convolution from the spectra of its taps, with a quarter of the multiply-accumulates.

    With blocks of L frames, x_c[t] = x[cL + t], and of L taps, w_s[r] = w[sL + r], let X_c and W_s be their discrete Fourier
    transforms over 2L points. Y_j = sum over s of conj(W_s) X_(j+s) is the transform of z_j[d], d = -L to L - 1, the products
    of a frame and a tap that are d apart: the outputs are y[jL + d] = z_j[d] + z_(j+1)[d - L]. The sum over blocks of taps is
    a convolution of its own, with as many groups as there are pairs of a frequency and a group. A runtime computes the taps'
    spectra as it folds constants: in the file they would take twice the room.
    """
    for node in graph.nodes:
        if node.op_type == "Conv" and graph.is_constant(node.input[1]) and _is_long(graph, node):
            _transform(graph, node)


def _is_long(graph: Graph, node: onnx.NodeProto) -> bool:
    *_, taps = shape = graph.array(node.input[1]).shape
    plain = attribute(node, "strides", [1]) == [1] and attribute(node, "dilations", [1]) == [1]
    return len(shape) == 3 and plain and taps > SHORTEST and taps % BLOCK == 0


def _transform(graph: Graph, node: onnx.NodeProto) -> None:
    name, (outputs, width, taps) = node.name, graph.array(node.input[1]).shape
    groups, parts, frequencies = attribute(node, "group", 1), taps // BLOCK, BLOCK + 1
    before, after = attribute(node, "pads", [0, 0])
    channels, each = groups * width, outputs // groups

    def add(operator: str, inputs: list[str], key: str, **attributes: Any) -> str:
        return graph.add(node, operator, inputs, f"{name}/{key}", **attributes)

    def constant(key: str, *values: int) -> str:
        return graph.constant(f"{name}/{key}", np.array(values))

    def shaped(value: str, key: str, *shape: int) -> str:
        return add("Reshape", [value, constant(f"{key}/shape", *shape)], key)

    def cut(value: str, key: str, end: str) -> str:
        return add("Slice", [value, constant(f"{key}/start", 0), end, constant(f"{key}/axis", 1)], key)

    def half(value: str, key: str, blocks: tuple[int, int], frames: tuple[int, int]) -> str:
        (first, last), (start, end) = blocks, frames
        bounds = [constant(f"{key}/start", first, start), constant(f"{key}/end", last, end), constant(f"{key}/axes", 1, 2)]
        return add("Slice", [value, *bounds], key)

    length = add("Shape", [node.input[0]], "length", start=2, end=3)
    count = add("Add", [length, constant("more", before + after - taps + 1)], "count")
    blocks = add("Div", [add("Add", [count, constant("last", BLOCK - 1)], "whole"), constant("block", BLOCK)], "blocks")
    blocks = add("Add", [blocks, constant("parts", parts)], "with-parts")
    frames = add("Transpose", [node.input[0]], "frames", perm=[0, 2, 1])
    frames = add("Pad", [frames, constant("pads", 0, before, 0, 0, after + BLOCK, 0)], "padded")
    frames = cut(frames, "blocked", add("Mul", [blocks, constant("size", BLOCK)], "total"))
    frames = shaped(frames, "chunks", 0, 1, -1, BLOCK, channels)
    forward, inverse = _transforms()
    spectra = add("MatMul", [graph.constant(f"{name}/forward", forward[:, None]), frames], "spectra")
    spectra = shaped(spectra, "spectra/rows", 0, -1, frequencies * channels)
    spectra = add("Transpose", [spectra], "spectra/columns", perm=[0, 2, 1])
    spectra = shaped(spectra, "spectra/pairs", 0, 0, 2, -1)
    kernels = _kernels(graph, node, forward)
    products = add("Conv", [spectra, kernels], "products", group=frequencies * groups, kernel_shape=[1, parts])
    products = shaped(products, "products/columns", 0, 2 * frequencies * outputs, -1)
    products = add("Transpose", [products], "products/rows", perm=[0, 2, 1])
    products = shaped(products, "products/parts", 0, 2, -1, frequencies, groups, 2, each)
    products = add("Transpose", [products], "products/blocks", perm=[0, 2, 1, 5, 3, 4, 6])
    products = shaped(products, "products/spectra", 0, 0, 4 * frequencies, outputs)
    value = add("MatMul", [graph.constant(f"{name}/inverse", inverse), products], "overlapping")
    later, earlier = half(value, "later", (0, -1), (BLOCK, END)), half(value, "earlier", (1, END), (0, BLOCK))
    value = shaped(add("Add", [later, earlier], "sums"), "joined", 0, -1, outputs)
    value = cut(value, "outputs", count)
    if len(node.input) > 2:
        value = add("Add", [value, node.input[2]], "biased")
    graph.remove(node)
    graph.add(node, "Transpose", [value], node.output[0], perm=[0, 2, 1])


def _transforms() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The transform of a block, (2: real and imaginary, frequencies, frames), and the inverse of a product of two spectra,
    (2 blocks of frames, 4 * frequencies): the frames' real part by both parts of the taps', then their imaginary part.
    """
    angles = np.pi * np.outer(np.arange(BLOCK + 1), np.arange(-BLOCK, BLOCK)) / BLOCK
    forward = np.stack([np.cos(angles), -np.sin(angles)])[:, :, BLOCK:]
    # All frequencies but the first and the last stand for their conjugates too.
    times = np.where(np.arange(BLOCK + 1) % BLOCK == 0, 1, 2)[:, None] / (2 * BLOCK)
    cosines, sines = np.cos(angles) * times, -np.sin(angles) * times
    inverse = np.concatenate([cosines, sines, sines, -cosines])
    return forward.astype(np.float32), np.ascontiguousarray(inverse.T, np.float32)


def _kernels(graph: Graph, node: onnx.NodeProto, forward: NDArray[np.float32]) -> str:
    """The conjugate spectra of the blocks of taps: (frequencies * groups * 2 * a group's outputs, its inputs, 1, blocks)."""
    name, weight = node.name, graph.array(node.input[1])
    outputs, width, taps = weight.shape
    groups, parts = attribute(node, "group", 1), taps // BLOCK
    basis = forward * np.array([1, -1], np.float32)[:, None, None]
    columns = graph.constant(f"{name}/taps", weight.reshape(-1, BLOCK).T)
    rows = graph.constant(f"{name}/basis", basis.reshape(-1, BLOCK))
    value = graph.add(node, "MatMul", [rows, columns], f"{name}/kernels/rows")
    shape = graph.constant(f"{name}/kernels/shape", np.array([2, BLOCK + 1, groups, outputs // groups * width * parts]))
    value = graph.add(node, "Reshape", [value, shape], f"{name}/kernels/parts")
    value = graph.add(node, "Transpose", [value], f"{name}/kernels/ordered", perm=[1, 2, 0, 3])
    last = graph.constant(f"{name}/kernels/last", np.array([2 * (BLOCK + 1) * outputs, width, 1, parts]))
    return graph.add(node, "Reshape", [value, last], f"{name}/kernels")

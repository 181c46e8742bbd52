"""An ONNX graph that torch computes, so that gradients reach its constants.

QuantizeLinear rounds on the way forward and passes gradients on where nothing was clipped (the straight-through estimator:
Bengio, Léonard and Courville, arXiv 1308.3432). Bytes are float tensors of whole numbers here, so products of bytes differ
from ONNX Runtime's by the rounding of float32 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from vivavoce.errors import ConfigurationError

from .graphs import attributes

__all__ = ["Executor", "straight_through"]

BYTES = {TensorProto.INT8: (-128, 127), TensorProto.UINT8: (0, 255)}
NUMBERS: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
}


class Executor:
    """A model's graph, of which `run` gives the values that are asked for.

    Raises ConfigurationError for a model with operators that are not known here.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {one.name: _tensor(numpy_helper.to_array(one)) for one in model.graph.initializer}
        self.ranges = {one.name: BYTES[one.data_type] for one in model.graph.initializer if one.data_type in BYTES}
        unknown = sorted({node.op_type for node in self.nodes} - OPERATORS.keys())
        if unknown:
            raise ConfigurationError(f"Fine-tuning does not know {', '.join(unknown)}. Quantize the bundle without it.")
        self._options = [attributes(node) for node in self.nodes]
        for node, options in zip(self.nodes, self._options, strict=True):
            if node.op_type == "QuantizeLinear":
                options["limits"] = self.ranges[node.input[2]]
        self._last = {name: number for number, node in enumerate(self.nodes) for name in node.input}

    def run(self, inputs: Mapping[str, Tensor], wanted: Sequence[str]) -> list[Tensor]:
        """The values named, from inputs and from constants, for which `inputs` may give others."""
        values = {**self.constants, **inputs}
        for number, (node, options) in enumerate(zip(self.nodes, self._options, strict=True)):
            given = [values[name] if name else None for name in node.input]
            made = OPERATORS[node.op_type](*given, **options)
            values.update(zip(node.output, [made] if isinstance(made, Tensor) else made, strict=True))
            for name in set(node.input) & values.keys() - set(wanted):
                if self._last[name] == number:
                    del values[name]
        return [values[name] for name in wanted]


def straight_through(value: Tensor, low: float, high: float) -> Tensor:
    """The nearest whole number between two; gradients pass where the value lies between them."""
    inside = value.clamp(low, high)
    return inside + (inside.round() - inside).detach()


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    whole = array.dtype in (np.int8, np.uint8)
    return torch.from_numpy(np.array(array, np.float32 if whole or array.dtype == np.float16 else None))


def _along(steps: Tensor, value: Tensor, axis: int) -> Tensor:
    """Steps of an axis of `value`, so that they broadcast."""
    return steps.reshape([-1 if number == axis % value.ndim else 1 for number in range(value.ndim)]) if steps.ndim else steps


def _quantize(value: Tensor, step: Tensor, zero: Tensor, *, limits: tuple[int, int], axis: int = 1) -> Tensor:
    return straight_through(value / _along(step, value, axis) + _along(zero, value, axis), *limits)


def _dequantize(value: Tensor, step: Tensor, zero: Tensor | None = None, *, axis: int = 1) -> Tensor:
    centred = value if zero is None else value - _along(zero, value, axis)
    return centred * _along(step, value, axis)


def _multiply_integers(left: Tensor, right: Tensor, left_zero: Tensor, right_zero: Tensor) -> Tensor:
    return (left - left_zero) @ (right - right_zero)


def _axes(axes: Tensor | None, value: Tensor) -> list[int]:
    return list(range(value.ndim)) if axes is None else [int(axis) for axis in axes.reshape(-1)]


def _reduced(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(value: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        return reduce(value, dim=_axes(axes, value), keepdim=bool(keepdims))

    return apply


def _slice(value: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        axis = int(axes[number]) if axes is not None else number
        step = int(steps[number]) if steps is not None else 1
        chosen = range(value.shape[axis])[slice(start, end, step)]
        if step == 1:
            value = value.narrow(axis, chosen.start, len(chosen))
        else:
            value = value.index_select(axis, torch.arange(chosen.start, chosen.stop, step))
    return value


def _pad(
    value: Tensor, pads: Tensor, fill: Tensor | None = None, axes: Tensor | None = None, *, mode: bytes = b"constant"
) -> Tensor:
    amounts, chosen = pads.tolist(), _axes(axes, value)
    widths = [0] * (2 * value.ndim)
    for number, axis in enumerate(chosen):
        place = 2 * (value.ndim - 1 - axis % value.ndim)
        widths[place : place + 2] = amounts[number], amounts[number + len(chosen)]
    if mode == b"constant":
        return F.pad(value, widths, value=float(fill) if fill is not None else 0.0)
    if not any(widths):
        return value
    while not any(widths[-2:]):
        widths = widths[:-2]
    return F.pad(value, widths, mode={b"edge": "replicate", b"reflect": "reflect"}[mode])


def _convolve(
    value: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    *,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
    dilations: Sequence[int] = (),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    auto_pad: bytes = b"NOTSET",
) -> Tensor:
    spatial = weights.ndim - 2
    amounts = list(pads) or [0] * (2 * spatial)
    widths = [width for axis in reversed(range(spatial)) for width in (amounts[axis], amounts[axis + spatial])]
    convolve = F.conv1d if spatial == 1 else F.conv2d
    one = [1] * spatial
    return convolve(F.pad(value, widths), weights, bias, tuple(strides or one), 0, tuple(dilations or one), group)


def _reshape(value: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = [value.shape[number] if size == 0 and not allowzero else size for number, size in enumerate(shape.tolist())]
    return value.reshape(sizes)


def _expand(value: Tensor, shape: Tensor) -> Tensor:
    return value.expand(np.broadcast_shapes(value.shape, tuple(shape.tolist())))


def _gather(value: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis %= value.ndim
    found = value.index_select(axis, indices.reshape(-1) % value.shape[axis])
    return found.reshape(*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :])


def _unsqueeze(value: Tensor, axes: Tensor) -> Tensor:
    rank = value.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in _axes(axes, value)):
        value = value.unsqueeze(axis)
    return value


def _squeeze(value: Tensor, axes: Tensor | None = None) -> Tensor:
    return value.squeeze() if axes is None else value.squeeze(tuple(_axes(axes, value)))


def _split(value: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int = 1) -> Sequence[Tensor]:
    return torch.split(value, sizes.tolist() if sizes is not None else -(-value.shape[axis] // num_outputs), dim=axis)


def _layer_norm(
    value: Tensor, gain: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    return F.layer_norm(value, value.shape[axis:], gain, bias, epsilon)


def _batch_norm(
    value: Tensor, gain: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5, momentum: float = 0.9
) -> Tensor:
    return F.batch_norm(value, mean, variance, gain, bias, eps=epsilon)


def _gemm(left: Tensor, right: Tensor, bias: Tensor | None = None, **options: float) -> Tensor:
    turned = (value.T if options.get(f"trans{side}") else value for side, value in (("A", left), ("B", right)))
    product = options.get("alpha", 1) * torch.matmul(*turned)
    return product if bias is None else product + options.get("beta", 1) * bias


def _cast(value: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    # Bytes and sums of bytes are float tensors already.
    return value.to(NUMBERS[to])


def _shape(value: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(value.shape[start:end])


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": lambda value, low=None, high=None: value.clamp(low, high),
    "Concat": lambda *values, axis: torch.cat(values, dim=axis),
    "Conv": _convolve,
    "DequantizeLinear": _dequantize,
    "Div": lambda left, right: left // right if left.dtype == torch.int64 else left / right,
    "Expand": _expand,
    "Gather": _gather,
    "Gelu": lambda value, approximate=b"none": F.gelu(value, approximate=approximate.decode()),
    "Gemm": _gemm,
    "Greater": torch.gt,
    "Identity": lambda value: value,
    "LayerNormalization": _layer_norm,
    "Less": torch.lt,
    "Log": torch.log,
    "MatMul": torch.matmul,
    "MatMulInteger": _multiply_integers,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Pad": _pad,
    "Pow": torch.pow,
    "QuantizeLinear": _quantize,
    "Range": lambda start, end, step: torch.arange(int(start), int(end), int(step)),
    "ReduceLogSumExp": _reduced(torch.logsumexp),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceSumSquare": _reduced(lambda value, **given: value.square().sum(**given)),
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Shape": _shape,
    "Selu": lambda value, alpha=None, gamma=None: F.selu(value),
    "Sigmoid": torch.sigmoid,
    "Slice": _slice,
    "Softmax": lambda value, axis=-1: value.softmax(dim=axis),
    "Split": _split,
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Tile": lambda value, repeats: value.tile(repeats.tolist()),
    "Transpose": lambda value, perm: value.permute(*perm),
    "Unsqueeze": _unsqueeze,
    "Where": torch.where,
}

"""Storage in 16 bits of what stays float in an INT8 model: the file gets smaller, and computes in float32 as before."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["WORTH_STORING", "store_in_float16"]

WORTH_STORING = 100_000
"""Numbers that a tensor must hold for its bytes to matter."""


def store_in_float16(model: onnx.ModelProto) -> None:
    """Stores the large float32 weights of the model as float16, each with a Cast to float32 behind it, in place.

    ONNX Runtime casts them back once, as it loads the model, so that no inference pays for it. What remains is a rounding to 11
    bits, where INT8 has 8. Weights beyond float16's range stay as they are. Not for TensorRT, which wants the kernels of a
    convolution to be constants.
    """
    casts, fed = [], {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        small = np.prod(tensor.dims, dtype=np.int64) < WORTH_STORING
        if small or tensor.name in fed or tensor.data_type != TensorProto.FLOAT:
            continue
        weights, name = numpy_helper.to_array(tensor), tensor.name
        if np.abs(weights).max() <= np.finfo(np.float16).max:
            tensor.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}/half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}/float", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)

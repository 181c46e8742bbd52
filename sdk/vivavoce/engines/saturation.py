"""Exact INT8 products where the processor's fast ones are not: without VNNI x86 adds two of them in 16 bits, which saturate.

Intel, "Nuances of int8 computations" (oneDNN developer guide). ONNX Runtime multiplies exactly, at seven eighths of the rate,
where a session asks for it. It may then leave the fast instructions of VNNI aside too, so a product is looked at first.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from .providers import session

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["LARGEST", "PAIRS", "avoid_saturation", "saturates"]

LARGEST, PAIRS, ROWS = (255, 127), 4, 2
"""The largest unsigned and signed bytes, and how many products of them `pairs.onnx` adds up: 4 are twice what 16 bits hold."""


def avoid_saturation(options: onnxruntime.SessionOptions) -> None:
    """Lets the sessions of these options multiply exactly on this processor."""
    if saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's product of unsigned and signed bytes differs from the arithmetic one on this processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = (files("vivavoce") / "engines" / "pairs.onnx").read_bytes()
    made = session(content, "cpu", options)
    (found,) = made.run(None, {"samples": np.full((ROWS, PAIRS), LARGEST[0], np.uint8)})
    return bool(np.any(found != PAIRS * LARGEST[0] * LARGEST[1]))

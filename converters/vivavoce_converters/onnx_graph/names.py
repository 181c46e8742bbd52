"""Names that one part of the converters gives and another reads: a model's input and output, nodes, and what passes add.

`export` names each node after the network's own module, `front_end.encoder.layers.0.fc1/MatMul`. What a pass adds has the name
of what it stands for and, behind a stroke, what it is. All other names are read by nobody.
"""

from __future__ import annotations

import re

from vivavoce.bundle import EngineFile
from vivavoce.engines.names import module_of

__all__ = ["SAMPLES", "SCORE", "even", "group_of", "is_even", "is_of_taps", "layer_of", "node", "tap", "taps"]

SAMPLES: str = EngineFile.model_fields["input"].default
SCORE: str = EngineFile.model_fields["output"].default


def node(module: str, operator: str, number: int = 1) -> str:
    """The name of a module's node, the `number`th of its operator there."""
    return f"{module}/{operator}" if number == 1 else f"{module}/{operator}_{number}"


def layer_of(node: str) -> str:
    """A node's module, the three projections of an attention's input together."""
    return re.sub(r"\.(q_proj|k_proj|v_proj)$", ".qkv", module_of(node))


def group_of(node: str) -> str:
    """A node's layer, each block of a back-end as one."""
    return re.sub(r"^(back_end\.blocks\.\d+)\..*$", r"\1", layer_of(node))


def tap(convolution: str, number: int) -> str:
    """The frames that one tap of a convolution sees."""
    return f"{convolution}/tap{number}"


def taps(convolution: str) -> str:
    """The frames of all taps, side by side."""
    return f"{convolution}/taps"


def is_of_taps(value: str) -> bool:
    """Whether a value is what a convolution reads that became a product: all its taps, or its only one."""
    return value.endswith((taps(""), tap("", 0)))


def even(value: str) -> str:
    """A value whose channels were divided by their scales."""
    return f"{value}/even"


def is_even(value: str) -> bool:
    return value.endswith(even(""))

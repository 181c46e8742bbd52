"""Names inside an ONNX engine that mean something: what it carries, and which module of the network a node is of.

docs/bundle.md says the same, under "carry" and "names inside an engine".
"""

from __future__ import annotations

__all__ = ["module_of", "part_of", "present_of"]


def present_of(past: str) -> str:
    """The output that gives what an input "past..." is given for the samples that follow: "present..."."""
    return past.replace("past", "present", 1)


def module_of(node: str) -> str:
    """The module that a node is named after, "" where it has none: what stands before the first stroke."""
    return node.split("/")[0]


def part_of(node: str) -> str | None:
    """The part of the network, "stem", "encoder" or "back-end", whose module a node's name holds; None where it holds none.

    The module may stand behind the name of a value: a tap of a convolution reads what another node gave.
    """
    for module in node.split("/"):
        first, *inner = module.split(".")
        if first == "front_end":
            return "encoder" if "layers" in inner else "stem"
        if first in ("merge", "back_end"):
            return "back-end"
    return None

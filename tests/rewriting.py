"""A graph rewritten, beside the one that it was."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from vivavoce_converters.graphs import Graph


def rewritten(original: onnx.ModelProto, rewrite: Callable[[Graph], object]) -> onnx.ModelProto:
    """A model after a rewriting; the original stays as it is."""
    changed = onnx.ModelProto()
    changed.CopyFrom(original)
    graph = Graph(changed)
    rewrite(graph)
    return graph.finish()

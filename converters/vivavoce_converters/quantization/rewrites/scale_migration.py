"""Migrated scales (SmoothQuant): an activation's channels are divided by what its products' weights are multiplied by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...onnx_graph import names
from ...onnx_graph.attention import mixed_values
from ...onnx_graph.bias import change_outputs
from ...onnx_graph.graph import Graph
from ..plan.plan import FloatArray, Plan
from ..plan.smoothquant import choose, migrated

__all__ = ["choose_ranges", "divided", "migrate_scales"]


def choose_ranges(graph: Graph, plan: Plan) -> Plan:
    """For each class of layer the range method, and for each activation how far its scales move."""
    operands = {entry: plan.operand(graph, entry) for entry in plan.entries()}
    choices = choose(operands, limit=plan.target.limit, **plan.target.rules)
    return replace(plan, choices=choices, taps={entry: one.taps for entry, one in operands.items()})


def migrate_scales(graph: Graph, plan: Plan) -> Plan:
    """Divides channels by their scales: in the layer norm before them, in the product that makes the values that attention
    mixes, or by a node for which the plan keeps them in `input_scales` (`divided`)."""
    operands = {entry: plan.operand(graph, entry) for entry in plan.entries()}
    activations, kept = dict(plan.activations), {}
    for entry, operand in operands.items():
        strength = plan.choices[operand.source].strengths[entry]
        scale = migrated(operand, strength)
        readers = plan.readers(entry)
        activations[readers[0].reads] = operand.activation
        for name in {one.reads for one in readers}:
            activations[name] = activations[name].divided(scale)
        if not _moved_before(graph, plan, entry, scale, strength):
            if strength:
                kept[entry] = scale
            continue
        for one in readers:
            weights = graph.array(one.weight) * scale[:, None]
            graph.replace_input(one.node, 1, graph.constant(f"{one.name}/smooth", weights))
    return replace(plan, activations=activations, input_scales=kept)


def divided(graph: Graph, plan: Plan, entry: str) -> str:
    """An entry with each channel divided by its scale, which is the same for all frames that a product reads at once."""
    scale = plan.input_scales[entry]
    factors = graph.constant(f"{entry}/smooth", np.asarray(1 / scale[: len(scale) // plan.taps[entry]]))
    return graph.add(graph.readers[entry][0], "Mul", [entry, factors], names.even(entry))


def _moved_before(graph: Graph, plan: Plan, entry: str, scale: FloatArray, strength: float) -> bool:
    """Whether what makes an entry took the scale up."""
    norm = graph.maker(entry)
    if norm is not None and norm.op_type == "LayerNormalization" and len(graph.readers[entry]) == len(plan.readers(entry)):
        # New constants, for equal ones of several layers may be one and the same in the file.
        for index, name in enumerate(norm.input[1:], start=1):
            graph.replace_input(norm, index, graph.constant(f"{entry}/{index}/smooth", graph.array(name) / scale))
        return True
    values = mixed_values(graph, entry) if strength else None
    if values is None or values.output[0] in plan.stored:
        return False
    change_outputs(graph, values, lambda array: array / scale)
    return True

"""Migrated scales (SmoothQuant): an activation's channels are divided by what its products' weights are multiplied by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...onnx_graph import names
from ...onnx_graph.attention import attention_value_product
from ...onnx_graph.bias import map_outputs
from ...onnx_graph.graph import Float32, Graph
from ..plan.plan import Plan
from ..plan.smoothquant import choose_by_class, migration_scales

__all__ = ["choose_ranges", "divided", "migrate_scales"]


def choose_ranges(graph: Graph, plan: Plan) -> Plan:
    """For each class of layer the range method, and for each activation how far its scales move."""
    operands = {int8_input: plan.operand(graph, int8_input) for int8_input in plan.int8_inputs()}
    choices = choose_by_class(operands, limit=plan.target.limit, **plan.target.rules)
    return replace(plan, choices=choices, taps={int8_input: one.taps for int8_input, one in operands.items()})


def migrate_scales(graph: Graph, plan: Plan) -> Plan:
    """Divides channels by their scales: in the layer norm before them, in the product that makes the values that attention
    mixes, or by a node for which the plan keeps them in `input_scales` (`divided`)."""
    operands = {int8_input: plan.operand(graph, int8_input) for int8_input in plan.int8_inputs()}
    activations, kept = dict(plan.activations), {}
    for int8_input, operand in operands.items():
        strength = plan.choices[operand.layer_class].strengths[int8_input]
        scale = migration_scales(operand, strength)
        readers = plan.readers(int8_input)
        activations[readers[0].input] = operand.activation
        for name in {one.input for one in readers}:
            activations[name] = activations[name].divided(scale)
        if not _moved_before(graph, plan, int8_input, scale, strength):
            if strength:
                kept[int8_input] = scale
            continue
        for one in readers:
            weights = graph.array(one.weight) * scale[:, None]
            graph.replace_input(one.node, 1, graph.constant(f"{one.name}/smooth", weights))
    return replace(plan, activations=activations, input_scales=kept)


def divided(graph: Graph, plan: Plan, int8_input: str) -> str:
    """An INT8 input with each channel divided by its scale, which is the same for all frames that a product reads at once."""
    scale = plan.input_scales[int8_input]
    factors = graph.constant(f"{int8_input}/smooth", np.asarray(1 / scale[: len(scale) // plan.taps[int8_input]]))
    return graph.add(graph.readers[int8_input][0], "Mul", [int8_input, factors], names.even(int8_input))


def _moved_before(graph: Graph, plan: Plan, int8_input: str, scale: Float32, strength: float) -> bool:
    """Whether what makes an INT8 input took the scale up."""
    norm = graph.maker(int8_input)
    if (
        norm is not None
        and norm.op_type == "LayerNormalization"
        and len(graph.readers[int8_input]) == len(plan.readers(int8_input))
    ):
        # New constants, for equal ones of several layers may be one and the same in the file.
        for index, name in enumerate(norm.input[1:], start=1):
            graph.replace_input(norm, index, graph.constant(f"{int8_input}/{index}/smooth", graph.array(name) / scale))
        return True
    values = attention_value_product(graph, int8_input) if strength else None
    if values is None or values.output[0] in plan.stored:
        return False
    map_outputs(graph, values, lambda array: array / scale)
    return True

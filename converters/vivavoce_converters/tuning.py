"""Quantization-aware fine-tuning: the bytes of an INT8 network's weights, and biases, move until it gives what float32 gives.

The network that runs is the one that is trained: its QuantizeLinear nodes round on the way forward and pass gradients on the
way back (`executor.py`), every scale stays as it was calibrated, and what is learned goes into the same file (Jacob et al.,
CVPR 2018, section 3; arXiv 1712.05877). Weights move in units of their steps, so all channels move as readily.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor

from vivavoce.errors import ConfigurationError

from .executor import Executor, straight_through
from .sensitivity import left_over, scores

__all__ = ["TAUGHT", "Tuning", "tune"]

FloatArray = NDArray[np.float32]
BATCH = 4
TAUGHT = 800
"""How many windows are enough: few weights change, and the targets are the float32 network's, not labels."""
LEAST = 8
RATE = 0.006
"""Of the weights, in their steps. With 0.02 the student's residual grew, with 0.1 that of 6 layers tenfold: Adam moves weights
whose gradients are mere noise as far as the others."""
LEVER = 0.05
"""How far a bias moves, in its root mean square, where a weight moves a step."""
READERS = {"MatMulInteger": 1, "DequantizeLinear": 0}
"""Which input of a node holds bytes of weights."""


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning did: the residual of windows held out, before and after it, in deviations of their float32 scores.

    Where it did not become less, the network stayed as it was (`kept`).
    """

    steps: int
    windows: int
    held_out: int
    before: float
    after: float
    kept: bool


def tune(
    model: onnx.ModelProto,
    reference: onnx.ModelProto,
    windows: FloatArray,
    steps: int,
    *,
    seed: int = 0,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[onnx.ModelProto, Tuning]:
    """An INT8 model after `steps` of fine-tuning to the float32 `reference` of the same layers, on windows (n, samples).

    Scores and the outputs of layer norms, which both have, are the targets; labels are not read. An eighth of the windows is
    held out, and the model comes back as it was where their residual has not become less. Raises ConfigurationError for fewer
    than 8 windows, and for operators that `Executor` does not know.
    """
    if len(windows) < LEAST:
        raise ConfigurationError(f"Fine-tuning needs {LEAST} windows at least, not {len(windows)}. Give a larger corpus.")
    network, target = Executor(model), Executor(reference)
    names, rng = _targets(model, reference), np.random.default_rng(seed)
    held, taught = np.split(rng.permutation(len(windows)), [max(len(windows) // 8, 3)])
    offsets = _offsets(model, network)
    optimizer = torch.optim.Adam(offsets.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    known = scores(reference, windows[held])
    for step in range(steps):
        batch = torch.from_numpy(windows[rng.choice(taught, BATCH)])
        with torch.no_grad():
            wanted = target.run({"samples": batch}, names)
        found = network.run({"samples": batch, **_moved(network, offsets)}, names)
        optimizer.zero_grad()
        _loss(found, wanted, known.std()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        advance(step + 1, steps)
    made = _written(model, network, offsets)
    before, after = (float(left_over(scores(one, windows[held]), known).std() / known.std()) for one in (model, made))
    done = Tuning(steps, len(taught), len(held), before, after, after < before)
    return (made if done.kept else model), done


def _targets(model: onnx.ModelProto, reference: onnx.ModelProto) -> list[str]:
    """The score, and the layer norms' outputs that both models have."""
    made = {node.output[0] for node in model.graph.node}
    norms = [node.output[0] for node in reference.graph.node if node.op_type == "LayerNormalization"]
    return [model.graph.output[0].name, *(name for name in norms if name in made)]


def _loss(found: Sequence[Tensor], wanted: Sequence[Tensor], spread: float) -> Tensor:
    """The mean square error of the scores, in deviations, and that of the layers' means over a window, relative."""
    total = ((found[0] - wanted[0]) / spread).square().mean()
    for here, there in zip(found[1:], wanted[1:], strict=True):
        apart = (here - there).mean(dim=1).square().mean()
        total = total + apart / there.mean(dim=1).var(dim=0).mean() / len(found)
    return total


def _offsets(model: onnx.ModelProto, network: Executor) -> dict[str, Tensor]:
    """What is learned, by the constant that it moves: nothing yet, for the matrices of bytes and their products' biases."""
    read = {node.input[READERS[node.op_type]] for node in model.graph.node if node.op_type in READERS}
    kinds = {one.name: one.data_type for one in model.graph.initializer if len(one.dims) > 1}
    matrices = [name for name in kinds if name in read and kinds[name] == TensorProto.INT8]
    biases = [f"{name.removesuffix('/int8')}/bias" for name in matrices]
    learned = [*matrices, *(name for name in biases if name in network.constants)]
    return {name: torch.zeros_like(network.constants[name], requires_grad=True) for name in learned}


def _moved(network: Executor, offsets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The constants with what was learned: whole numbers no larger than before, and biases."""
    moved = {}
    for name, offset in offsets.items():
        start = network.constants[name]
        if name in network.ranges:
            limit = float(start.abs().max())
            moved[name] = straight_through(start + offset, -limit, limit)
        else:
            moved[name] = start + LEVER * start.square().mean().sqrt() * offset
    return moved


def _written(model: onnx.ModelProto, network: Executor, offsets: Mapping[str, Tensor]) -> onnx.ModelProto:
    """The model with what was learned in its constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    with torch.no_grad():
        moved = _moved(network, offsets)
    for one in made.graph.initializer:
        if one.name in moved:
            kind = np.int8 if one.data_type == TensorProto.INT8 else np.float32
            one.CopyFrom(numpy_helper.from_array(moved[one.name].numpy().astype(kind), one.name))
    return made

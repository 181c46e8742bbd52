"""Export: a countermeasure to one ONNX file that scores like it, checked in ONNX Runtime before it is put in place.

The file's input is "samples", float32 (batch, samples) at 16 kHz in [-1, 1]; its output is "score", float32 (batch,). It is
of opset 20 and IR version 10 at most, which ONNX Runtime 1.18 is the first to read. LayerNormalization and Gelu stay one
node each, so that runtimes may fuse them and quantizers leave them alone.
"""

from __future__ import annotations

import ast
import copy
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vivavoce.engines.names import present_of
from vivavoce.errors import VivavoceError
from vivavoce.files import placing_with

from ..networks.countermeasure import Countermeasure
from ..networks.stateful import StatefulCountermeasure, carry
from ..networks.streaming import FRAME
from ..onnx_graph import names
from ..onnx_graph.graph import Float32, session

__all__ = ["ExportError", "ExportReport", "export_onnx"]

OPSET, IR_VERSION = 20, 10
TOLERANCE = 1e-4
# A protobuf message ends at 2 GiB; a network whose weights come near it keeps them in a file beside the model.
INLINE_BYTES = 1_900_000_000


class ExportError(VivavoceError, RuntimeError):
    """A network could not be exported, or its ONNX file does not score like it; nothing was written."""


@dataclass(frozen=True)
class ExportReport:
    """What an export was checked against: every length (samples) with every batch size.

    `difference` is the largest |ONNX Runtime - torch| divided by max(1, |torch|), float32 on the CPU. `files` are the model
    and, for networks over 1.9 GB, the weights beside it.
    """

    difference: float
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    opset: int
    ir_version: int
    producer: str
    files: tuple[Path, ...]


def export_onnx(
    model: Countermeasure,
    path: Path,
    *,
    window: int,
    dynamic: bool = True,
    lengths: Sequence[int] = (),
) -> ExportReport:
    """Writes the network in evaluation mode to `path`, and gives what was measured on it.

    `window` is the length in samples that it will mostly see. A dynamic file takes any batch size and length, and is tried
    on `lengths` besides (the default: half the window and a quarter more than it); a fixed one takes (1, window) only. The
    caller's model is left as it was. A network on a streaming front-end gets inputs and outputs for the past besides, and takes
    whole chunks. Raises ExportError, with the difference, where the file differs from torch by more
    than 1e-4 of max(1, |score|); an existing file at `path` then stays.
    """
    model = _for_inference(model)
    if carry(model):
        model, lengths = StatefulCountermeasure(model, window), (window,)
    else:
        lengths = (window, *(lengths or (window // 2 + 1, window + window // 4))) if dynamic else (window,)
    batches = (1, 3) if dynamic else (1,)
    expected = [*_expected(model, lengths, batches)]
    program = _trace(model, window, dynamic)
    with placing_with(path) as partial:
        weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
        program.save(partial, external_data=weights > INLINE_BYTES)
        onnx.checker.check_model(str(partial), full_check=True)
        difference = _difference(model, partial, expected, window)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"The exported network differs from the original by {difference:.1e} of max(1, |score|), "
                f"more than {TOLERANCE:.0e}; {path} was not written. Try another version of torch."
            )
        written = sorted((file.name for file in partial.parent.iterdir()), key=lambda name: name != path.name)
    files = tuple(path.parent / name for name in written)
    producer = f"{program.model.producer_name} {program.model.producer_version}"
    return ExportReport(difference, lengths, batches, OPSET, program.model.ir_version, producer, files)


def _for_inference(model: Countermeasure) -> Countermeasure:
    """A float32 copy on the CPU in evaluation mode, its weight-normalised convolutions folded into one weight each."""
    model = copy.deepcopy(model).float().cpu().eval().requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv1d) and parametrize.is_parametrized(module, "weight"):
            model.set_submodule(name, _folded(module))
    return model


def _folded(conv: nn.Conv1d) -> nn.Conv1d:
    """The same convolution, plain. Removing the parametrization instead would break every copy: they share their class."""
    plain = nn.Conv1d(conv.in_channels, conv.out_channels, conv.kernel_size[0], groups=conv.groups)
    plain.padding = conv.padding
    plain.weight, plain.bias = nn.Parameter(conv.weight.detach(), requires_grad=False), conv.bias
    return plain


def _trace(model: Countermeasure, window: int, dynamic: bool) -> torch.onnx.ONNXProgram:
    pasts = model.fresh() if isinstance(model, StatefulCountermeasure) else {}
    known = carry(model)
    length = known.chunk * torch.export.Dim("chunks") if known else "samples"
    whole = [value for name, value in pasts.items() if not _grows(name)]
    # An axis of one would be taken for fixed.
    caches = [value.expand(-1, -1, 4, -1) for name, value in pasts.items() if _grows(name)]
    heard = {2: torch.export.Dim("heard", min=1, max=pasts["past_heard"].shape[1])} if pasts else {}
    shapes = ({0: "batch", 1: length}, *(None for _ in whole), *((tuple(heard for _ in caches),) if caches else ()))
    with _quiet():
        try:
            program = torch.onnx.export(
                model,
                (torch.zeros(2 if dynamic else 1, window), *whole, *caches),
                dynamo=True,
                opset_version=OPSET,
                input_names=[names.SAMPLES, *pasts],
                output_names=[names.SCORE, *map(present_of, pasts)],
                dynamic_shapes=shapes if dynamic else None,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch could not export the network. The cause: {error}") from error
    assert program is not None
    _default(program, pasts)
    program.model.ir_version = min(program.model.ir_version, IR_VERSION)
    _name(program)
    _strip(program)
    return program


def _grows(name: str) -> bool:
    """Whether a past begins with one frame for all that was not heard."""
    return name.startswith(("past_keys", "past_values"))


def _default(program: torch.onnx.ONNXProgram, values: Mapping[str, Tensor]) -> None:
    """Gives inputs a value for when they are not fed: an initializer of the same name."""
    graph = program.model.graph
    for value in graph.inputs:
        if value.name and value.name in values:
            value.const_value = onnx_ir.tensor(values[value.name].numpy(), name=value.name)
            graph.initializers.add(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences torch's notes on its own internals (deprecated calls, torchvision's absence, constants left unfolded)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _name(program: torch.onnx.ONNXProgram) -> None:
    """Names each node after the module that it comes from, such as "front_end.encoder.layers.0.fc1/MatMul"."""
    seen: Counter[tuple[str, str]] = Counter()
    for node in program.model.graph.all_nodes():
        modules = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))[:-1]
        of = modules[-1] if modules else "", node.op_type
        seen[of] += 1
        node.name = names.node(*of, seen[of])


def _strip(program: torch.onnx.ONNXProgram) -> None:
    """Removes the exporter's notes: they hold stack traces, with the paths of the machine that exported."""
    graph = program.model.graph
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
    graph.metadata_props.clear()
    program.model.metadata_props.clear()


def _expected(model: Countermeasure, lengths: Sequence[int], batches: Sequence[int]) -> Iterator[tuple[Float32, Float32]]:
    """Noise of every length with every batch size, and its scores in torch: tracing takes minutes, and a wrong length none."""
    for samples in _probes(lengths, batches):
        try:
            with torch.no_grad():
                scores = model.logits(torch.from_numpy(samples))[:, -1].numpy()
        except RuntimeError as error:
            raise ExportError(
                f"The network itself cannot score {samples.shape[1]} samples, so it was not exported. "
                f"Give lengths that it can. The cause: {error}"
            ) from error
        yield samples, scores


def _difference(model: Countermeasure, path: Path, expected: Sequence[tuple[Float32, Float32]], window: int) -> float:
    """The largest |ONNX Runtime - torch| / max(1, |torch|); NaN where either gives NaN."""
    made = session(str(path), threads=0)
    found = [_relative(made.run([names.SCORE], {names.SAMPLES: samples})[0], scores) for samples, scores in expected]
    if isinstance(model, StatefulCountermeasure):
        found.append(_continued(model, made, window))
    return float(np.max(found))


def _continued(model: StatefulCountermeasure, made: onnxruntime.InferenceSession, window: int) -> float:
    """The difference of the window that ends one chunk later, in two runs and in one."""
    (samples,) = _probes((window + model.streaming.config.chunk * FRAME,), (1,))
    with torch.no_grad():
        expected = model(torch.from_numpy(samples), *model.fresh().values())[0].numpy()
    _, *presents = made.run(None, {names.SAMPLES: samples[:, :window]})
    pasts = dict(zip(model.fresh(), presents, strict=True))
    return _relative(made.run([names.SCORE], {names.SAMPLES: samples[:, window:], **pasts})[0], expected)


def _relative(scores: Float32, expected: Float32) -> float:
    return float(np.max(np.abs(scores - expected) / np.maximum(1, np.abs(expected))))


def _probes(lengths: Sequence[int], batches: Sequence[int]) -> Iterator[Float32]:
    """Noise whose level differs from row to row and whose spectrum falls as that of speech does."""
    random = np.random.default_rng(0)
    for length in lengths:
        for batch in batches:
            noise = np.cumsum(random.standard_normal((batch, length)), axis=1)
            noise -= noise.mean(axis=1, keepdims=True)
            level = 10 ** random.uniform(-2, 0, (batch, 1))
            yield (level * noise / np.abs(noise).max(axis=1, keepdims=True)).astype(np.float32)

"""Refitting: a finished bundle's perceptron is fitted anew, to the states that its own engine gives for a corpus.

The rest of the network stays as it is, to the bit. So the perceptron allows for what quantization changed, and a detector
takes in an application's own recordings and synthesizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from torch import nn

from vivavoce.bundle import Bundle, EngineFile
from vivavoce.bundle_writing import descended, require_new, uncalibrated, write_bundle
from vivavoce.engines.incremental import preceded
from vivavoce.errors import ConfigurationError
from vivavoce.progress import Advance, Stages, quiet, quietly
from vivavoce_calibration.corpora import Trial

from ..distillation.batches import Batches
from ..distillation.recipe import Recipe, Stage
from ..onnx_graph.graph import Graph, attribute, session
from ..quantization.rewrites.float16_storage import store_in_float16
from .engine_files import engine_file, engine_in_memory, make_self_test

__all__ = ["pooled_states", "refit"]

INNER, OUTER = "back_end.inner", "back_end.outer"


def refit(
    bundle: Bundle,
    trials: Sequence[Trial],
    out: Path,
    recipe: Recipe,
    *,
    corpora: Sequence[str] = (),
    pooled: NDArray[np.float64] | None = None,
    stages: Stages = quietly,
) -> Bundle:
    """The bundle `out` (a new directory) with a perceptron fitted to `trials`, as the last stage of `recipe` says.

    `corpora` are added to those that the manifest names as the model's; `pooled` is what `pooled_states` gives for the trials,
    where that is at hand. The bundle that is made is not calibrated; calibrate it on trials of other systems and sources.
    Raises as `pooled_states` and `fit_perceptron` do.
    """
    require_new(out)
    stage = _fitting(recipe)
    if pooled is None:
        pooled = pooled_states(bundle, trials, recipe, advance=stages("states"))
    engine = _only_engine(bundle)
    graph = _graph(bundle, engine)
    inner, outer = (_layer(graph, name, bundle) for name in (INNER, OUTER))
    copies = pooled.reshape(-1, pooled.shape[-1])
    fitted = Batches(trials, recipe).fitted(stage, copies, advance=stages("perceptron"))
    more = fitted.inner.out_features - len(graph.array(inner.input[2]))
    parameters = bundle.manifest.model.parameters + more * (pooled.shape[-1] + 1 + fitted.outer.out_features)
    for node, layer in ((inner, fitted.inner), (outer, fitted.outer)):
        _set(graph, node, layer)
    model = graph.finish()
    if engine.precision == "int8" and engine.target != "tensorrt":
        store_in_float16(model)
    notes = {"recipe": recipe.name, "clips": len(trials), "copies": stage.fit, "transmitted": stage.transmitted}
    return _packed(bundle, engine, model.SerializeToString(), out, notes, corpora, parameters)


def pooled_states(bundle: Bundle, trials: Sequence[Trial], recipe: Recipe, *, advance: Advance = quiet) -> NDArray[np.float64]:
    """What the bundle's perceptron reads of the copies that the recipe asks for, (copies of a trial, trials, width).

    An engine that carries state hears each clip twice in a row, as runtimes take a signal to begin. Raises ConfigurationError
    where the bundle has not one ONNX engine with a perceptron, and where the recipe fits none.
    """
    stage, engine = _fitting(recipe), _only_engine(bundle)
    graph = _graph(bundle, engine)
    mean = _layer(graph, INNER, bundle).input[0]
    graph.model.graph.output.append(helper.make_tensor_value_info(mean, onnx.TensorProto.FLOAT, None))
    running, found = session(graph.model.SerializeToString(), threads=1), []
    context = engine.carry.context if engine.carry else 0
    for samples in Batches(trials, recipe).copies(stage.fit, stage.transmitted):
        for clip in samples.numpy():
            (means,) = running.run([mean], {engine.input: preceded(clip, len(clip) + context)[None]})
            found.append(means[0].astype(np.float64))
        advance(len(found), stage.fit * len(trials))
    return np.array(found).reshape(stage.fit, len(trials), -1)


def _fitting(recipe: Recipe) -> Stage:
    """The recipe's last stage, which must fit a perceptron."""
    stage = recipe.stages[-1]
    if not stage.fit:
        raise ConfigurationError(f'The last stage of the recipe "{recipe.name}" fits no perceptron. Choose "default".')
    return stage


def _graph(bundle: Bundle, engine: EngineFile) -> Graph:
    return Graph(onnx.load_from_string(bundle.read(engine.file, engine.sha256)))


def _only_engine(bundle: Bundle) -> EngineFile:
    engines = bundle.manifest.engines
    if len(engines) != 1 or engines[0].kind != "onnx" or engines[0].data:
        raise ConfigurationError(
            f'The bundle "{bundle.manifest.name}" has not one ONNX file alone. Quantize it again, without the float32 engine.'
        )
    return engines[0]


def _layer(graph: Graph, name: str, bundle: Bundle) -> onnx.NodeProto:
    """The Gemm of one of the perceptron's layers."""
    readers = graph.readers[f"{name}.bias"]
    if len(readers) != 1 or readers[0].op_type != "Gemm":
        raise ConfigurationError(f'The bundle "{bundle.manifest.name}" has no perceptron. Give one with the recipe large.')
    return readers[0]


def _set(graph: Graph, node: onnx.NodeProto, layer: nn.Linear) -> None:
    """Gives a Gemm a layer's weights and biases. What it read may be stored in 16 bits, behind a Cast, which goes."""
    weight = layer.weight.detach().numpy()
    if cast := graph.makers.get(node.input[1]):
        graph.remove(cast)
    graph.replace_input(node, 1, graph.constant(f"{node.name}/fitted", weight if attribute(node, "transB", 0) else weight.T))
    graph.constant(node.input[2], layer.bias.detach().numpy())


def _packed(
    bundle: Bundle,
    engine: EngineFile,
    content: bytes,
    out: Path,
    notes: dict[str, object],
    corpora: Sequence[str],
    parameters: int,
) -> Bundle:
    parent, files = bundle.manifest, {engine.file: content}
    made = engine_file(
        engine.file,
        files,
        precision=engine.precision,
        target=engine.target,
        weight_bits=engine.weight_bits,
        carry=engine.carry,
    )
    test, flac = make_self_test(engine_in_memory(made, files), parent.audio, tolerance=parent.self_test.tolerance)
    provenance = {**parent.model.provenance, "refitted": notes}
    corpora_of_both = tuple(dict.fromkeys((*parent.model.corpora, *corpora)))
    model = parent.model.model_copy(update={"provenance": provenance, "corpora": corpora_of_both, "parameters": parameters})
    manifest = uncalibrated(parent, model=model, engines=(made,), self_test=test)
    documents = {name: bundle.read(name, digest) for name, digest in parent.documents.items()}
    manifest = descended(manifest, bundle, out.resolve().name)
    return write_bundle(out, manifest, {**files, **documents, test.file: flac})

"""Refitting: a finished bundle's discriminant is fitted anew, to the states that its own engine gives for a corpus.

The rest of the network stays as it is, to the bit. So the discriminant allows for what quantization changed, and a detector
takes in an application's own recordings and synthesizers within minutes, without training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from vivavoce.bundle import Bundle, EngineFile
from vivavoce.bundle_writing import descended, require_new, uncalibrated, write_bundle
from vivavoce.engines.incremental import preceded
from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import Trial

from ..distillation.batches import Batches, group_name
from ..distillation.distill import spoof_kind
from ..distillation.recipe import Recipe, Stage
from ..networks.discriminant import fit_discriminant
from ..onnx_graph.graph import Graph, session
from .engine_files import engine_file, loaded, self_test

__all__ = ["refit"]

BIAS = "discriminant.linear.bias"


def refit(
    bundle: Bundle,
    trials: Sequence[Trial],
    out: Path,
    recipe: Recipe,
    *,
    corpora: Sequence[str] = (),
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> Bundle:
    """The bundle `out` (a new directory) with a discriminant fitted to `trials`, as the last stage of `recipe` says.

    `corpora` are added to those that the manifest names as the model's. An engine that carries state hears each clip twice in a
    row, as runtimes take a signal to begin. The bundle that is made is not calibrated; calibrate it on trials of other systems
    and sources. Raises ConfigurationError where the bundle has not one ONNX engine with a linear discriminant, where that has
    not as many kinds of spoof as the recipe, where the recipe fits
    none, and as `fit_discriminant` does.
    """
    require_new(out)
    stage = recipe.stages[-1]
    if not stage.discriminant:
        raise ConfigurationError(f'The last stage of the recipe "{recipe.name}" fits no discriminant. Choose "default".')
    engine = _only_engine(bundle)
    graph = Graph(onnx.load_from_string(bundle.read(engine.file, engine.sha256)))
    states, weight = _product(graph, bundle)
    pooled, numbers = _pooled(graph.model, states, engine, Batches(trials, recipe), stage, advance)
    heard = [trials[number] for number in numbers]
    bonafide, groups = np.array([trial.key == "bonafide" for trial in heard]), np.array([group_name(trial) for trial in heard])
    kinds = np.array([spoof_kind(trial, recipe.student) for trial in heard])
    count = graph.array(weight).shape[1]
    wanted = max(1, len(getattr(recipe.student, "spoof_kinds", ())))
    if count != wanted:
        raise ConfigurationError(f"The bundle scores against {count} kinds of spoof, the recipe {wanted}. Choose its recipe.")
    weights, biases = fit_discriminant(pooled, bonafide, groups, kinds, count=count)
    graph.constant(weight, weights.T.astype(np.float32))
    graph.constant(BIAS, biases.astype(np.float32))
    content = graph.finish().SerializeToString()
    notes = {"recipe": recipe.name, "clips": len(trials), "copies": stage.discriminant, "telephoned": stage.telephoned}
    return _packed(bundle, engine, content, out, notes, corpora)


def _only_engine(bundle: Bundle) -> EngineFile:
    engines = bundle.manifest.engines
    if len(engines) != 1 or engines[0].kind != "onnx" or engines[0].data:
        raise ConfigurationError(
            f'The bundle "{bundle.manifest.name}" has not one ONNX file alone. Quantize it again, without the float32 engine.'
        )
    return engines[0]


def _product(graph: Graph, bundle: Bundle) -> tuple[str, str]:
    """The discriminant's states and its weight by their names."""
    adders = graph.readers[BIAS]
    if not graph.is_constant(BIAS) or len(adders) != 1:
        raise ConfigurationError(
            f'The bundle "{bundle.manifest.name}" has no linear discriminant. Give one with the recipe large.'
        )
    product = next(maker for name in adders[0].input if (maker := graph.maker(name)) is not None)
    return product.input[0], product.input[1]


def _pooled(
    model: onnx.ModelProto,
    states: str,
    engine: EngineFile,
    batches: Batches,
    stage: Stage,
    advance: Callable[[int, int], object],
) -> tuple[NDArray[np.float64], list[int]]:
    """The mean over the frames of what the discriminant reads, (copies, n), and the trial that each copy is of."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(helper.make_tensor_value_info(states, onnx.TensorProto.FLOAT, None))
    running, found, numbers = session(probe.SerializeToString(), threads=1), [], []
    total = stage.discriminant * len(batches.trials)
    for samples, chosen in batches.copies(stage.discriminant, stage.telephoned):
        for clip in samples.numpy():
            context = engine.carry.context if engine.carry else 0
            heard = preceded(clip, len(clip) + context)
            (frames,) = running.run([states], {engine.input: heard[None]})
            kept = round(frames.shape[1] * len(clip) / len(heard))
            found.append(frames[0, -kept:].mean(axis=0, dtype=np.float64))
        numbers += chosen
        advance(len(numbers), total)
    return np.array(found), numbers


def _packed(
    bundle: Bundle, engine: EngineFile, content: bytes, out: Path, notes: dict[str, object], corpora: Sequence[str]
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
    test, flac = self_test(loaded(made, files), parent.audio, tolerance=parent.self_test.tolerance)
    provenance = {**parent.model.provenance, "refitted": notes}
    corpora_of_both = tuple(dict.fromkeys((*parent.model.corpora, *corpora)))
    model = parent.model.model_copy(update={"provenance": provenance, "corpora": corpora_of_both})
    manifest = uncalibrated(parent, model=model, engines=(made,), self_test=test)
    documents = {name: bundle.read(name, digest) for name, digest in parent.documents.items()}
    manifest = descended(manifest, bundle, out.resolve().name)
    return write_bundle(out, manifest, {**files, **documents, test.file: flac})

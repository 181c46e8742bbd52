"""A float32 bundle becomes an INT8 one: quantized, calibrated anew, and let through only where it decides as before."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from vivavoce.bundle import Bundle, EngineFile, Manifest, Regression
from vivavoce.bundle_writing import require_new, uncalibrated, write_bundle
from vivavoce.errors import ConfigurationError, VivavoceError
from vivavoce.progress import Advance, Stages, quietly
from vivavoce_calibration.calibrate import calibrated
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.evaluation import Subject, with_durations
from vivavoce_calibration.regression import Limits, Side, compare
from vivavoce_calibration.sampling import representative
from vivavoce_calibration.scoring import Scorer, score_corpus

from ..checkpoints.notes import Notes
from ..distillation.batches import windows
from ..onnx_graph.files import save
from ..quantization.plan.targets import TARGETS
from ..quantization.quantize import Quantizer
from ..quantization.sensitivity import Mix, Sample, fastest_mix
from .engine_files import TOLERANCE, engine_file, engine_in_memory, make_self_test, self_test_deviation
from .notes import Quantization, Rounding

__all__ = ["LIMITS", "Gate", "GateError", "quantize_bundle", "quantize_weights"]

LIMITS = Limits(pearson=0.998, flips=0.015)
"""What an INT8 engine must keep unless told otherwise. 600 trials show that flips are below 1.5 % where 3 flip."""

WINDOWS = 200
"""How many windows, of one trial each, mixes are measured on."""
MARGINS = 400
"""How many more are scored in float32, to know how many scores lie how close to the threshold."""


class GateError(VivavoceError, RuntimeError):
    """An INT8 engine decides too differently from the float32 one that it comes from; nothing was written."""

    def __init__(self, regression: Regression) -> None:
        super().__init__(
            f"The INT8 engine is too far from float32: {'; '.join(regression.broken)}. Give a budget, such as flips=0.5%, to "
            f"leave in float what suffers most."
        )
        self.regression = regression


@dataclass(frozen=True)
class Gate:
    """The trials that an INT8 engine is calibrated on and compared with float32 on; never those that ranges come from."""

    trials: Sequence[Trial]
    corpus: str
    subset: str
    limits: Limits = LIMITS
    force: bool = False


def quantize_bundle(
    bundle: Bundle,
    out: Path,
    trials: Sequence[Trial],
    target: str,
    *,
    count: int = 256,
    keep_float: bool = False,
    gate: Gate | None = None,
    budget: float | None = None,
    stages: Stages = quietly,
) -> Bundle:
    """The bundle `out` (a new directory) with an INT8 engine for `target`, from `bundle`'s float32 engine.

    Activation ranges come from one window of each of `count` trials that stand for the corpus. With a gate the new bundle gets
    its calibration from the gate's trials and the comparison with float32 on them; `budget`, the share of decisions that may
    flip there, leaves in float what suffers most. Without one it is not calibrated. What was measured on the
    float32 engine is not taken over.

    Raises ConfigurationError where the bundle has no float32 ONNX engine or a budget comes without a gate, and GateError where
    the gate's limits are broken and it is not forced; then nothing is written.
    """
    require_new(out)
    if budget is not None and gate is None:
        raise ConfigurationError("A budget needs trials to be measured on. Give a gate's corpus.")
    source = _float_engine(bundle)
    contents = {name: bundle.read(name, digest) for name, digest in source.files().items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        model, made = Path(folder) / source.file, Path(folder) / "int8"
        made.mkdir()
        length = bundle.manifest.audio.window
        quantizer = Quantizer(model, _first_windows(representative(trials, count), length, stages("ranges")), target)
        mix = _mix(quantizer, model, gate, length, budget, stages("sensitivity")) if gate and budget is not None else None
        network = quantizer.shipped(mix.groups if mix else None, mix.two_byte_groups if mix else ())
        save(network, made / f"int8.{target}.onnx", beside=quantizer.beside)
        files = {file.name: file.read_bytes() for file in made.iterdir()}
    engine = engine_file(
        f"int8.{target}.onnx",
        files,
        precision="int8",
        target=target,
        weight_bits=TARGETS[target].weight_bits,
        carry=source.carry,
    )
    before = Rounding.of(bundle.manifest.model)
    ratio = _ratio(files, contents) * (before.size_ratio if before else 1.0)
    notes = Quantization(**_rounded(quantizer, mix, target, min(count, len(trials)), ratio), **_measured(mix, budget))
    return _packed(bundle, out, engine, files, contents if keep_float else {}, notes, gate, stages)


def quantize_weights(
    bundle: Bundle,
    out: Path,
    trials: Sequence[Trial],
    target: str,
    *,
    count: int = 256,
    stages: Stages = quietly,
) -> Bundle:
    """The bundle `out` (a new directory) with a float32 engine whose large weights are in 8 bits, as `target` wants them.

    Scales are migrated already, so an INT8 engine made of it loses by the activations alone, and what is fitted, calibrated or
    tested in between has seen the weights that will run. Raises ConfigurationError for an unknown target and one that quantizes
    convolutions as such, and where the bundle has no float32 ONNX engine or its weights are in other files.
    """
    require_new(out)
    source = _float_engine(bundle)
    if source.data or (target in TARGETS and TARGETS[target].tensorrt):
        raise ConfigurationError("Weights are rounded beforehand in one ONNX file, and not for TensorRT. Quantize it at once.")
    content = {source.file: bundle.read(source.file, source.sha256)}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        model = Path(folder) / source.file
        model.write_bytes(content[source.file])
        length = bundle.manifest.audio.window
        quantizer = Quantizer(model, _first_windows(representative(trials, count), length, stages("ranges")), target)
        files = {source.file: quantizer.build_rounded().SerializeToString()}
    engine = engine_file(source.file, files, precision="float32", target=source.target, carry=source.carry)
    notes = Rounding(**_rounded(quantizer, None, target, min(count, len(trials)), _ratio(files, content)))
    return _packed(bundle, out, engine, files, {}, notes, None, stages)


def _float_engine(bundle: Bundle) -> EngineFile:
    found = [one for one in bundle.manifest.engines if (one.kind, one.precision) == ("onnx", "float32")]
    if not found:
        raise ConfigurationError(
            f'The bundle "{bundle.manifest.name}" has no float32 ONNX engine. Convert its checkpoint again.'
        )
    return found[0]


def _first_windows(trials: Sequence[Trial], length: int, advance: Advance) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    found = []
    for batch in windows(trials, length, 1):
        found.append(batch.numpy())
        advance(len(found), len(trials))
    return found


def _mix(quantizer: Quantizer, model: Path, gate: Gate, length: int, budget: float, advance: Advance) -> Mix:
    """The fastest mix within the budget on a window each of trials that stand for the gate's."""
    heard = representative(gate.trials, WINDOWS)
    known = set(heard)
    others = [trial for trial in gate.trials if trial not in known]
    chosen = [*heard, *representative(others, MARGINS)] if others else heard
    audio = np.concatenate([batch.numpy() for batch in windows(chosen, length, 1)])
    sample = Sample(onnx.load(model), audio, np.array([trial.key == "bonafide" for trial in chosen]), len(heard))
    costs, two_bytes = quantizer.groups, quantizer.plan.target.two_byte_activations
    return fastest_mix(quantizer.build, costs, sample, budget, advance, two_bytes=two_bytes)


def _rounded(quantizer: Quantizer, mix: Mix | None, target: str, windows: int, ratio: float) -> dict[str, Any]:
    """The fields of `Rounding`."""
    groups, layers = quantizer.groups, quantizer.plan.layers()
    chosen = groups if mix is None else mix.groups
    return {
        "target": target,
        "ranges_from_trials": windows,
        "classes": {source: choice.named(layers) for source, choice in quantizer.plan.choices.items()},
        "float_groups": tuple(group for group in groups if group not in chosen),
        "int8_share_of_products": sum(groups[group] for group in chosen) / max(sum(groups.values()), 1),
        "size_ratio": ratio,
    }


def _measured(mix: Mix | None, budget: float | None) -> dict[str, Any]:
    """The other fields of `Quantization`, where there was a budget."""
    if mix is None:
        return {}
    alone = {"sensitivity": mix.alone, "sensitivity_two_bytes": mix.alone_two_bytes}
    return {"budget": budget, "two_byte_groups": mix.two_byte_groups, "effect": mix.effect, **alone}


def _ratio(files: Mapping[str, bytes], before: Mapping[str, bytes]) -> float:
    return sum(map(len, files.values())) / sum(map(len, before.values()))


def _packed(
    bundle: Bundle,
    out: Path,
    engine: EngineFile,
    files: Mapping[str, bytes],
    kept: Mapping[str, bytes],
    notes: Notes,
    gate: Gate | None,
    stages: Stages,
) -> Bundle:
    """Writes the bundle, through the gate where there is one."""
    parent = bundle.manifest
    made = engine_in_memory(engine, files)
    tolerance = TOLERANCE[engine.precision]
    test, flac = make_self_test(made, parent.audio, tolerance=tolerance)
    source = _float_engine(bundle)
    apart = self_test_deviation(engine_in_memory(source, kept), parent.audio, test.scores) if kept else 0.0
    provenance = {**parent.model.provenance, **notes.noted()}
    manifest = uncalibrated(
        parent,
        model=parent.model.model_copy(update={"provenance": provenance}),
        engines=(engine, source) if kept else (engine,),
        self_test=test.model_copy(update={"tolerance": max(tolerance, 2 * apart)}),
    )
    documents = {name: bundle.read(name, digest) for name, digest in parent.documents.items()}
    everything = {**files, **kept, **documents, test.file: flac}
    if gate is not None:
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            candidate = write_bundle(Path(folder) / "int8", manifest, everything)
            manifest = _gated(candidate, bundle, gate, stages)
    return write_bundle(out, manifest, everything)


def _gated(candidate: Bundle, reference: Bundle, gate: Gate, stages: Stages) -> Manifest:
    """The candidate's manifest with its calibration and how it compares. Raises GateError where it may not pass."""
    scorers = Scorer(candidate.path, "int8"), Scorer(reference.path, "float32")
    names = "INT8 scores", "float32 scores"
    found, known = (
        score_corpus(gate.trials, scorer, advance=stages(name)) for scorer, name in zip(scorers, names, strict=True)
    )
    subjects = [Subject.of(scorer, gate.corpus, gate.subset) for scorer in scorers]
    before = reference.manifest
    if before.calibration is None:
        before = calibrated(before, gate.trials, known, subjects[1])
    manifest = calibrated(candidate.manifest, gate.trials, found, subjects[0], default=before.default_operating_point)
    sides = Side.of(scorers[0], found, manifest), Side.of(scorers[1], known, before)
    regression = compare(with_durations(gate.trials, found), *sides, corpus=gate.corpus, subset=gate.subset, limits=gate.limits)
    if regression.broken and not gate.force:
        raise GateError(regression)
    return manifest.model_copy(update={"regression": regression})

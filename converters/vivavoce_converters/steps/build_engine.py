"""TensorRT: an ONNX file to an engine for this machine's GPU, with TensorRT 10 and 11 from the same graph and the same calls.

The network is strongly typed: what is INT8, float16 or float32 stands in the graph, so nothing is left to the builder's choice,
and nothing that TensorRT 11 removed (calibrators, precision flags) is used.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from vivavoce.bundle import Bundle, EngineFile
from vivavoce.bundle_writing import require_new, write_bundle
from vivavoce.engines.engine import load_engine
from vivavoce.engines.providers import cache_folder
from vivavoce.engines.self_test import self_test
from vivavoce.engines.tensorrt import collecting_log, environment, started
from vivavoce.errors import ConfigurationError, VivavoceError, needs_extra
from vivavoce.files import placing, sha256
from vivavoce.progress import Stages, quietly

from ..onnx_graph.float16 import mixed_precision
from ..quantization.tensorrt_rules import require_rules
from .engine_files import reference_windows

__all__ = ["BuildError", "BuildOptions", "build_engine", "build_engine_bundle"]

MEBIBYTE = 1 << 20
LEVELS = (1.0, 0.1, 0.01)


class BuildError(VivavoceError, RuntimeError):
    """TensorRT could not build an engine, or the engine does not score as its ONNX file does; nothing was written."""


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is to be. Its window is the bundle's; a call scores 1 to `batch` windows at once.

    `rest` is the precision of what is not INT8. `workspace` is how much GPU memory, in MiB, an operation may use for
    intermediate results. A `version_compatible` engine runs with later TensorRT versions too, brings code for the processor,
    and may be slower. `hardware` "same" is for GPUs of this compute capability alone, "ampere+" for Ampere and later ones.
    """

    batch: int = 1
    rest: Literal["float16", "float32"] = "float16"
    workspace: int = 2048
    version_compatible: bool = False
    hardware: Literal["same", "ampere+"] = "same"


def build_engine_bundle(
    bundle: Bundle,
    out: Path,
    target: str = "tensorrt",
    *,
    precision: str | None = None,
    options: BuildOptions | None = None,
    timing_cache: Path | None = None,
    stages: Stages = quietly,
) -> Bundle:
    """The bundle `out` (a new directory): `bundle` with one more engine, built for this machine and first in the list.

    It comes from the INT8 ONNX file for TensorRT, or that of `precision` ("int8" or "float32"); every other engine stays. What
    TensorRT timed on this machine is kept in `timing_cache`, by default a file of the user's cache folder, for later builds.
    Raises ConfigurationError for a bundle or options that allow no engine, MissingExtra without TensorRT, DeviceError without a
    GPU, BuildError where TensorRT refuses or the engine scores otherwise.
    """
    require_new(out)
    if target != "tensorrt":
        raise ConfigurationError(f'There is no target "{target}" to build an engine for. Choose one of: tensorrt.')
    options = options or BuildOptions()
    source = _source(bundle, precision)
    here = environment()
    content = _typed(bundle, source, options.rest)
    cache = timing_cache or cache_folder() / f"tensorrt-{here['tensorrt']}-sm{here['compute_capability']}.timing"
    window = bundle.manifest.audio.window
    plan = build_engine(content, source, window, options, timing_cache=cache, stages=stages)
    file = _engine_file(plan, source, here, options)
    files = {name: bundle.read(name, digest) for name, digest in bundle.listed().items()}
    others = (one for one in bundle.manifest.engines if one.file != file.file)
    manifest = bundle.manifest.model_copy(update={"engines": (file, *others)})
    with tempfile.TemporaryDirectory() as folder:
        made = write_bundle(Path(folder) / "trial", manifest, {**files, file.file: plan})
        _require_scores(made, file, source)
    return write_bundle(out, manifest, {**files, file.file: plan})


def build_engine(
    content: bytes,
    source: EngineFile,
    window: int,
    options: BuildOptions,
    *,
    timing_cache: Path | None = None,
    stages: Stages = quietly,
) -> bytes:
    """The serialized engine of an ONNX file whose input is (batch, window).

    Raises BuildError with TensorRT's reason, KeyboardInterrupt where the build was interrupted.
    """
    with needs_extra("tensorrt"):
        import tensorrt
    log, messages = collecting_log()
    builder = started(tensorrt.Builder, log)
    # On 11 every network is strongly typed, and the flag changes nothing.
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(content):
        raise BuildError(f"TensorRT {tensorrt.__version__} cannot read {source.file}: {_first_error(parser)}.")
    config = _configured(tensorrt, builder, source, window, options)
    monitor = _monitor(tensorrt, stages)
    config.progress_monitor = monitor
    _load_timings(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise BuildError(f"TensorRT {tensorrt.__version__} could not build {source.file}: {_explained(messages, options)}")
    _keep_timings(config, timing_cache)
    return bytes(plan)


def _explained(messages: list[str], options: BuildOptions) -> str:
    """TensorRT's reason for giving up, with what to try."""
    cause = messages[0] if messages else "it gives no reason"
    if "memory" in cause.lower():
        return f"{cause}. Free memory of the GPU, or try another workspace than {options.workspace} (MiB)."
    return f"{cause}. Leave the rest in float32, or try another version of TensorRT."


def _source(bundle: Bundle, precision: str | None) -> EngineFile:
    """The ONNX file that an engine is built from: INT8 for TensorRT before float32."""
    files = [file for file in bundle.manifest.engines if file.kind == "onnx"]
    wanted = [("int8", "tensorrt"), ("float32", "any")]
    for file in sorted(files, key=lambda file: file.precision != "int8"):
        if (file.precision, file.target) in wanted and precision in (None, file.precision):
            return file
    holds = ", ".join(f"{file.precision} ({file.target})" for file in files)
    raise ConfigurationError(
        f"The bundle has no ONNX file that a TensorRT engine can be built from{f' with {precision}' if precision else ''}. "
        f"It holds: {holds}. Make one: vivavoce quantize BUNDLE --target tensorrt --calibration CORPUS --out NEW."
    )


def _typed(bundle: Bundle, source: EngineFile, rest: str) -> bytes:
    """The ONNX file with what is not INT8 in the precision `rest`, by TensorRT's rules."""
    content = bundle.read(source.file, source.sha256)
    if source.data:
        raise ConfigurationError(f"{source.file} keeps weights in files of their own, which engines are not built from yet.")
    model = _scores_only(onnx.load_from_string(content), source)
    require_rules(model, source.file)
    return bytes((model if rest == "float32" else mixed_precision(model)).SerializeToString())


def _scores_only(model: onnx.ModelProto, source: EngineFile) -> onnx.ModelProto:
    """The model without the inputs and outputs of what it can carry from one call to the next."""
    for values, name in ((model.graph.input, source.input), (model.graph.output, source.output)):
        for value in [value for value in values if value.name != name]:
            values.remove(value)
    return model


def _configured(tensorrt: Any, builder: Any, source: EngineFile, window: int, options: BuildOptions) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, options.workspace * MEBIBYTE)
    # TensorFloat-32 has 11 bits where float32 has 24, which is what float32 is asked for.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(tensorrt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware == "ampere+":
        config.hardware_compatibility_level = tensorrt.HardwareCompatibilityLevel.AMPERE_PLUS
    profile = builder.create_optimization_profile()
    most = (options.batch, window)
    profile.set_shape(source.input, (1, window), most, most)
    config.add_optimization_profile(profile)
    return config


def _monitor(tensorrt: Any, stages: Stages) -> Any:
    """What TensorRT tells of its work, from several threads, passed on; an interruption cancels the build."""

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self._steps.get(phase_name, 1))

        def _tell(self, phase: str, done: int) -> None:
            # An exception must not travel through TensorRT's own frames.
            try:
                stages(phase)(done, self._steps.get(phase, 1))
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()


def _load_timings(config: Any, path: Path | None) -> None:
    """Lets the build use what was timed before; timings of another version or GPU are refused, and made anew."""
    known = path.read_bytes() if path is not None and path.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(known), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timings(config: Any, path: Path | None) -> None:
    cache = config.get_timing_cache()
    if path is None or cache is None:
        return
    with placing(path) as partial:
        partial.write_bytes(bytes(cache.serialize()))


def _first_error(parser: Any) -> str:
    error = parser.get_error(0)
    return f"{error.node_operator()} {error.node_name()}: {' '.join(error.desc().split())}"


def _engine_file(plan: bytes, source: EngineFile, here: dict[str, str], options: BuildOptions) -> EngineFile:
    version, capability = here["tensorrt"], here["compute_capability"]
    requires = {
        "tensorrt": f">={version}" if options.version_compatible else version,
        "compute_capability": ">=8.0" if options.hardware == "ampere+" else capability,
        "platform": here["platform"],
    }
    precision: Any = "int8" if source.precision == "int8" else options.rest
    return EngineFile(
        kind="tensorrt",
        precision=precision,
        target=f"sm{capability}",
        file=f"{precision}.tensorrt-{version}.sm{capability}.engine",
        sha256=sha256(plan),
        input=source.input,
        output=source.output,
        requires=requires,
    )


def _require_scores(bundle: Bundle, file: EngineFile, source: EngineFile) -> None:
    """Raises BuildError where the engine does not pass the bundle's self test, or scores otherwise than its ONNX file.

    The two are compared on the reference signal at three levels: float16 shows its limits where it is quiet.
    """
    engine, original = load_engine(bundle, file, host_code=True), load_engine(bundle, source)
    windows = np.concatenate([level * reference_windows(bundle.manifest.audio) for level in LEVELS]).astype(np.float32)
    difference = float(np.abs(engine.score(windows) - original.score(windows)).max())
    deviation, tolerance = max(self_test(bundle, engine), difference), bundle.manifest.self_test.tolerance
    if not deviation <= tolerance:
        raise BuildError(
            f"The engine's scores differ from those of {source.file} by {deviation:.2g}, more than {tolerance}. "
            f"Leave the rest in float32."
        )

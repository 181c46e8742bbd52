"""Engines: what turns windows of samples into scores. Each is imported only when a bundle's file asks for it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio import Samples
from ..bundle import Bundle, Carry, EngineFile
from ..errors import BundleError, ConfigurationError, DeviceError, MissingExtra, VivavoceError, needs_extra
from .names import present_of
from .providers import available, extra_of, require_provider, session
from .saturation import avoid_saturation

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["DEVICES", "Engine", "Incremental", "OnnxEngine", "Past", "load_engine", "load_onnx", "open_engine"]

Past = dict[str, NDArray[np.float32]]
"""What an engine keeps of the samples that it has heard, by the names of its inputs."""

DEVICES: dict[str, tuple[str, ...]] = {
    "auto": ("engine", "tensorrt", "tensorrt-rtx", "cpu"),
    "cpu": ("cpu",),
    "cuda": ("cuda",),
    "tensorrt": ("engine", "tensorrt"),
    "tensorrt-rtx": ("tensorrt-rtx",),
}
"""What each device stands for, in the order in which it is tried: "engine" is TensorRT itself, the rest are ONNX Runtime's."""


X86, ARM64 = ("x86_64", "amd64"), ("arm64", "aarch64")
"""What processors call themselves, by the system."""


class Engine(Protocol):
    """Scores windows. An engine has no state between calls and may be called from several threads at once."""

    @property
    def file(self) -> EngineFile: ...
    @property
    def provider(self) -> str: ...
    @property
    def incremental(self) -> Incremental | None:
        """What goes on from what it has computed; None where whole windows are scored only."""
        ...

    @property
    def skipped(self) -> tuple[str, ...]:
        """Why others were passed over that would have come first."""
        ...

    def score(self, windows: NDArray[np.float32]) -> Samples:
        """Raw scores (batch,), higher = more bona fide, from samples (batch, window)."""
        ...


class Incremental(Protocol):
    """Scores windows by what is new in them, from what it kept of those before. It has no state between calls either."""

    @property
    def carry(self) -> Carry:
        """How many samples a chunk has, and how many of context a window's score asks for."""
        ...

    def advance(self, samples: Samples, past: Past | None) -> tuple[float, Past]:
        """The raw score of the window that ends with `samples`, (n,) of whole chunks, and the past of those that follow.

        Without a past nothing was heard before, and the samples are one window at least.
        """
        ...


class OnnxEngine:
    """An ONNX file in ONNX Runtime. `data` holds the content of the further files that its weights are in, by name.

    On another device than the CPU the input's shape is fixed to `shape`, (batch, window), since GPUs compile for one shape; and
    one inference is made at once, so that what does not work there is known when the engine is opened. `skipped` tells why
    others were passed over. Raises BundleError for a file that ONNX Runtime cannot load, DeviceError for a device that it
    cannot use.
    """

    def __init__(
        self,
        content: bytes,
        file: EngineFile,
        *,
        data: Mapping[str, bytes] | None = None,
        threads: int = 1,
        session_options: onnxruntime.SessionOptions | None = None,
        device: str = "cpu",
        shape: tuple[int, int] | None = None,
        skipped: tuple[str, ...] = (),
    ) -> None:
        with needs_extra(extra_of(device)):
            import onnxruntime
        options = session_options or _lean(threads)
        # A file that asks for weights gets what was checked, or nothing: no folder can lie beneath the null device.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        if device == "cpu" and file.weight_bits == 8:  # Those of 7 bits saturate nowhere.
            avoid_saturation(options)
        if file.carry and session_options is None:
            options.log_severity_level = 3  # It would warn of each input that has a default.
        if shape is not None:
            for axis, size in zip(("batch", "samples"), shape, strict=True):
                options.add_free_dimension_override_by_name(axis, size)
        try:
            if data:
                options.add_external_initializers_from_files_in_memory(
                    list(data), list(data.values()), [len(content) for content in data.values()]
                )
            self._session = session(content, device, options)
        except VivavoceError:
            raise
        except Exception as error:  # ONNX Runtime's own exceptions share no parent.
            raise BundleError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {file.file}: {error}. Upgrade onnxruntime."
            ) from error
        self.file = file
        self.provider: str = self._session.get_providers()[0]
        self.incremental = _OnnxIncremental(self._session, file, file.carry) if file.carry and shape is None else None
        self.skipped = skipped
        self._batch = shape[0] if shape else None
        if shape is not None:
            self._try(shape)

    def __repr__(self) -> str:
        return f"<OnnxEngine {self.file.file} on {self.provider}>"

    def score(self, windows: NDArray[np.float32]) -> Samples:
        """Raw scores (batch,) from samples (batch, window)."""
        if self._batch is None:
            return self._run(windows, len(windows))
        size = self._batch
        return np.concatenate([self._run(windows[start : start + size], size) for start in range(0, len(windows), size)])

    def profile_file(self) -> Path:
        """Ends ONNX Runtime's profiling, where the session's options asked for it, and tells the file that it made."""
        return Path(self._session.end_profiling())

    def _run(self, windows: NDArray[np.float32], size: int) -> Samples:
        """Scores of at most `size` windows, filled up to that many with silence."""
        count = len(windows)
        if count < size:
            windows = np.concatenate([windows, np.zeros((size - count, windows.shape[1]), np.float32)])
        (scores,) = self._session.run([self.file.output], {self.file.input: windows})
        return np.asarray(scores, np.float32).reshape(size)[:count]

    def _try(self, shape: tuple[int, int]) -> None:
        try:
            self.score(np.zeros(shape, np.float32))
        except Exception as error:  # ONNX Runtime's own exceptions share no parent.
            raise DeviceError(f'{self.provider} cannot run {self.file.file}: {error}. Choose device="cpu".') from error


class _OnnxIncremental:
    """The inputs and outputs of an ONNX file for what it carries: "past..." is given what "present..." gave."""

    def __init__(self, session: onnxruntime.InferenceSession, file: EngineFile, carry: Carry) -> None:
        self._session, self._file, self.carry = session, file, carry
        self._pasts = [value.name for value in session.get_overridable_initializers()]
        self._outputs = [file.output, *map(present_of, self._pasts)]

    def advance(self, samples: Samples, past: Past | None) -> tuple[float, Past]:
        score, *presents = self._session.run(self._outputs, {self._file.input: samples[None], **(past or {})})
        return float(np.asarray(score).item()), dict(zip(self._pasts, presents, strict=True))


def _lean(threads: int) -> onnxruntime.SessionOptions:
    """Options for a guest in another's process."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A guest must not burn the host's cores while it waits for the next window.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_engine(
    bundle: Bundle,
    *,
    device: str = "auto",
    threads: int = 1,
    precision: str | None = None,
    session_options: onnxruntime.SessionOptions | None = None,
) -> Engine:
    """The bundle's first engine that runs on the device, its file checked against the manifest.

    "auto" is a TensorRT engine that was built for this machine, else ONNX Runtime with TensorRT where that is installed, else
    the CPU; `skipped` of the engine says why not the ones before. `precision` picks one of several, such as "float32" in a
    bundle that carries both. Raises ConfigurationError for an unknown device or precision, MissingExtra where the runtime is
    not installed, DeviceError where the device cannot be used, BundleError where the file is not as the manifest says.
    """
    if device not in DEVICES:
        raise ConfigurationError(f'There is no device "{device}". Choose one of: {", ".join(DEVICES)}.')
    reasons: list[ConfigurationError | DeviceError | MissingExtra] = []
    for runtime in DEVICES[device]:
        if device == "auto" and not _worth_trying(runtime, bundle, session_options):
            continue
        try:
            files = _suitable(runtime, bundle, precision)
        except (ConfigurationError, DeviceError, MissingExtra) as error:
            reasons.append(error)
            continue
        for file in files:
            try:
                return load_engine(
                    bundle,
                    file,
                    device=runtime,
                    threads=threads,
                    session_options=session_options,
                    host_code=device == "tensorrt",
                    skipped=tuple(map(str, reasons)),
                )
            except (DeviceError, MissingExtra) as error:
                reasons.append(error)
    raise reasons[0]


def load_engine(
    bundle: Bundle,
    file: EngineFile,
    *,
    device: str = "cpu",
    threads: int = 1,
    session_options: onnxruntime.SessionOptions | None = None,
    host_code: bool = False,
    skipped: tuple[str, ...] = (),
) -> Engine:
    """The engine in one of the bundle's files, checked against the manifest. Raises as `open_engine`.

    `device` is where an ONNX file runs; `host_code` is for TensorRT's, as `TensorRTEngine` has it; `skipped` tells why others
    were passed over.
    """
    if file.kind == "tensorrt":
        from .tensorrt import TensorRTEngine, require_environment

        require_environment(file)
        return TensorRTEngine(bundle.read(file.file, file.sha256), file, host_code=host_code, skipped=skipped)
    return load_onnx(bundle, file, device=device, threads=threads, session_options=session_options, skipped=skipped)


def load_onnx(
    bundle: Bundle,
    file: EngineFile,
    *,
    device: str = "cpu",
    threads: int = 1,
    session_options: onnxruntime.SessionOptions | None = None,
    skipped: tuple[str, ...] = (),
) -> OnnxEngine:
    """As `load_engine`, of an ONNX file."""
    if device != "cpu":
        require_provider(device)
    data = {name: bundle.read(name, digest) for name, digest in file.data.items()}
    content = bundle.read(file.file, file.sha256)
    shape = None if device == "cpu" else (1, bundle.manifest.audio.window)
    return OnnxEngine(
        content,
        file,
        data=data,
        threads=threads,
        session_options=session_options,
        device=device,
        shape=shape,
        skipped=skipped,
    )


def _worth_trying(runtime: str, bundle: Bundle, session_options: onnxruntime.SessionOptions | None) -> bool:
    """Whether "auto" looks at a runtime at all: what nobody installed or packed needs no reason for being passed over.

    A GPU's session leaves its mark on the caller's options, which the CPU could then not use.
    """
    if runtime == "engine":
        return any(file.kind == "tensorrt" for file in bundle.manifest.engines)
    return runtime == "cpu" or (session_options is None and available(runtime))


def _suitable(runtime: str, bundle: Bundle, precision: str | None) -> list[EngineFile]:
    """The files that a runtime may be tried with: of TensorRT all, of ONNX the first, on the CPU the first of its precision
    that was not made for another architecture. Raises where there is none."""
    kind = "tensorrt" if runtime == "engine" else "onnx"
    engines = [file for file in bundle.manifest.engines if file.kind == kind and precision in (None, file.precision)]
    if runtime not in ("engine", "cpu"):
        # What was quantized for a processor is slow on a GPU, or refused by it.
        engines = [file for file in engines if file.precision != "int8" or file.target == "tensorrt"]
    if runtime == "cpu" and engines:
        first = engines[0].precision
        engines.sort(key=lambda file: (file.precision != first, _foreign(file.target)))
    if runtime == "cuda":
        engines.sort(key=lambda file: file.precision == "int8")  # It has no INT8 kernels.
    if engines:
        return engines if runtime == "engine" else engines[:1]
    if runtime == "engine":
        from .tensorrt import REBUILD, environment

        environment()
        raise ConfigurationError(f'The bundle "{bundle.manifest.name}" holds no TensorRT engine. {REBUILD}.')
    require_provider(runtime)
    holds = ", ".join(f"{file.kind} {file.precision} ({file.target})" for file in bundle.manifest.engines)
    wanted = f" of precision {precision}" if precision else ""
    raise ConfigurationError(f"The bundle has no ONNX engine{wanted} for {runtime}. It holds: {holds}.")


def _foreign(target: str) -> bool:
    """Whether an ONNX file was made for processors of another architecture than this one; it runs here, but slowly."""
    machines = {"x86-vnni": X86, "x86-avx2": X86, "arm64": ARM64}.get(target)
    return machines is not None and platform.machine().lower() not in machines

"""Engines: what turns windows of samples into scores. Each is imported only when a bundle's file asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from .audio import Samples
from .bundle import Bundle, EngineFile
from .errors import BundleError, ConfigurationError, needs_extra

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["DEVICES", "Engine", "OnnxEngine", "load_engine", "open_engine"]

DEVICES = ("auto", "cpu")


class Engine(Protocol):
    """Scores windows. An engine has no state between calls and may be called from several threads at once."""

    file: EngineFile
    provider: str

    def score(self, windows: NDArray[np.float32]) -> Samples:
        """Raw scores (batch,), higher = more bona fide, from samples (batch, window)."""
        ...


class OnnxEngine:
    """An ONNX file in ONNX Runtime."""

    def __init__(
        self,
        content: bytes,
        file: EngineFile,
        *,
        threads: int = 1,
        session_options: onnxruntime.SessionOptions | None = None,
    ) -> None:
        with needs_extra("cpu"):
            import onnxruntime
        options = session_options or onnxruntime.SessionOptions()
        if session_options is None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # A guest must not burn the host's cores while it waits for the next window.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no parent.
            raise BundleError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {file.file}: {error}. Upgrade onnxruntime."
            ) from error
        self.file = file
        self.provider: str = self._session.get_providers()[0]

    def score(self, windows: NDArray[np.float32]) -> Samples:
        """Raw scores (batch,) from samples (batch, window)."""
        (scores,) = self._session.run([self.file.output], {self.file.input: windows})
        return np.asarray(scores, np.float32).reshape(len(windows))


def open_engine(
    bundle: Bundle,
    *,
    device: str = "auto",
    threads: int = 1,
    precision: str | None = None,
    session_options: onnxruntime.SessionOptions | None = None,
) -> Engine:
    """The bundle's first engine that suits the device, its file checked against the manifest.

    `precision` picks one of several, such as "float32" in a bundle that carries both. Raises ConfigurationError for an unknown
    device or precision, MissingExtra where the runtime is not installed, BundleError where the file is not as the manifest
    says.
    """
    if device not in DEVICES:
        raise ConfigurationError(f'There is no device "{device}". Choose one of: {", ".join(DEVICES)}.')
    engines = [e for e in bundle.manifest.engines if e.kind == "onnx" and precision in (None, e.precision)]
    if not engines:
        choices = ", ".join(f"{e.kind} {e.precision}" for e in bundle.manifest.engines)
        raise ConfigurationError(f"The bundle has no ONNX engine of precision {precision}. It holds: {choices}.")
    return load_engine(bundle, engines[0], threads=threads, session_options=session_options)


def load_engine(
    bundle: Bundle, file: EngineFile, *, threads: int = 1, session_options: onnxruntime.SessionOptions | None = None
) -> Engine:
    """The engine in one of the bundle's files, checked against the manifest. Raises as `open_engine`."""
    if file.kind != "onnx":
        raise ConfigurationError(f"{file.file} is a {file.kind} engine. This version opens: onnx.")
    return OnnxEngine(bundle.read(file.file, file.sha256), file, threads=threads, session_options=session_options)

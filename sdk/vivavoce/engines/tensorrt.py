"""TensorRT: the engine files of a bundle on an NVIDIA GPU, by NVIDIA's own Python bindings. TensorRT 10 and 11 alike."""

from __future__ import annotations

import ctypes
import platform
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio import Samples
from ..bundle import EngineFile
from ..errors import BundleError, DeviceError, needs_extra, release

__all__ = ["REBUILD", "TensorRTEngine", "collecting_log", "environment", "require_environment", "started"]

Shape = tuple[int, ...]
REBUILD = "Build it on this machine: vivavoce build-engine BUNDLE --target tensorrt --out NEW"


class TensorRTEngine:
    """A serialized TensorRT engine on the first GPU that the process sees.

    Each call works on a lane of its own, so that threads infer side by side; lanes are kept for the calls to come. `host_code`
    lets TensorRT run the code for the processor that a version-compatible engine brings with it: only for bundles that are
    trusted as programs are. Its shapes are fixed, so it scores whole windows only. Raises DeviceError where TensorRT cannot
    load the engine, BundleError where its tensors are not those that the manifest names, MissingExtra without the bindings.
    """

    def __init__(self, content: bytes, file: EngineFile, *, host_code: bool = False, skipped: tuple[str, ...] = ()) -> None:
        tensorrt, _ = _bindings()
        if file.requires.get("tensorrt", "").startswith(">=") and not host_code:
            raise DeviceError(f'{file.file} brings code for the processor, which only device="tensorrt" lets run. {REBUILD}.')
        self.file = file
        self.provider = f"TensorRT {tensorrt.__version__}"
        self.incremental = None
        self.skipped = skipped
        self._log, messages = collecting_log()
        self._runtime = started(tensorrt.Runtime, self._log)
        self._runtime.engine_host_code_allowed = host_code
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            cause = messages[0] if messages else "it gives no reason"
            raise DeviceError(f"{self.provider} cannot load {file.file}: {cause}. {REBUILD}.")
        _require_tensors(self._engine, file)
        self._largest = int(self._engine.get_tensor_profile_shape(file.input, 0)[2][0])
        self._idle: dict[Shape, list[_Lane]] = defaultdict(list)
        self._lock = threading.Lock()

    def score(self, windows: NDArray[np.float32]) -> Samples:
        """Raw scores (batch,) from samples (batch, window), in pieces where the batch is larger than the engine's profile."""
        pieces = [windows[start : start + self._largest] for start in range(0, len(windows), self._largest)]
        return np.concatenate([self._run(piece) for piece in pieces])

    def _run(self, windows: NDArray[np.float32]) -> Samples:
        with self._lane(windows.shape) as lane:
            return lane.run(windows)

    @contextmanager
    def _lane(self, shape: Shape) -> Iterator[_Lane]:
        """A lane that no other call has. One whose run failed is not used again."""
        with self._lock:
            idle = self._idle[shape]
            lane = idle.pop() if idle else _Lane(self._engine, self.file, shape)
        yield lane
        with self._lock:
            idle.append(lane)


class _Lane:
    """Inference on inputs of one shape, one at a time: a context, a stream, pinned buffers and their twins on the GPU.

    The copies and the kernels are recorded as a CUDA graph, which one call launches; where something in the engine cannot be
    recorded, they are launched one by one.
    """

    def __init__(self, engine: Any, file: EngineFile, shape: Shape) -> None:
        _, self._cuda = _bindings()
        self._owned = ExitStack()
        weakref.finalize(self, self._owned.close)
        self._context = engine.create_execution_context()
        if self._context is None or not self._context.set_input_shape(file.input, shape):
            raise DeviceError(f"{file.file} does not take samples of shape {shape}. {REBUILD}.")
        self._stream = self._own(self._cuda.cudaStreamDestroy, self._cuda.cudaStreamCreateWithFlags, NON_BLOCKING)
        self._input, self._input_address = self._buffers(shape)
        self._output, self._output_address = self._buffers(shape[:1])
        self._context.set_tensor_address(file.input, self._input_address)
        self._context.set_tensor_address(file.output, self._output_address)
        self._graph: Any = None
        # TensorRT sets itself up in the first run, which cannot be recorded.
        self.run(np.zeros(shape, np.float32))
        self._graph = self._record()

    def run(self, windows: NDArray[np.float32]) -> Samples:
        """Raw scores (batch,) from samples of the lane's shape."""
        self._input[:] = windows
        if self._graph is None:
            self._enqueue()
        else:
            _checked(self._cuda.cudaGraphLaunch(self._graph, self._stream))
        _checked(self._cuda.cudaStreamSynchronize(self._stream))
        return self._output.copy()

    def _enqueue(self) -> None:
        kind, copy = self._cuda.cudaMemcpyKind, self._cuda.cudaMemcpyAsync
        up, down = kind.cudaMemcpyHostToDevice, kind.cudaMemcpyDeviceToHost
        _checked(copy(self._input_address, self._input.ctypes.data, self._input.nbytes, up, self._stream))
        if not self._context.execute_async_v3(int(self._stream)):
            raise DeviceError("TensorRT could not start an inference. Look for the GPU's state with: nvidia-smi.")
        _checked(copy(self._output.ctypes.data, self._output_address, self._output.nbytes, down, self._stream))

    def _record(self) -> Any:
        """The work of one run as a CUDA graph; None where it cannot be one."""
        cuda = self._cuda
        # Other threads may allocate meanwhile, which a global capture would forbid them.
        _checked(cuda.cudaStreamBeginCapture(self._stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            self._enqueue()
        except DeviceError:
            cuda.cudaStreamEndCapture(self._stream)
            return None
        status, graph = cuda.cudaStreamEndCapture(self._stream)
        if status != cuda.cudaError_t.cudaSuccess:
            return None
        self._owned.callback(cuda.cudaGraphDestroy, graph)
        return self._own(cuda.cudaGraphExecDestroy, cuda.cudaGraphInstantiate, graph, 0)

    def _buffers(self, shape: Shape) -> tuple[Samples, int]:
        """Pinned float32 memory of that shape, and the address of as much on the GPU."""
        cuda, count = self._cuda, int(np.prod(shape))
        pinned = self._own(cuda.cudaFreeHost, cuda.cudaMallocHost, 4 * count)
        array = np.ctypeslib.as_array((ctypes.c_float * count).from_address(int(pinned))).reshape(shape)
        return array, int(self._own(cuda.cudaFree, cuda.cudaMalloc, 4 * count))

    def _own(self, release: Any, acquire: Any, *arguments: Any) -> Any:
        """What `acquire` gives, to be released with the lane."""
        handle = _checked(acquire(*arguments))
        self._owned.callback(release, handle)
        return handle


NON_BLOCKING = 1
"""cudaStreamNonBlocking: a stream that does not wait for the host application's own work on the default stream."""


def environment() -> dict[str, str]:
    """What an engine depends on, as this machine has it: "tensorrt", "compute_capability" (of the GPU), "platform".

    Raises MissingExtra without the bindings, DeviceError without a GPU that they can use.
    """
    tensorrt, cuda = _bindings()
    device = _checked(cuda.cudaGetDevice())
    attributes = cuda.cudaDeviceAttr
    major, minor = (
        _checked(cuda.cudaDeviceGetAttribute(attribute, device))
        for attribute in (attributes.cudaDevAttrComputeCapabilityMajor, attributes.cudaDevAttrComputeCapabilityMinor)
    )
    return {
        "tensorrt": tensorrt.__version__,
        "compute_capability": f"{major}.{minor}",
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
    }


def require_environment(file: EngineFile) -> None:
    """Raises DeviceError where this machine has not what the engine requires, and otherwise as `environment`."""
    here = environment()
    for name, needed in file.requires.items():
        found = here.get(name)
        if found is None or not _meets(found, needed):
            raise DeviceError(f"{file.file} needs {name} {needed}, and this machine has {found or 'none'}. {REBUILD}.")


def _meets(found: str, needed: str) -> bool:
    """Whether "10.13.3" meets "10.13" (the same, as far as it is told) or ">=10.7" (the same or a later one)."""
    if needed.startswith(">="):
        return release(found) >= release(needed.removeprefix(">="))
    return found == needed or found.startswith(f"{needed}.")


def collecting_log() -> tuple[Any, list[str]]:
    """A logger for TensorRT, and the list that its errors go to; everything else that TensorRT says is dropped."""
    tensorrt, _ = _bindings()
    messages: list[str] = []

    class Log(tensorrt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(tensorrt.ILogger.Severity.ERROR):
                messages.append(" ".join(msg.split()))

    return Log(), messages


def started(factory: Any, log: Any) -> Any:
    """TensorRT's Runtime or Builder with that logger. Raises DeviceError where TensorRT gives none, as without a driver."""
    try:
        return factory(log)
    except TypeError as error:  # pybind11's, for a null pointer.
        raise DeviceError("TensorRT does not start. See with nvidia-smi whether the GPU and its driver work.") from error


def _bindings() -> tuple[Any, Any]:
    """NVIDIA's modules `tensorrt` and `cuda.bindings.runtime`."""
    with needs_extra("tensorrt"):
        try:
            import tensorrt
            from cuda.bindings import runtime
        except ModuleNotFoundError:
            raise
        except (ImportError, OSError) as error:
            raise DeviceError(
                f'TensorRT is installed, but cannot be loaded: {error}. Run: pip install --force-reinstall "vivavoce[tensorrt]"'
            ) from error
    return tensorrt, runtime


def _checked(answer: tuple[Any, ...]) -> Any:
    """The value of a CUDA call, which gives its status first. Raises DeviceError with CUDA's own words."""
    _, cuda = _bindings()
    status, *values = answer
    if status != cuda.cudaError_t.cudaSuccess:
        words = cuda.cudaGetErrorString(status)[1].decode()
        raise DeviceError(f'The NVIDIA GPU cannot be used: {words}. See nvidia-smi, or choose device="cpu".')
    return values[0] if values else None


def _require_tensors(engine: Any, file: EngineFile) -> None:
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if names != {file.input, file.output}:
        raise BundleError(
            f"{file.file} has the tensors {', '.join(sorted(names))}; the manifest names {file.input} and {file.output}. "
            f"Build it again."
        )

"""TensorRT and the CUDA runtime without a GPU: the calls that vivavoce makes, as NVIDIA's bindings make them.

Names, parameters and members of enumerations are those that tensorrt_api.json holds for each version (test_tensorrt.py compares
them). Like the originals, CUDA gives (status, value) and raises nothing, TensorRT gives None or False and tells its logger why,
objects of C++ must have had their __init__ called, and work is done in the order of its stream, not before it is synchronised.

An "engine" is its ONNX file, which ONNX Runtime runs on the CPU.
"""

from __future__ import annotations

import ctypes
import enum
import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

__all__ = ["API", "CUDA_API", "VERSIONS", "Gpu", "install"]

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text("utf-8"))
API, CUDA_API = RECORDED["tensorrt"], RECORDED["cuda-bindings"]
VERSIONS = tuple(API)


Status = enum.IntEnum(
    "Status",
    {
        **{"cudaSuccess": 0, "cudaErrorInvalidValue": 1, "cudaErrorInsufficientDriver": 35},
        **{"cudaErrorInvalidResourceHandle": 400, "cudaErrorStreamCaptureInvalidated": 901},
    },
)
MemcpyKind = enum.IntEnum("MemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})
CaptureMode = enum.IntEnum("CaptureMode", {"cudaStreamCaptureModeGlobal": 0, "cudaStreamCaptureModeThreadLocal": 1})
DeviceAttribute = enum.IntEnum(
    "DeviceAttribute", {"cudaDevAttrComputeCapabilityMajor": 75, "cudaDevAttrComputeCapabilityMinor": 76}
)


class Handle:
    """What cuda-python gives for a stream or a graph: no integer, but convertible to one."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        self.invalid = False

    def __int__(self) -> int:
        return id(self)


class Gpu:
    """The state of the machine: what is allocated, and what it can do."""

    def __init__(self, version: str, capability: tuple[int, int]) -> None:
        self.version, self.capability = version, capability
        self.driver = True
        self.starts = True
        self.records_graphs = True
        self.memory = 8 << 30
        self.error_when_quiet = 0.0
        self.pinned: dict[int, Any] = {}
        self.device: dict[int, Any] = {}
        self.handles: dict[int, Handle] = {}
        self.launches = 0
        self.config: Any = None
        self.network: Any = None

    def live(self) -> int:
        """How many allocations, streams and graphs have not been released."""
        return len(self.pinned) + len(self.device) + len(self.handles)

    def error(self, handle: Any = None) -> Status | None:
        """Why a call cannot work at all."""
        if not self.driver:
            return Status.cudaErrorInsufficientDriver
        if handle is not None and int(handle) not in self.handles:
            return Status.cudaErrorInvalidResourceHandle
        return None

    def push(self, handle: Handle, work: Callable[[], None]) -> None:
        (handle.work if handle.captured is None else handle.captured).append(work)


def cuda_runtime(gpu: Gpu) -> ModuleType:
    """The module cuda.bindings.runtime."""
    module: Any = ModuleType("cuda.bindings.runtime")
    module.cudaError_t, module.cudaMemcpyKind = Status, MemcpyKind
    module.cudaStreamCaptureMode, module.cudaDeviceAttr = CaptureMode, DeviceAttribute

    def allocate(where: dict[int, Any], size: int) -> tuple[Status, int | None]:
        if error := gpu.error():
            return error, None
        buffer = ctypes.create_string_buffer(size)
        where[ctypes.addressof(buffer)] = buffer
        return Status.cudaSuccess, ctypes.addressof(buffer)

    def release(where: dict[int, Any], key: Any) -> tuple[Status]:
        return (Status.cudaErrorInvalidValue if where.pop(int(key), None) is None else Status.cudaSuccess,)

    def new_handle() -> Handle:
        handle = Handle()
        gpu.handles[int(handle)] = handle
        return handle

    def stream(flags: int) -> tuple[Status, Handle | None]:
        return (error, None) if (error := gpu.error()) else (Status.cudaSuccess, new_handle())

    def copy(dst: int, src: int, count: int, kind: Any, stream: Handle) -> tuple[Status]:
        up = kind is MemcpyKind.cudaMemcpyHostToDevice
        host, device = (src, dst) if up else (dst, src)
        buffers = gpu.pinned.get(host), gpu.device.get(device)
        if gpu.error(stream) or None in buffers or any(len(buffer) < count for buffer in buffers):
            return (Status.cudaErrorInvalidValue,)
        gpu.push(stream, lambda: ctypes.memmove(dst, src, count) and None)
        return (Status.cudaSuccess,)

    def synchronize(stream: Handle) -> tuple[Status]:
        if error := gpu.error(stream):
            return (error,)
        work, stream.work = stream.work, []
        for item in work:
            item()
        return (Status.cudaSuccess,)

    def begin(stream: Handle, mode: Any) -> tuple[Status]:
        assert isinstance(mode, CaptureMode)
        stream.captured, stream.invalid = [], False
        return (Status.cudaSuccess,)

    def end(stream: Handle) -> tuple[Status, Handle | None]:
        captured, stream.captured = stream.captured, None
        if captured is None or stream.invalid or not gpu.records_graphs:
            return Status.cudaErrorStreamCaptureInvalidated, None
        graph = new_handle()
        graph.work = captured
        return Status.cudaSuccess, graph

    def instantiate(graph: Handle, flags: int) -> tuple[Status, Handle | None]:
        if error := gpu.error(graph):
            return error, None
        executable = new_handle()
        executable.work = graph.work
        return Status.cudaSuccess, executable

    def launch(executable: Handle, stream: Handle) -> tuple[Status]:
        if error := gpu.error(executable) or gpu.error(stream):
            return (error,)
        gpu.launches += 1
        stream.work.extend(executable.work)
        return (Status.cudaSuccess,)

    def attribute(attr: Any, device: int) -> tuple[Status, int]:
        return Status.cudaSuccess, gpu.capability[attr - DeviceAttribute.cudaDevAttrComputeCapabilityMajor]

    module.cudaGetDevice = lambda: (gpu.error() or Status.cudaSuccess, 0 if gpu.driver else None)
    module.cudaDeviceGetAttribute = attribute
    module.cudaGetErrorString = lambda error: (Status.cudaSuccess, f"words for {Status(error).name}".encode())
    module.cudaMalloc = lambda size: allocate(gpu.device, size)
    module.cudaMallocHost = lambda size: allocate(gpu.pinned, size)
    module.cudaFree = lambda address: release(gpu.device, address)
    module.cudaFreeHost = lambda address: release(gpu.pinned, address)
    module.cudaStreamCreateWithFlags, module.cudaStreamSynchronize = stream, synchronize
    module.cudaStreamBeginCapture, module.cudaStreamEndCapture = begin, end
    module.cudaGraphInstantiate, module.cudaGraphLaunch, module.cudaMemcpyAsync = instantiate, launch, copy
    module.cudaStreamDestroy = lambda stream: release(gpu.handles, stream)
    module.cudaGraphDestroy = lambda graph: release(gpu.handles, graph)
    module.cudaGraphExecDestroy = lambda executable: release(gpu.handles, executable)
    return module  # type: ignore[no-any-return]


class FromCpp:
    """A class of C++, whose part is missing where a subclass forgets to call __init__."""

    def __init__(self) -> None:
        self._made = True


def made(instance: Any) -> Any:
    if not getattr(instance, "_made", False):
        raise TypeError(f"{type(instance).__name__}.__init__() must be called when overriding __init__")
    return instance


def enumeration(name: str, members: dict[str, int]) -> Any:
    """As pybind11's: members convert to integers, and are none."""
    return enum.Enum(name, members, type=type("Pybind", (), {"__int__": lambda self: self.value}))  # type: ignore[call-overload]


class HostMemory:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return self._content


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        self.shapes[input] = [tuple(min), tuple(opt), tuple(max)]


class Network:
    def __init__(self, strongly_typed: bool) -> None:
        self.strongly_typed, self.content = strongly_typed, b""


class ParserError:
    def __init__(self, node: onnx.NodeProto, words: str) -> None:
        self._node, self._words = node, words

    def node_name(self) -> str:
        return self._node.name

    def node_operator(self) -> str:
        return self._node.op_type

    def desc(self) -> str:
        return self._words


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> HostMemory:
        return HostMemory(self.content)


def tensorrt_module(gpu: Gpu) -> ModuleType:
    """The module tensorrt, of the GPU's version."""
    module: Any = ModuleType("tensorrt")
    module.__version__ = gpu.version
    for name, members in API[gpu.version]["enumerations"].items():
        owner, _, inner = name.rpartition(".")
        if not owner:
            setattr(module, name, enumeration(inner, members))

    class ILogger(FromCpp):
        Severity = enumeration("Severity", API[gpu.version]["enumerations"]["ILogger.Severity"])

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    class IProgressMonitor(FromCpp):
        pass

    def fail(logger: ILogger, words: str) -> None:
        logger.log(ILogger.Severity.INFO, "nothing of importance")
        logger.log(ILogger.Severity.ERROR, words)

    def require_start() -> None:
        if not gpu.starts:
            raise TypeError("pybind11::init(): factory function returned nullptr")

    class BuilderConfig:
        __slots__ = ("_monitor", "cache", "flags", "hardware_compatibility_level", "pools", "profiles")

        def __init__(self) -> None:
            self.flags = {module.BuilderFlag.TF32}
            self.pools: dict[Any, int] = {}
            self.profiles: list[Profile] = []
            self.hardware_compatibility_level = module.HardwareCompatibilityLevel.NONE
            self.cache: TimingCache | None = None
            self._monitor: Any = None

        @property
        def progress_monitor(self) -> Any:
            return self._monitor

        @progress_monitor.setter
        def progress_monitor(self, monitor: Any) -> None:
            assert isinstance(made(monitor), IProgressMonitor)
            self._monitor = monitor

        def set_flag(self, flag: Any) -> None:
            assert isinstance(flag, module.BuilderFlag)
            self.flags.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self.flags.discard(flag)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            assert isinstance(pool, module.MemoryPoolType)
            self.pools[pool] = pool_size

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
            return TimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            if cache.content and not cache.content.startswith(mark()) and not ignore_mismatch:
                return False
            self.cache = cache
            return True

        def get_timing_cache(self) -> TimingCache | None:
            return self.cache

    def mark() -> bytes:
        return f"timings {gpu.version} {gpu.capability}".encode()

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            assert isinstance(made(logger), ILogger)
            require_start()
            self._logger = logger

        def create_network(self, flags: int = 0) -> Network:
            asked = bool(flags >> int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED) & 1)
            gpu.network = Network(asked or gpu.version >= "11")
            return gpu.network  # type: ignore[no-any-return]

        def create_builder_config(self) -> BuilderConfig:
            gpu.config = BuilderConfig()
            return gpu.config  # type: ignore[no-any-return]

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: BuilderConfig) -> HostMemory | None:
            if not network.strongly_typed:
                fail(self._logger, "Int8 precision has been set for a layer, but int8 is not configured in the builder")
                return None
            if config.pools[module.MemoryPoolType.WORKSPACE] > gpu.memory:
                fail(
                    self._logger,
                    "[virtualMemoryBuffer.cpp::resizePhysical] Error Code 2:\n OutOfMemory (Requested size was\n 9 GiB)",
                )
                return None
            if not report(config.progress_monitor):
                return None
            if config.cache is not None and not config.cache.content:
                config.cache.content = mark() + b": 17 tactics"
            compatible = module.BuilderFlag.VERSION_COMPATIBLE in config.flags
            level = config.hardware_compatibility_level
            header = {
                **{"version": gpu.version, "capability": gpu.capability, "compatible": compatible, "level": int(level)},
                "shapes": config.profiles[0].shapes,
            }
            return HostMemory(b"plan" + json.dumps(header).encode() + b"\n" + network.content)

    def report(monitor: Any) -> bool:
        """Two phases, one within the other, told of from a thread of TensorRT's; False where the build was cancelled."""
        if monitor is None:
            return True
        go_on = [True]

        def work() -> None:
            monitor.phase_start("Building engine", None, 2)
            monitor.phase_start("Timing tactics", "Building engine", 3)
            go_on[0] = all(monitor.step_complete("Timing tactics", step) for step in range(3))
            monitor.phase_finish("Timing tactics")
            monitor.step_complete("Building engine", 0)
            monitor.phase_finish("Building engine")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return go_on[0]

    class OnnxParser:
        def __init__(self, network: Network, logger: ILogger) -> None:
            self._network, self._errors = network, list[ParserError]()
            made(logger)

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

        def parse(self, model: bytes, path: str | None = None) -> bool:
            graph = onnx.load_from_string(model).graph
            values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
            for node in graph.node:
                if node.op_type in ("QuantizeLinear", "DequantizeLinear") and (words := refusal(node, values)):
                    self._errors.append(ParserError(node, words))
                    return False
            self._network.content = model
            return True

    class CudaEngine:
        def __init__(self, header: dict[str, Any], content: bytes) -> None:
            self._header = header
            self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            self._names = [value.name for value in (*self.session.get_inputs(), *self.session.get_outputs())]

        @property
        def num_io_tensors(self) -> int:
            return len(self._names)

        def get_tensor_name(self, index: int) -> str:
            return self._names[index]

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            assert profile_index == 0
            return [tuple(shape) for shape in self._header["shapes"][name]]

        def create_execution_context(self) -> ExecutionContext:
            return ExecutionContext(self)

    class ExecutionContext:
        def __init__(self, engine: CudaEngine) -> None:
            self._engine, self._ran = engine, False
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            least, _, most = self._engine.get_tensor_profile_shape(name, 0)
            self._shapes[name] = shape
            return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

        def set_tensor_address(self, name: str, memory: int) -> bool:
            assert memory in gpu.device
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert type(stream_handle) is int
            stream = gpu.handles[stream_handle]
            if len(self._addresses) < self._engine.num_io_tensors or not self._shapes:
                return False
            if stream.captured is not None and not self._ran:
                stream.invalid = True
                return False
            self._ran = True
            gpu.push(stream, self._infer)
            return True

        def _infer(self) -> None:
            ((name, shape),) = self._shapes.items()
            (output,) = set(self._addresses) - {name}
            samples = np.frombuffer(gpu.device[self._addresses[name]], np.float32, int(np.prod(shape))).reshape(shape)
            (scores,) = self._engine.session.run([output], {name: samples})
            scores += np.float32(gpu.error_when_quiet) * (np.abs(samples).max(axis=1) < 0.02)
            ctypes.memmove(self._addresses[output], np.ascontiguousarray(scores).ctypes.data, scores.nbytes)

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            require_start()
            self._logger, self.engine_host_code_allowed = made(logger), False

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None:
            if not serialized_engine.startswith(b"plan"):
                return fail(self._logger, "Magic tag does not match")
            head, _, content = serialized_engine.removeprefix(b"plan").partition(b"\n")
            header = json.loads(head)
            if header["compatible"] and not self.engine_host_code_allowed:
                return fail(self._logger, "The engine contains host code, and engineHostCodeAllowed is not set")
            if header["version"] != gpu.version and not header["compatible"]:
                return fail(self._logger, f"expecting library version {gpu.version} got {header['version']}")
            return CudaEngine(header, content)

    for one in (ILogger, IProgressMonitor, Builder, OnnxParser, Runtime):
        setattr(module, one.__name__, one)
    module.fakes = {
        **{"Builder": Builder, "OnnxParser": OnnxParser, "Runtime": Runtime, "IBuilderConfig": BuilderConfig},
        **{"ICudaEngine": CudaEngine, "IExecutionContext": ExecutionContext, "IOptimizationProfile": Profile},
        **{"ITimingCache": TimingCache, "ParserError": ParserError},
    }
    return module  # type: ignore[no-any-return]


def refusal(node: onnx.NodeProto, values: dict[str, Any]) -> str | None:
    """What TensorRT's parser says to a Q/DQ node, where it does not take it."""
    if values[node.input[2]].any():
        return "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported."
    if values[node.input[2]].dtype == np.int32:
        return "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8."
    return None


def install(monkeypatch: pytest.MonkeyPatch, version: str = VERSIONS[-1], capability: tuple[int, int] = (8, 7)) -> Gpu:
    """Puts the fakes in place of NVIDIA's packages for the length of a test."""
    gpu = Gpu(version, capability)
    bindings: Any = ModuleType("cuda.bindings")
    bindings.runtime = cuda_runtime(gpu)
    for name, module in {
        **{"tensorrt": tensorrt_module(gpu), "cuda": ModuleType("cuda"), "cuda.bindings": bindings},
        "cuda.bindings.runtime": bindings.runtime,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return gpu

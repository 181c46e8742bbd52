"""Prints what NVIDIA's Python bindings declare of the calls in nvidia.py, as an entry of tensorrt_api.json.

Give a module: python tests/fakes/record_tensorrt_api.py tensorrt, or cuda.bindings.runtime. The bindings hold their signatures
in docstrings; those of TensorRT need libnvinfer, libnvonnxparser and libnvinfer_plugin to be found, and none needs a GPU.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

MEMBERS = {
    "Builder": (
        "__init__",
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    ),
    "OnnxParser": ("__init__", "parse", "num_errors", "get_error"),
    "ParserError": ("node_name", "node_operator", "desc"),
    "IBuilderConfig": (
        *("add_optimization_profile", "clear_flag", "create_timing_cache", "get_timing_cache", "hardware_compatibility_level"),
        *("progress_monitor", "set_flag", "set_memory_pool_limit", "set_timing_cache"),
    ),
    "ITimingCache": ("serialize",),
    "IOptimizationProfile": ("set_shape",),
    "IProgressMonitor": ("__init__", "phase_start", "step_complete", "phase_finish"),
    "ILogger": ("__init__", "log"),
    "Runtime": ("__init__", "deserialize_cuda_engine", "engine_host_code_allowed"),
    "ICudaEngine": ("create_execution_context", "get_tensor_name", "get_tensor_profile_shape", "num_io_tensors"),
    "IExecutionContext": ("execute_async_v3", "set_input_shape", "set_tensor_address"),
}
ENUMERATIONS = (
    *("BuilderFlag", "HardwareCompatibilityLevel", "ILogger.Severity", "MemoryPoolType"),
    "NetworkDefinitionCreationFlag",
)
CUDA = (
    *("cudaDeviceGetAttribute", "cudaFree", "cudaFreeHost", "cudaGetDevice", "cudaGetErrorString", "cudaGraphDestroy"),
    *("cudaGraphExecDestroy", "cudaGraphInstantiate", "cudaGraphLaunch", "cudaMalloc", "cudaMallocHost", "cudaMemcpyAsync"),
    *("cudaStreamBeginCapture", "cudaStreamCreateWithFlags", "cudaStreamDestroy", "cudaStreamEndCapture"),
    "cudaStreamSynchronize",
)


def signatures(member: Any) -> list[list[str]] | None:
    """The parameters of each overload, "=" after those with a default; None for a property."""
    if not callable(member):
        return None
    lines = re.findall(r"^(?:\d+\. )?\w+\(self: [\w.:]+(.*)\) -> ", member.__doc__ or "", re.MULTILINE)
    found = []
    for line in lines:
        parameters = re.findall(r", (\w+): ((?:[^,\[(<]|\[[^\]]*\]|\([^)]*\)|<[^>]*>)*)", line)
        found.append([name + ("=" if " = " in rest else "") for name, rest in parameters])
    return found


def enumeration(module: Any, name: str) -> dict[str, int]:
    for part in name.split("."):
        module = getattr(module, part)
    return {member: int(value) for member, value in module.__members__.items()}


def tensorrt(module: Any) -> dict[str, Any]:
    classes = {
        owner: {name: signatures(getattr(getattr(module, owner), name)) for name in names} for owner, names in MEMBERS.items()
    }
    return {"classes": classes, "enumerations": {name: enumeration(module, name) for name in ENUMERATIONS}}


def cuda(module: Any) -> dict[str, list[str]]:
    """The parameters of each function, from the first line of its docstring: "cudaMalloc(size_t size)"."""
    heads = {name: getattr(module, name).__doc__.strip().splitlines()[0] for name in CUDA}
    return {
        name: [re.sub(r":.*", "", one).split()[-1] for one in head.partition("(")[2].rstrip(")").split(",") if one.strip()]
        for name, head in heads.items()
    }


if __name__ == "__main__":
    bindings = importlib.import_module(sys.argv[1])
    if "cuda" in sys.argv[1]:
        print(json.dumps({importlib.import_module("cuda.bindings").__version__: cuda(bindings)}))
    else:
        print(json.dumps({bindings.__version__: tensorrt(bindings)}))

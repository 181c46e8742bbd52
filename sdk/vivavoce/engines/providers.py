"""ONNX Runtime's execution providers: which device is which, what each needs, and how a session comes to run on one."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, MissingExtra, needs_extra

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["PROVIDERS", "available", "cache_folder", "extra_of", "has_driver", "require_provider", "session"]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
}
# TensorRT for RTX comes as a plugin, in a wheel of its own that carries its libraries.
PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
GPU_BUILD = 'Run: pip uninstall --yes onnxruntime, then: pip install "vivavoce[cuda]"; the two packages cannot share a machine'


def available(device: str) -> bool:
    """Whether NVIDIA's driver, ONNX Runtime and what the device's provider comes in are installed; a session tells the rest."""
    if find_spec("onnxruntime") is None:
        return False
    import onnxruntime

    installed = find_spec(PLUGIN) if device == "tensorrt-rtx" else PROVIDERS[device] in onnxruntime.get_available_providers()
    return bool(installed) and has_driver()


def has_driver() -> bool:
    """Whether the library of NVIDIA's driver loads: without it the providers' own, hundreds of megabytes, need not."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def extra_of(device: str) -> str:
    """The extra that brings the build of ONNX Runtime with the device's provider."""
    return device if device in ("cpu", "tensorrt-rtx") else "cuda"


def require_provider(device: str) -> None:
    """Raises MissingExtra or DeviceError, with what to install, where the device's provider is not installed."""
    with needs_extra(extra_of(device)):
        import onnxruntime
    if device == "tensorrt-rtx" and find_spec(PLUGIN) is None:
        raise MissingExtra(PLUGIN, "tensorrt-rtx")
    if device != "tensorrt-rtx" and PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise DeviceError(f"ONNX Runtime {onnxruntime.__version__} is here without {PROVIDERS[device]}. {GPU_BUILD}.")


def session(content: bytes | str, device: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """A session of a model's bytes or path that runs on the device.

    Raises DeviceError where ONNX Runtime would quietly take another provider. On the CPU what ONNX Runtime raises passes on.
    """
    import onnxruntime

    # Where an application imported ONNX Runtime before vivavoce, this at least keeps it from reporting the session.
    onnxruntime.disable_telemetry_events()
    if device == "cpu":
        return onnxruntime.InferenceSession(content, options, providers=[PROVIDERS[device]])
    require_provider(device)
    try:
        made = _on_plugin(content, options) if device == "tensorrt-rtx" else _on_gpu(content, device, options)
    except DeviceError:
        raise
    except Exception as error:  # ONNX Runtime's own exceptions share no parent.
        raise DeviceError(f"{PROVIDERS[device]} cannot be used: {error}. {_libraries(device)}.") from error
    if made.get_providers()[0] != PROVIDERS[device]:
        raise DeviceError(f"{PROVIDERS[device]} did not load, and another would have run instead. {_libraries(device)}.")
    return made


def _on_gpu(content: bytes | str, device: str, options: Any) -> Any:
    """A session of the build for GPUs. NVIDIA's libraries are loaded first, from the wheels that they came in."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        # It prints what it does not find, to where a command's JSON goes.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    # TensorFloat-32 has 11 bits where float32 has 24: scores would move with the GPU.
    providers: list[Any] = [(PROVIDERS["cuda"], {"use_tf32": "0"}), PROVIDERS["cpu"]]
    if device == "tensorrt":
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module("tensorrt")
        cache = str(cache_folder())
        kept = {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"}
        paths = {"trt_engine_cache_path": cache, "trt_timing_cache_path": cache}
        providers = [(PROVIDERS[device], {**kept, **paths}), *providers]
    return onnxruntime.InferenceSession(content, options, providers=providers)


def _on_plugin(content: bytes | str, options: Any) -> Any:
    """A session on TensorRT for RTX, whose library is registered with ONNX Runtime once in a process."""
    import onnxruntime

    plugin = importlib.import_module(PLUGIN)
    name = plugin.get_ep_name()
    if not any(device.ep_name == name for device in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise DeviceError(f"{name} finds no NVIDIA RTX GPU. It needs one of the generation Ampere or a later one.")
    options.add_provider_for_devices(devices[:1], {"nv_runtime_cache_path": str(cache_folder())})
    return onnxruntime.InferenceSession(content, options)


def _libraries(device: str) -> str:
    if device == "tensorrt-rtx":
        return "It needs an NVIDIA RTX GPU and a driver for CUDA 13"
    extra = "cuda,tensorrt" if device == "tensorrt" else "cuda"
    return f'It needs an NVIDIA GPU, its driver, and the libraries of: pip install "vivavoce[{extra}]"'


def cache_folder() -> Path:
    """The user's own folder for what TensorRT compiled and timed on this machine; made where it is missing."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    folder = base.expanduser() / "vivavoce"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder

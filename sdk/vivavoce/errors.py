"""The errors that vivavoce raises: each has one of the standard library's as its parent, so both `except` styles work.

Below them are the checks of settings that many things share."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

__all__ = [
    "LEAST",
    "AudioError",
    "BundleError",
    "ConfigurationError",
    "DeviceError",
    "MissingExtra",
    "VivavoceError",
    "few",
    "needs_extra",
    "number",
    "real",
    "release",
    "whole",
]


class VivavoceError(Exception):
    """The root of every error that vivavoce raises on purpose."""


class ConfigurationError(VivavoceError, ValueError):
    """A setting that vivavoce was given cannot be used; the message lists the valid choices."""


class BundleError(VivavoceError, ValueError):
    """A bundle is missing, damaged, altered, or of a format that this version cannot read."""


class AudioError(VivavoceError, ValueError):
    """An input is not audio that can be decoded. Audio that decodes but says nothing gives an "undecided" result instead."""


class DeviceError(VivavoceError, OSError):
    """A microphone, a GPU or an inference provider is not there or stopped working."""


class MissingExtra(VivavoceError, ImportError):
    """An optional dependency is not installed, or in a version before `least`; the message is the command that installs it."""

    def __init__(self, module: str, extra: str, least: str = "") -> None:
        self.extra, self.least = extra, least
        self.command = f'pip install "vivavoce[{extra}]"'
        wanted = f"{module} {least} or later" if least else module
        super().__init__(f"{wanted} is not installed. Run: {self.command}", name=module)

    def __reduce__(self) -> Any:
        return type(self), (self.name, self.extra, self.least)


ONNX_RUNTIME = ("onnxruntime", "1.25")
"""Versions 1.21 to 1.23 open as weights whatever file a network names by an absolute path. Up to 1.24 some products of 8 bits
are wrong on processors with AMX (docs/decisions/0014)."""
LEAST = {"cpu": ONNX_RUNTIME, "cuda": ONNX_RUNTIME, "tensorrt-rtx": ONNX_RUNTIME, "formats": ("av", "17.1")}
"""By extra, a module and its first version that is safe, for an application may have come with an older one. PyAV before 17.1
ends the process at a file of the kind FLV."""


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turns the failure of an import within the block into MissingExtra, with the command that installs `extra`.

    So it does where what the block imported is older than `LEAST` says.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "A module", extra) from error
    if extra in LEAST:
        module, least = LEAST[extra]
        if release(sys.modules[module].__version__) < release(least):
            raise MissingExtra(module, extra, least)


def release(version: str) -> list[int]:
    """The numbers of a version, which compare as versions do: [10, 13, 3] of "10.13.3"."""
    return [int(part) for part in version.split(".") if part.isdigit()]


def whole(name: str, value: object, of: str, *, least: int = 1, most: int | None = None) -> int:
    """A setting that is a whole number from `least` to `most`. Raises ConfigurationError for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= (most or math.inf):
        range_of = f"{least} to {most}" if most else f"{least} or more"
        raise ConfigurationError(f"{name}={value!r} is not a number of {of}. Give {range_of}.")
    return int(value)


def number(name: str, value: object) -> float:
    """A setting that is a number. Raises ConfigurationError for anything else."""
    found = real(value)
    if found is None:
        raise ConfigurationError(f"{name}={value!r} is not a number. Give one.")
    return found


def real(value: Any) -> float | None:
    """A number of Python's, NumPy's or torch's, alone or as an array without axes; None for anything else."""
    if getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def few(names: Iterable[object]) -> str:
    """The first three of many names, for a message."""
    found = [str(name) for name in names]
    return ", ".join(found[:3]) + (", …" if len(found) > 3 else "")

"""The errors that vivavoce raises: each has one of the standard library's as its parent, so both `except` styles work.

Below them are the checks of settings that many things share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

__all__ = [
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
    """An optional dependency is not installed; the message is the command that installs it."""

    def __init__(self, module: str, extra: str) -> None:
        self.extra = extra
        self.command = f'pip install "vivavoce[{extra}]"'
        super().__init__(f"{module} is not installed. Run: {self.command}", name=module)

    def __reduce__(self) -> Any:
        return type(self), (self.name, self.extra)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turns the failure of an import within the block into MissingExtra, with the command that installs `extra`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "A module", extra) from error


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

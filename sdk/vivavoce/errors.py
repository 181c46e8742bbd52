"""The errors that vivavoce raises: each has one of the standard library's as its parent, so both `except` styles work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["AudioError", "BundleError", "ConfigurationError", "DeviceError", "MissingExtra", "VivavoceError"]


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


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turns the failure of an import within the block into MissingExtra, with the command that installs `extra`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "A module", extra) from error

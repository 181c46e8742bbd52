"""Tells a living human voice from a synthetic one, on the device, offline, while it is being spoken."""

from __future__ import annotations

from . import _offline  # noqa: F401 - before all others: it keeps what they import from reporting
from ._version import __version__
from .band import Band
from .detector import Detector
from .errors import AudioError, BundleError, ConfigurationError, DeviceError, MissingExtra, VivavoceError
from .microphone import Microphone
from .policy import Policy
from .result import Event, Provenance, Result, Segment
from .stream import Stream

__all__ = [
    "AudioError",
    "Band",
    "BundleError",
    "ConfigurationError",
    "Detector",
    "DeviceError",
    "Event",
    "Microphone",
    "MissingExtra",
    "Policy",
    "Provenance",
    "Result",
    "Segment",
    "Stream",
    "VivavoceError",
    "__version__",
]

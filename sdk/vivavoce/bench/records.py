"""What the reports of benchmarks have in common: on what, with what, and how figures vary. Durations are in seconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from ..bundle import Bundle
from ..machine import Machine

__all__ = ["Clip", "MeasuredBundle", "Record", "Report", "Spread"]


class Record(BaseModel):
    """Frozen facts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> str:
        """One JSON object, as `vivavoce bench --json` prints it."""
        return self.model_dump_json(by_alias=True)


class Report(Record):
    """Any report: the machine as it was before the benchmark, and what ran on it."""

    machine: Machine
    versions: dict[str, str]
    repeats: int


class MeasuredBundle(Record):
    """Which bundle was measured, and its size in bytes."""

    name: str
    version: str
    bytes: int

    @classmethod
    def of(cls, bundle: Bundle) -> MeasuredBundle:
        size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
        return cls(name=bundle.manifest.name, version=bundle.manifest.version, bytes=size)


class Clip(Record):
    """The recording, and where it comes from."""

    source: str
    seconds: float


class Spread(Record):
    """A figure over the repeats."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: ArrayLike) -> Spread:
        found = np.asarray(values, np.float64)
        return cls(median=float(np.median(found)), lowest=float(found.min()), highest=float(found.max()))

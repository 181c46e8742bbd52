"""Packing: a manifest and its files become a bundle, complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .bundle import MANIFEST, Bundle, Manifest, OperatingPoint
from .errors import ConfigurationError

__all__ = ["UNCALIBRATED", "descended", "require_new", "uncalibrated", "write_bundle"]

UNCALIBRATED = OperatingPoint(name="uncalibrated", threshold=0.0)
"""The one threshold of a bundle whose scores are the network's own."""


def require_new(folder: Path) -> None:
    """Raises ConfigurationError where `folder` exists or cannot be made. Call it before work that ends in `write_bundle`."""
    if os.path.lexists(folder):
        raise ConfigurationError(f"{folder} exists. Choose a new directory; a bundle is never written over.")
    place = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{folder} cannot be made: {place} is no folder to write to. Choose another one.")


def descended(manifest: Manifest, parent: Bundle, name: str, version: str = "1") -> Manifest:
    """The manifest of a bundle that was made from another one: with a name and a version of its own, and what it comes from."""
    origin = {"name": parent.manifest.name, "version": parent.manifest.version, "manifest_sha256": parent.sha256}
    model = manifest.model.model_copy(update={"provenance": {**manifest.model.provenance, "made_from": origin}})
    return manifest.model_copy(update={"name": name, "version": version, "model": model})


def uncalibrated(manifest: Manifest, **changes: Any) -> Manifest:
    """The manifest with some fields changed, and without what was measured on other scores: the calibration, operating points,
    figures, monitoring and the comparison."""
    measured: dict[str, Any] = {
        "calibration": None,
        "operating_points": (UNCALIBRATED,),
        "default_operating_point": UNCALIBRATED.name,
        "evaluations": (),
        "monitoring": (),
        "regression": None,
    }
    return manifest.model_copy(update={**measured, **changes})


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Writes `manifest` and every file that it lists to `folder`, which must not exist, and opens the bundle.

    The directory appears under its name only when it is complete and every checksum holds. Raises ConfigurationError where
    it exists already or a listed file is not given, BundleError where a file is not what the manifest says.
    """
    require_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for name, content in files.items():
            (partial / name).write_bytes(content)
        bundle = Bundle(partial)
        for name, digest in bundle.listed().items():
            bundle.read(name, digest)
        partial.chmod(0o755)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Bundle(folder)

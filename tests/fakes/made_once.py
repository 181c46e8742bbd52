"""What several modules of tests need and what takes long to make: made once for all processes of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest


def made_once(name: str, make: Callable[[Path], object], folders: pytest.TempPathFactory) -> Path:
    """The path of a file or folder that `make` makes where it is told to, whole or not at all. Not to be written to."""
    base = folders.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    if not path.exists():
        made = folders.mktemp("made") / name
        make(made)
        with suppress(OSError):  # Another process was first.
            made.rename(path)
    return path

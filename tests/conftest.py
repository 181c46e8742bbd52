"""Fixtures that every test module may use, one thread for each process, and a limit for what is not marked slow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Two processes share two cores. Set before torch and ONNX Runtime are loaded; the programs that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Workers are told how wide the terminal is, and what is tried here is not on one.
os.environ.pop("COLUMNS", None)
# How long an example takes says how busy the machine is.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
LIMIT = 60.0
"""Seconds of processor time for a test that is not marked slow: three times what it may take on an idle core of today."""


def processor_seconds() -> float:
    """What this process has used, and the programs that it started and that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = processor_seconds()
    yield
    used = processor_seconds() - before
    if used > LIMIT and not item.get_closest_marker("slow"):
        pytest.fail(f"{used:.0f} s of processor time: make it smaller, or mark it slow", pytrace=False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with corpora and goldens beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED.name}/ (corpora and goldens) is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle whose network is simple enough to be computed by hand; see bundles.py. Not to be written to."""
    bundles = pytest.importorskip("bundles", reason="onnx is not installed")
    return Path(bundles.make_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))

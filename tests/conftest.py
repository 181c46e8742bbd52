"""Fixtures that every test module may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


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

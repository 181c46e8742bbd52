"""The bundles that ship, each with the pages that tell of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vivavoce.bundle import default_bundle

__all__ = ["SHIPPED", "Shipped"]

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


class Shipped(NamedTuple):
    """Where a bundle lies, its model card, and the page with its error rates in detail."""

    bundle: Path
    card: Path
    page: Path


SHIPPED = {
    "default": Shipped(default_bundle(), DOCS / "models.md", DOCS / "error-rates.md"),
    "large": Shipped(ROOT / "sdk" / "large" / "vivavoce_large", DOCS / "large.md", DOCS / "large-error-rates.md"),
}
"""By the name in the manifest."""

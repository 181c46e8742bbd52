"""The README: its error rates are those of the bundles that ship, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)\)")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_error_rates_are_those_of_the_bundles_that_ship() -> None:
    if not (ROOT / "sdk" / "large").is_dir():
        pytest.skip("a source distribution has the embedded bundle alone")
    subprocess.run([sys.executable, ROOT / "benchmarks" / "figures.py", "--check"], check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert not missing

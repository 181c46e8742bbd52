"""The pages of docs/ build as a site without a warning, and every link within it leads somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

pytest.importorskip("zensical", reason="the site's generator is not installed")
pytest.importorskip("mkdocstrings", reason="what renders the docstrings is not installed")

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """The targets and the links of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.targets: set[str] = {""}
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.targets.add(found.get("id", ""))
        self.links += [found[name] for name in ("href", "src") if name in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copytree(ROOT / "sdk", folder / "sdk", ignore=shutil.ignore_patterns("bundles", "__pycache__"))
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_links_lead_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 10
    dead = []
    for page in pages.values():
        for link in page.links:
            address, anchor = urldefrag(unquote(link))
            if ":" in address or address.startswith("//"):
                continue
            target = (page.path.parent / address).resolve() if address else page.path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.exists() or (known and anchor not in known.targets):
                dead.append(f"{page.path.relative_to(site)}: {link}")
    assert dead == []


def test_reference_names_everything_public(site: Path) -> None:
    import vivavoce

    text = (site / "api" / "index.html").read_text("utf-8")
    assert [name for name in vivavoce.__all__ if name != "__version__" and f'.{name}"' not in text] == []


def test_every_page_is_in_the_navigation(site: Path) -> None:
    configuration = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f": {page.name}\n" not in configuration] == []

"""What the package's page on PyPI says: the README, with links that lead somewhere outside a checkout.

`[tool.hatch.metadata.hooks.custom] repository` in pyproject.toml is the address of the published repository. With it relative
links become absolute, and the project's URLs are declared; without it they become plain text, so that none is dead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


class ReadmeHook(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        repository = str(self.config.get("repository", "")).rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": published(text, repository)}
        if repository:
            pages = {"Documentation": "docs/index.md", "Changes": "CHANGELOG.md", "Limits": "docs/limits.md"}
            urls = {name: f"{repository}/blob/main/{page}" for name, page in pages.items()}
            metadata["urls"] = {"Source": repository, **urls}


def published(text: str, repository: str) -> str:
    """A page of the repository's root as it can stand elsewhere."""

    def moved(found: re.Match[str]) -> str:
        picture, name, target = found.groups()
        if repository:
            return f"{picture}[{name}]({repository}/{'raw' if picture else 'blob'}/main/{target})"
        return "" if picture else name

    return LINK.sub(moved, text)

"""Pages for users are read in minutes: short sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md"))]
MEAN = 18
"""Words in a sentence, which no page exceeds on average."""

NOT_PROSE = re.compile(r"^```.*?^```$|<!--.*?-->|^#.*?$|^\|.*?$|^!\[.*?$|^<.*?>$", re.MULTILINE | re.DOTALL)
END = re.compile(r"(?<=[.!?])[\"')*_`]*\s+(?=[\"'(*_`\[]*[A-Z0-9])")
ITEM = re.compile(r"\n\s*\n|\n\s*(?:[-*]|\d+\.)\s+")


def sentences(markdown: str) -> list[list[str]]:
    """The words of each sentence of a page's paragraphs and lists; code is a word, and links are their text."""
    prose = re.sub(r"`[^`]*`", "Code", NOT_PROSE.sub("\n\n", markdown))
    prose = re.sub(r"\]\([^)]*\)", "", prose)
    found = [sentence for block in ITEM.split(prose) for sentence in END.split(block)]
    return [words for one in found if (words := [word for word in one.split() if re.search(r"\w", word)])]


def test_sentences_are_found() -> None:
    page = "# A title\n\nOne two `a b. C`. Three\nfour [five](x.md).\n\n- six: seven\n- *Eight* nine\n"
    page += "\n| a | b |\n\n```\nx y z\n```\n"
    assert [len(one) for one in sentences(page)] == [3, 3, 2, 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    lengths = [len(one) for one in sentences(page.read_text("utf-8"))]
    assert sum(lengths) / len(lengths) <= MEAN


@pytest.mark.parametrize(("page", "most"), [("models.md", 900), ("large.md", 900), ("quantization.md", 1_000)])
def test_cards_are_short(page: str, most: int) -> None:
    assert len((ROOT / "docs" / page).read_text("utf-8").split()) <= most

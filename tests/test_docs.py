"""What the documents say of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List

from tools import operators_table

ROOT = Path(__file__).parents[1]


def test_the_table_of_operators_is_up_to_date() -> None:
    assert operators_table.PAGE.read_text() == operators_table.page(), "run `python -m tools.operators_table`"


def test_the_readme_counts_the_operators() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"(\d+) operators of Relay", readme) == [str(len(operators_table.OPERATORS))]


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")):
        for link, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text()):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}#{anchor}"


def anchors(page: Path) -> List[str]:
    """What the headings of a page are called in links, by GitHub's rule: lower case, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]

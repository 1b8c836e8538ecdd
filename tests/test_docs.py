"""What the documents say of the code."""

from __future__ import annotations

import re
from pathlib import Path

from tools import operators_table

ROOT = Path(__file__).parents[1]


def test_the_table_of_operators_is_up_to_date() -> None:
    assert operators_table.PAGE.read_text() == operators_table.page(), "run `python -m tools.operators_table`"


def test_the_readme_counts_the_operators() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"(\d+) operators of Relay", readme) == [str(len(operators_table.OPERATORS))]


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"

"""The page on other packages names its sources: a public page of theirs, and the day it was looked at."""

from __future__ import annotations

import datetime
import re

from tests.support import ROOT

PAGE = ROOT / "docs" / "peers.md"
LINK = re.compile(r"\]\((https://[^)]+)\)")


def rows() -> list[list[str]]:
    """Return the cells of the rows of all tables, without their heads."""
    found = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found]
    return [row for row in cells if row[0] != "what"]


def test_every_statement_has_a_source_and_a_date() -> None:
    """Each row has a link to another package's page, unless it refers to the rows above, and a day in the past."""
    assert len(rows()) >= 15
    for what, elsewhere, day, here in rows():
        assert LINK.search(elsewhere) or "above" in elsewhere, what
        assert datetime.date.fromisoformat(day) <= datetime.datetime.now(datetime.UTC).date(), what
        assert here, what


def test_both_sides_are_told() -> None:
    """The page has what others lack and what this package lacks, and the README links it."""
    text = PAGE.read_text("utf-8")
    ours, theirs = text.split("## What others have, and this package does not")
    assert ours.count("\n| ") > 5
    assert theirs.count("\n| ") > 5
    assert "(docs/peers.md)" in (ROOT / "README.md").read_text("utf-8")

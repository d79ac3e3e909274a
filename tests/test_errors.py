"""Wording that messages share."""

from __future__ import annotations

import pytest

from langchain_ptc.errors import count


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "byte", "0 bytes"),
        (1, "byte", "1 byte"),
        (1.0, "second", "1 second"),
        (0.5, "second", "0.5 seconds"),
        (0.9999, "second", "1 second"),
        (2, "more line", "2 more lines"),
        (3_600.0, "second", "3,600 seconds"),
        (12_345, "call", "12,345 calls"),
    ],
)
def test_count(number: float, noun: str, text: str) -> None:
    """A number and its noun agree, as they are shown."""
    assert count(number, noun) == text

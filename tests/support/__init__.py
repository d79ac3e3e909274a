"""Helpers and data that the tests of several folders share."""

from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
"""The checkout."""

"""`Mistake`: what a person is told instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Mistake(Exception):
    """What was typed cannot be used, or this machine lacks something; the message says what to do."""


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for what is most like `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(dict.fromkeys(candidates)), n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""

"""Where the time of an execution went, from the times of its calls."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple


class CallTimes(NamedTuple):
    """For how long calls were on their way."""

    waiting_seconds: float
    """At least one."""
    overlapping_seconds: float
    """Two or more at once."""


def add_up(spans: Iterable[tuple[datetime, datetime]]) -> CallTimes:
    """Return for how long any, and for how long several of some spans of time went on.

    Args:
        spans: Begin and end of each.
    """
    edges: list[tuple[datetime, int]] = []
    for begin, end in spans:
        if end > begin:
            edges += [(begin, 1), (end, -1)]
    edges.sort()  # at the same moment ends come first: a call that begins then overlaps nothing
    any_of_them = several = 0.0
    running = 0
    since = edges[0][0] if edges else None
    for moment, change in edges:
        if since is not None and running:
            seconds = (moment - since).total_seconds()
            any_of_them += seconds
            several += seconds if running > 1 else 0.0
        running, since = running + change, moment
    return CallTimes(any_of_them, several)

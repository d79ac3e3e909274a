"""How much work one check may be. Pure."""

from __future__ import annotations

MAX_STEPS = 60_000
"""Steps of one check: programs of ordinary shape take one for every few characters."""


class OutOfWork(Exception):  # it ends the check, and is no error
    """The check has taken all its steps."""


class Work:
    """Counts the steps of one check, so that no program makes it run for long."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps.

        Raises:
            OutOfWork: There are none left.
        """
        self._left -= steps
        if self._left < 0:
            raise OutOfWork

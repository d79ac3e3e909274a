"""A module of a developer that reads chance by itself: what it gives is not the same on resume."""

VALUES = ["first"]


def value() -> str:
    """Return what a test has put there."""
    return VALUES[0]

"""Wording that messages share: suggestions, choices, and text cut to length. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

MAX_COMPARED_CHARS = 100
"""A longer name is like no other: to compare names takes the product of their lengths."""
MAX_COMPARED_NAMES = 1_000


def closest(name: str, known: Iterable[str], *, limit: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return those of `known` that were probably meant by `name`, the likeliest first.

    Upper and lower case are alike. Where no name is like it by `cutoff`, from 0 to 1, one that shares a word with it
    (`id` and `user_id`) is returned.
    """
    import difflib  # a worker needs it only where something went wrong

    folded = {other.casefold(): other for other, _ in zip(known, range(MAX_COMPARED_NAMES))}  # noqa: B905
    if len(name) > MAX_COMPARED_CHARS:
        return []
    close = difflib.get_close_matches(name.casefold(), folded, n=limit, cutoff=cutoff)
    if not close:
        words = set(name.casefold().split("_"))
        close = [other for other in folded if words & set(other.split("_"))][:1]
    return [folded[other] for other in close]


def did_you_mean(close: Sequence[str]) -> str:
    """Return ` (did you mean 'a' or 'b'?)` for what `closest` found; an empty string for nothing."""
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def count(number: float, noun: str) -> str:
    """Return `1 call`, `1,000 calls`, `0.5 seconds`."""
    if isinstance(number, int):
        shown = f"{number:,}"
    else:
        shown = f"{number:.3g}" if number < 1_000 else f"{number:,.0f}"
    return f"{shown} {noun}{'' if shown == '1' else 's'}"


def with_article(name: str) -> str:
    """Return `name` after `a` or `an`; `None` has none."""
    return name if name == "None" else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `ValueError` if an option is none of the values of the `Literal` type that it is declared with."""
    *others, last = allowed = get_args(choices)
    if value not in allowed:
        expected = f"{', '.join(map(repr, others))} or {last!r}"
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def cut(text: str, limit: int) -> str:
    """Return `text`, or its beginning with `…`: at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

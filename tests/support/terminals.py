"""Characters that a terminal obeys."""

from __future__ import annotations

import re

EVIL = "\x1b[2J\x1b]0;pwn\x07\x9b31m\x08\x7f\r\u202e"


def raw(text: str) -> list[str]:
    """The characters of `text` that a terminal would obey."""
    return re.findall(r"[^\n\t -~\xa0-\u2027\u2030-\uffff]", text)

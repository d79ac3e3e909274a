"""Tables of Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table of Markdown; numbers stand right."""
    width = len(head)
    right = [
        index > 0 and all(re.match(r"[-+<]?[\d*]|\u2013?$", row[index]) for row in rows)
        for index in range(width)
    ]
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "|".join("---:" if is_right else "---" for is_right in right) + "|")
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)

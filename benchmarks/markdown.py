"""Tables of Markdown, and pages that have them between markers.

Text between the markers is for people to write; what stands between `<!-- results: NAME -->` and
`<!-- end of NAME -->` is written by a script, and a test holds it against the stored results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


class PageError(Exception):
    """The page or the results are not what they should be; the message says what to do."""


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


def fill_page(text: str, tables: Mapping[str, str]) -> str:
    """Put each table between its markers.

    Raises:
        PageError: A marker is missing, or there is one for which there is no table.
    """
    for name, table in tables.items():
        opening, closing = f"<!-- results: {name} -->", f"<!-- end of {name} -->"
        if text.count(opening) != 1 or text.count(closing) != 1:
            raise PageError(f"the page must have {opening!r} and {closing!r} once each")
        before, _, rest = text.partition(opening)
        after = rest.partition(closing)[2]
        text = f"{before}{opening}\n\n{table.strip()}\n\n{closing}{after}"
    unknown = set(re.findall(r"<!-- results: (\S+) -->", text)) - set(tables)
    if unknown:
        raise PageError(f"the page has markers for which there is no table: {sorted(unknown)!r}")
    return text

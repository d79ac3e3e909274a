"""Records with fixed times, hostile text, and a strict reader of HTML, for the tests of `display`."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

START = datetime.datetime(2026, 11, 21, 9, 0, 0, tzinfo=datetime.UTC)

HOSTILE = (
    "</pre></td></table></details></div></svg><script>alert(1)</script>"
    '<img src=x onerror="alert(2)">\' onmouseover=\'alert(3)" style="position:fixed" '
    "]]><!--&lt;&#x3c;${x}{y}$z$ [bold red]rich[/bold red] [link=https://example.org]x[/link]"
    "\x1b[31m\x1b]8;;https://example.org\x07\x9b2J\r\x08\x00\x7f\u202e\u2066\u200b\u2028\ufffe\ud800"
)
"""What must neither end an element, nor begin one, nor move a cursor, nor turn the writing round."""

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\u2028\u2029\ufffe\ud800]"
)
"""What must never be shown as it is."""


def call(number: int, begin: float, seconds: float, **changes: Any) -> dict[str, Any]:
    """Return the dict of a tool call that was made at a fixed time."""
    return {
        "call_id": f"e1:{number}",
        "execution_id": "e1",
        "tool": "get_rows",
        "domain": "shop",
        "arguments": {"page": number},
        "line": 2,
        "status": "returned",
        "approval": None,
        "approved_by": None,
        "started_at": (START + datetime.timedelta(seconds=begin)).isoformat(),
        "duration_seconds": seconds,
        "waited_seconds": 0.0,
        "attempts": 1,
        "is_cache_hit": False,
        "breaker": None,
        "is_read_only": True,
        "arguments_bytes": 100,
        "result_bytes": 3_900,
        "error": None,
        "limit": None,
        **changes,
    }


def record(*calls: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the dict of an execution that took a second from a fixed time on."""
    return {
        "execution_id": "e1e1e1e1-0000",
        "status": "success",
        "code": "rows = []\nfor page in range(3):\n    rows += get_rows(page=page)\nprint(len(rows))\n",
        "output": "3\n",
        "value": None,
        "error": None,
        "notes": [],
        "tool_calls": list(calls),
        "started_at": START.isoformat(),
        "duration_seconds": 1.0,
        "paused_seconds": 0.0,
        "output_chars": 20_000,
        "report_bytes": 2,
        "session": None,
        "spent": None,
        **changes,
    }


def failure(**changes: Any) -> dict[str, Any]:
    """Return the dict of an error."""
    return {
        "kind": "KeyError",
        "message": "'id'",
        "line": 3,
        "source_line": "",
        "traceback": "",
        "hint": "",
        "violations": [],
        "problems": [],
        "limit": None,
        "allowed": None,
        "used": None,
        **changes,
    }


class Page(HTMLParser):
    """Reads a page and holds that it is what we wrote: closed elements, known attributes, no script."""

    ELEMENTS = frozenset(
        "div span style details summary pre code table tbody tr td th i b p a img".split()  # noqa: SIM905
    )
    MORE: Mapping[str, Mapping[str, str]] = {
        "a": {"download": "[^/]*", "href": "data:application/octet-stream;base64,[A-Za-z0-9+/=]*"},
        "img": {"alt": ".*", "src": "data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*"},
    }
    """Attributes of single elements, and what they may be: nothing is loaded, nothing is opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"
        assert not UNSEEN.search(html)
        html.encode()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.ELEMENTS, tag
        for name, value in attrs:
            own = ("class", "style", "title", "open", *self.MORE.get(tag, {}))
            assert name in own, (tag, name)
            assert re.fullmatch(self.MORE.get(tag, {}).get(name, "(?s:.*)"), value or ""), value
            if name == "style":
                assert re.fullmatch(
                    r"(left|width|--ptc-notes):[\d.e-]+(%|ch)?(;width:[\d.e-]+%)?", value or ""
                ), value
            if name == "class":
                assert re.fullmatch(r"(ptc(-[a-z]+)? ?)+", value or ""), value
        if tag != "img":  # it has no end
            self.open.append(tag)
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def classes(self, name: str) -> list[dict[str, str | None]]:
        """Return the elements of a class."""
        return [attrs for _, attrs in self.found if name in (attrs.get("class") or "").split()]

    @property
    def shown(self) -> str:
        """All that is there to be read."""
        return "".join(self.text)

"""Pictures on pages: drawn where they are what they say, saved or named otherwise, and bounded."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from langchain_ptc import ExecutionResult
from langchain_ptc.display import show_run
from langchain_ptc.display.html import MAX_RESULTS_BYTES, SHOWN_BYTES, render_html
from tests.support.display_data import HOSTILE, Page, record
from tests.support.pictures import PDF, png

DATA = base64.b64encode(png()).decode()
IMAGE = f'src="data:image/png;base64,{DATA}"'


def shown(media_type: str = "image/png", data: object = DATA, **changes: Any) -> dict[str, Any]:
    """Return the dict of something that was shown."""
    return {"media_type": media_type, "size": 70, "at": 0, "data": data, **changes}


def test_a_picture_is_drawn() -> None:
    """A page has it after the output, of the type that the host has read; a notebook shows the page."""
    html = render_html(record(shown=[shown(), shown("image/jpeg")]))
    assert html.count("<img") == 2
    assert html.index("<pre>3</pre>") < html.index(IMAGE) < html.index("data:image/jpeg;")
    result = ExecutionResult.from_dict(record(shown=[shown()], notes=[], tool_calls=[]))
    assert IMAGE in result._repr_html_()


@pytest.mark.parametrize("kind", ["image/svg+xml", "text/html", "application/pdf", HOSTILE])
def test_what_is_not_drawn(kind: str) -> None:
    """Of any other type it is a link that saves it, whatever it is said to be."""
    html = render_html(record(shown=[shown(kind, base64.b64encode(PDF).decode())]))
    assert "<img" not in html
    assert "data:image" not in html
    assert 'href="data:application/octet-stream;base64,' in html
    Page(html)


@pytest.mark.parametrize("data", [None, 7, f'{DATA}" onerror="alert(1)', HOSTILE, [DATA]])
def test_content_that_is_no_base64(data: object) -> None:
    """It is named, and nothing of it is on the page."""
    html = render_html(record(shown=[shown(data=data)]))
    assert "<img" not in html
    assert "1: image/png" in html
    Page(html)


def test_text_that_says_where_pictures_are() -> None:
    """No output can put a picture elsewhere, or twice."""
    html = render_html(record(output="<!-- shown -->", code="# <!-- shown -->", shown=[shown()]))
    assert html.count(IMAGE) == 1


def test_a_page_is_bounded() -> None:
    """What there is no room for is named; a run has room for as much as one page."""
    large = "A" * (SHOWN_BYTES // 2)
    many = [shown(data=large)] * 5
    assert render_html(record(shown=many)).count("<img") == 2
    message = ToolMessage("", tool_call_id="c", artifact=record(shown=many))
    html = show_run([message] * 3)._repr_html_()
    assert html.count("<img") == 2
    assert len(html) < SHOWN_BYTES + 2 * MAX_RESULTS_BYTES


def test_a_run_draws_what_is_in_the_content_alone() -> None:
    """A model that takes pictures has them in the message, and the artifact has no second copy."""
    content: Any = [
        {"type": "text", "text": "a"},
        {"type": "image", "base64": DATA, "mime_type": "image/png"},
    ]
    artifact = record(shown=[shown(data=None), shown(data=None)])
    messages = [AIMessage(""), ToolMessage(content, tool_call_id="c", artifact=artifact)]
    html = show_run(messages)._repr_html_()
    assert html.count(IMAGE) == html.count("<img") == 1

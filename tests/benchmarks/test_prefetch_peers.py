"""Programs that are run while a model writes them, here and in others: what is stored, and what the page says of it."""

from __future__ import annotations

import ast
import json

import pytest

from benchmarks.markdown import fill_page
from benchmarks.page import render_prefetch_peers
from benchmarks.prefetch import SHAPES
from benchmarks.prefetch_peers import (
    OURS,
    WAYS,
    Attempt,
    measure_all,
    render,
    summarise,
    with_keywords,
)
from benchmarks.prefetch_tools import CHARS_PER_TOKEN, define_functions, split_into_tokens

SHAPE = next(shape for shape in SHAPES if "write" in shape.name)
TOOLS = {function.__name__: function for function in define_functions(0.0, [])}


class Scripted:
    """A system that has the attempts of each way ready."""

    version = "1.0"

    def __init__(self, **attempts: list[Attempt]) -> None:
        self.attempts = attempts

    async def run(self, shape, way, rate, latency):
        return self.attempts[way].pop(0)


async def figures_of(**harness: list[Attempt]) -> dict:
    """Measure one shape in two scripted systems."""
    ours = Scripted(
        off=[Attempt(3.0, "5", ("get_orders", "pay")), Attempt(2.0, "5", ("get_orders", "pay"))],
        stream=[Attempt(1.0, "5", ("get_orders", "pay"))] * 2,
    )
    systems = {OURS: ours, "pydantic-ai-harness": Scripted(**harness)}
    rows = await measure_all(systems, [SHAPE], rounds=2)
    versions = {name: system.version for name, system in systems.items()}
    missing = {"spec-ptc": "no Python for it"}
    figures = {"versions": versions, "missing": missing, "shapes": rows}
    return json.loads(json.dumps(figures))


async def test_stored_figures_are_rendered():
    """Each way is compared with the fastest whole run of its own system; what is not there is named."""
    whole = Attempt(4.0, "5", ("get_orders", "pay"))
    figures = await figures_of(
        whole=[whole] * 2,
        eager=[Attempt(2.5, "5", whole.calls), Attempt(2.0, "5", whole.calls)],
        speculate=[Attempt(4.0, "5", ("get_orders", "get_orders", "pay"))] * 2,
        both=[Attempt(2.5, "5", ("pay", "get_orders"))] * 2,
    )
    text = render(figures)
    row = next(line for line in text.splitlines() if line.startswith(f"| {SHAPE.name} |"))
    assert [cell.strip() for cell in row.split("|")[3:-1]] == [
        "2.00 s",
        "2.00\u00d7, 1.00 s",
        "4.00 s",
        "2.00\u00d7, 2.00 s",
        "1.00\u00d7, 4.00 s, calls: +1\u2020",
        "1.60\u00d7, 2.50 s",
    ]
    assert "| geometric mean of the 1 that all run |  |  | 2.00\u00d7 |  | 2.00\u00d7 |" in text
    assert "- spec-ptc is not here: no Python for it." in text
    assert "- \u2020: " in text


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (Attempt(error="SyntaxError: no\n  with"), "`SyntaxError: no with`"),
        (Attempt(1.0, "6"), "`prints '6' in place of '5'`"),
    ],
)
async def test_programs_that_a_peer_does_not_run(attempt, message):
    """A failure and another output have no figure: the reason is below the table, once, and no mean has the shape."""
    figures = await figures_of(**{way: [attempt] * 2 for way in WAYS["pydantic-ai-harness"]})
    text = render(figures)
    assert text.count(f"- pydantic-ai-harness does not run *{SHAPE.name}*: {message}") == 1
    assert "geometric mean" not in text
    assert "| \u2013 | \u2013 | \u2013 | \u2013 |" in text


async def test_table_stands_between_its_markers():
    """The page gets the table with the day, the command and the machine that it was taken on."""
    whole = Attempt(4.0, "5", ("get_orders", "pay"))
    figures = await figures_of(**{way: [whole] * 2 for way in WAYS["pydantic-ai-harness"]})
    machine = {"words": "2 cores", "python": "3.11", "packages": "langchain 1"}
    part = {"date": "2026-11-30", "command": "measure", "machine": machine, **figures}
    page = "<!-- results: prefetch_peers -->\n<!-- end of prefetch_peers -->\n"
    filled = fill_page(page, {"prefetch_peers": render_prefetch_peers(part)})
    assert "Taken on **2026-11-30** with `measure`, on 2 cores" in filled
    assert f"| {SHAPE.name} |" in filled


def test_a_read_that_passes_the_write():
    """A read that begins before the write, and did not in the whole program, is noted."""
    attempts = {
        "whole": Attempt(1.0, "", ("get_orders", "pay", "get_orders")),
        "speculate": Attempt(1.0, "", ("get_orders", "get_orders", "pay")),
    }
    told = summarise(attempts, "", "whole")
    assert [told[way]["passes_write"] for way in attempts] == [False, True]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_programs_have_keyword_arguments(shape):
    """All calls of tools have keyword arguments only, the last one included, and the ideal is that of the same chain."""
    adapted = with_keywords(shape)
    calls = [
        node
        for node in ast.walk(ast.parse(adapted.code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TOOLS
    ]
    assert calls
    for call in calls:
        assert not call.args
        annotations = TOOLS[call.func.id].__annotations__
        assert [keyword.arg for keyword in call.keywords] == [*annotations][:-1]
    assert adapted.ideal(1e9, 1.0) == pytest.approx(shape.ideal(1e9, 1.0))


@pytest.mark.parametrize("code", [*(shape.code for shape in SHAPES), 'x = "\u00e9\\n\U0001f600"\n'])
def test_tokens_complete_the_code(code):
    """The tokens are the JSON of the call and, beside it, all of the code, no character before it is complete."""
    tokens = split_into_tokens(code)
    assert json.loads("".join(text for text, _ in tokens)) == {"code": code}
    assert "".join(added for _, added in tokens) == code
    assert all(len(text) == CHARS_PER_TOKEN for text, _ in tokens[:-1])
    written = added = ""
    for text, piece in tokens:
        written, added = written + text, added + piece
        assert not added or written.startswith(json.dumps({"code": added})[:-2])

"""The benchmark page says what was measured, and what was measured can be measured again."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import growth, markdown, page, speed
from benchmarks.charts import Bar, Panel, Ratios, draw_bars, draw_ratios
from benchmarks.mechanism import (
    DIRECT,
    ROWS,
    WAYS,
    Assumptions,
    Measured,
    build_world,
    measure,
    settle,
)
from benchmarks.peers.install import PEERS
from benchmarks.peers.programs import PROGRAMS
from benchmarks.peers.run import read_attacks
from langchain_ptc import ProcessSandbox

CHARTS = sorted(page.CHARTS.glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def results() -> page.Results:
    """The newest stored results."""
    return page.read_results()


async def _measure_all(name: str, rows: int) -> dict[str, Measured]:
    tools, tasks = build_world(rows)
    [task] = [task for task in tasks if task.name == name]
    with ProcessSandbox() as sandbox:
        return {way: await measure(task, rows, tools, way, sandbox) for way in WAYS}


async def test_forty_five_members(results: page.Results) -> None:
    """45 members: 47 inferences, 3, 2 and 1; the same right answer; about what the page says."""
    measured = await _measure_all("expenses", 10)
    assert {way: m.inferences for way, m in measured.items()} == {
        "one": 47,
        "parallel": 3,
        "agent": 2,
        "node": 1,
    }
    stored = page.Mechanism(results)
    for way, m in measured.items():
        told = stored.get("expenses", 10, way)
        assert m.is_right
        assert (m.tool_calls, m.result_bytes) == (46, told.result_bytes)
        # Prompts are still tuned, and LangChain's schemas change; more than this is another result.
        assert m.tokens_in == pytest.approx(told.tokens_in, rel=0.15), (
            f"{way}: run `make benchmark_compare`"
        )
        assert m.tokens_new <= m.tokens_in
    assert measured["one"].tokens_new == measured["parallel"].tokens_new


async def test_counts_are_the_same_in_each_run() -> None:
    """Nothing but the measured time differs between two runs."""
    first, second = [await _measure_all("two_calls", 10) for _ in range(2)]
    for way in WAYS:
        settled = settle([first[way], second[way]])
        assert settled.is_right
        assert settled.real_seconds == min(first[way].real_seconds, second[way].real_seconds)
    with pytest.raises(ValueError, match="differ"):
        settle([first["one"], first["node"]])


def test_every_task_has_something_to_find() -> None:
    """No task has an empty answer, at any size, and the page has a title for each."""
    for rows in ROWS:
        _, tasks = build_world(rows)
        assert [task.name for task in tasks] == list(page.TITLES)
        assert [task.title for task in tasks] == list(page.TITLES.values())
        assert all(task.truth for task in tasks)


def test_time_and_price() -> None:
    """Time and price follow from counts and assumptions; a cache never makes them larger."""
    m = Measured(
        scenario="x",
        rows=1,
        way="one",
        inferences=2,
        tool_calls=1,
        tokens_in=3_000,
        tokens_new=2_000,
        tokens_out=60,
        result_bytes=0,
        is_right=True,
        real_seconds=0.25,
    )
    assumed = Assumptions(
        round_trip_seconds=0.5,
        read_tokens_per_second=2_000,
        write_tokens_per_second=60,
        price_written=5,
        price_cached=0.1,
    )
    assert m.seconds(assumed, cached=False) == pytest.approx(1 + 1.5 + 1 + 0.25)
    assert m.seconds(assumed, cached=True) == pytest.approx(1 + 1 + 1 + 0.25)
    assert m.price(assumed, cached=False) == 3_300
    assert m.price(assumed, cached=True) == pytest.approx(2_000 + 100 + 300)


# --- the page ---------------------------------------------------------------------------------------


def test_page_says_what_is_stored(results: page.Results) -> None:
    """Every table of the page is the one that the stored results give."""
    text = page.PAGE.read_text("utf-8")
    assert markdown.fill_page(text, page.render_tables(results)) == text, (
        "run `python -m benchmarks.compare --render`"
    )


def test_charts_are_what_is_stored(results: page.Results) -> None:
    """Every chart is the one that the stored results give, and there is no other."""
    drawn = page.render_charts(results)
    assert sorted(drawn) == [chart.name for chart in CHARTS]
    for chart in CHARTS:
        assert chart.read_text("utf-8") == drawn[chart.name], chart.name


def test_stored_results_are_complete(results: page.Results) -> None:
    """Every task, size and way is stored, each answer right; direct calling wins where it does."""
    stored = page.Mechanism(results)
    for scenario in page.TITLES:
        for rows in ROWS:
            assert all(stored.get(scenario, rows, way).is_right for way in WAYS)
    for rows in ROWS:  # what the page says in words
        for scenario in ("lookup", "two_calls"):
            assert max(stored.compare(scenario, rows).values()) < 1
        members = [stored.get("expenses", rows, way).inferences for way in WAYS]
        assert members == [47, 3, 2, 1]
    assert all(ratio > 1 for ratio in stored.compare("expenses", 1_000).values())


def test_nothing_of_the_machine_is_stored() -> None:
    """Neither results nor page nor charts name a folder of the machine that made them."""
    files = [page.PAGE, *page.RESULTS.glob("*.json"), *CHARTS]
    for file in files:
        found = re.findall(r"/(?:home|root|work|tmp|Users|usr)/\w+", file.read_text("utf-8"))
        assert not found, (file.name, found)


@pytest.mark.parametrize(
    ("text", "tables", "message"),
    [
        pytest.param("no marker", {"a": "x"}, "must have", id="missing"),
        pytest.param(
            "<!-- results: a -->\n<!-- end of a -->\n<!-- results: b -->",
            {"a": "x"},
            r"\['b'\]",
            id="unknown",
        ),
        pytest.param("<!-- results: a -->", {"a": "x"}, "end of a", id="open"),
    ],
)
def test_wrong_markers(text: str, tables: dict[str, str], message: str) -> None:
    """A page whose markers do not fit the tables is refused, not half written."""
    with pytest.raises(markdown.PageError, match=message):
        markdown.fill_page(text, tables)


def test_no_results(tmp_path: Path) -> None:
    """Without results the reader is told which command makes them."""
    with pytest.raises(markdown.PageError, match="make benchmark_compare"):
        page.read_results(tmp_path)


# --- charts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_chart_is_well_formed(chart: Path) -> None:
    """A stored chart is XML with a title, both schemes, nothing from elsewhere, and texts inside it."""
    text = chart.read_text("utf-8")
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title")
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"href|<script|<image|url\(|@import", text)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for element in root.iter(f"{SVG}text"):
        assert 0 < float(element.attrib["x"]) < width
        assert 0 < float(element.attrib["y"]) < height


HOSTILE = "<b>&\"'</text><script>1</script>"


def test_texts_in_charts_are_escaped() -> None:
    """What stands in a text of a chart stays a text."""
    bars = [Bar(label=HOSTILE, value=1.0, text=HOSTILE, colour="a")]
    lines = [Ratios(label=HOSTILE, values=[0.5, 2.0])]
    charts = [
        draw_bars(HOSTILE, [Panel(heading=HOSTILE, bars=bars, note=HOSTILE)], footer=[HOSTILE]),
        draw_ratios(HOSTILE, [(HOSTILE, lines)], [HOSTILE, HOSTILE], sides=(HOSTILE, HOSTILE)),
    ]
    for chart in charts:
        root = ET.fromstring(chart)
        assert not list(root.iter(f"{SVG}script"))
        assert [e.text for e in root.iter(f"{SVG}text")].count(HOSTILE) >= 4


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.0, 5.0], [None, 1.0], [None, None], [1e-9, 1e9]])
@pytest.mark.parametrize("is_log", [False, True])
def test_bars_of_any_value(values: list[float | None], is_log: bool) -> None:
    """Nothing, zero and extremes are drawn without an error, and within the chart."""
    bars = [Bar(label="x", value=value, text=str(value), colour="a") for value in values]
    root = ET.fromstring(draw_bars("t", [Panel(heading="h", bars=bars, is_log=is_log)]))
    for box in root.iter(f"{SVG}rect"):
        assert 0 <= float(box.attrib["width"]) <= float(root.attrib["width"])


# --- speed ------------------------------------------------------------------------------------------


def test_row_is_measured_in_a_fresh_process() -> None:
    """A row is measured by a process of the checkout, beside its floor, and a failure says why."""
    figures = speed.measure_in(speed.ROOT, "host-calls-2")
    assert isinstance(figures, speed.Figures), figures
    assert figures.ours > 0
    assert "KeyError" in str(speed.measure_in(speed.ROOT, "no such row"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_growth_is_measured() -> None:
    """A point has the processor time of a program, and the memory that its worker took for the records."""
    point = growth.measure_in_process("records", 1)
    assert point.size == 1
    assert min(point.seconds, point.worker_mib) > 0


@pytest.mark.parametrize(("now", "is_met"), [(2.0, True), (5.0, False)])
def test_two_checkouts_are_compared_by_their_floors(now: float, is_met: bool) -> None:
    """A machine that is twice as slow for both changes no ratio, and the goal is held against the ratio."""
    row = speed.Row(title="a call", floor="none", goal=3, measure=lambda: pytest.fail("measured"))

    def figures(ratio: float, floor: float) -> speed.Figures:
        return speed.Figures(ratio * floor, floor, ratio, 0.0)

    before = [figures(4.0, 10.0), figures(4.0, 20.0)]
    after = [figures(now, 20.0), figures(now, 10.0)]
    record = json.loads(json.dumps(speed.summarize(row, [before, after])))
    assert record["change"] == now / 4
    assert record["is_met"] is is_met
    part = {"date": "d", "command": "c", "machine": {"words": "w", "python": "p", "packages": "q"}}
    text = page.render_speed({**part, "rows": {"calls": record}})
    assert f"({now:g}\u00d7)" in text
    assert ("missed" in text) is not is_met


# --- peers ------------------------------------------------------------------------------------------


def test_peers_are_pinned() -> None:
    """Each peer is installed in the version that was measured, and says what it protects against."""
    for peer in PEERS:
        assert all(
            re.fullmatch(r"[\w.-]+(\[[\w-]+\])?==[\w.]+", text) for text in peer.requirements
        )
        assert peer.protects
    assert len({peer.name for peer in PEERS}) == len(PEERS)


def test_every_peer_is_measured_or_says_why_not(results: page.Results) -> None:
    """The stored results have a row for each peer, measured in its pinned version or with the reason."""
    rows = {row["name"]: row for row in results["peers"]["rows"]}
    assert list(rows) == [peer.name for peer in PEERS]
    for peer in PEERS:
        row = rows[peer.name]
        if "missing" in row:
            continue
        if peer.requirements:
            assert f"=={row['version']}" in peer.requirements[0]
        for part, wanted in (("sandbox", peer.sandbox), ("agent", peer.agent)):
            assert bool(wanted) == (part in row or f"{part}_failed" in row)
        for part in ("programs", "attacks"):
            assert bool(peer.whole) == (part in row or f"{part}_failed" in row)


def test_what_the_peers_are_asked() -> None:
    """There are 72 programs, each with a name of its own, that parse; and attacks of every kind."""
    assert len(PROGRAMS) == len(dict(PROGRAMS)) == 72
    for name, code in PROGRAMS:
        compile(code, name, "exec")
    attacks = read_attacks()
    assert {attack["kind"] for attack in attacks} == {"reach", "time", "memory", "death"}
    assert len({attack["name"] for attack in attacks}) == len(attacks)
    json.dumps(attacks)


def test_direct_ways_are_named() -> None:
    """The ways that the comparison calls direct are ways."""
    assert set(DIRECT) < set(WAYS)

"""The dated page of results: tables between markers of `docs/benchmark.md`, and charts, from stored JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import prefetch, prefetch_peers
from benchmarks.charts import Bar, Colour, Panel, Ratios, draw_bars, draw_ratios
from benchmarks.markdown import fill_page, table_of
from benchmarks.mechanism import ROWS, WAYS, Assumptions, Measured
from benchmarks.peers.tables import draw_peers, render_peers
from benchmarks.stored import RESULTS, Results, read_newest, results_of, write_dated

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmark.md"
CHARTS = ROOT / "docs" / "_static" / "benchmark"
TITLES: Mapping[str, str] = {
    "expenses": "45-member expense review",
    "sales": "Top-10 sales",
    "inventory": "Inventory with suppliers",
    "incidents": "Incident triage",
    "search": "Early-exit search",
    "lookup": "A single look-up",
    "two_calls": "A two-call task",
}
_COLOURS: Mapping[str, Colour] = {"one": "a", "parallel": "b", "agent": "c", "node": "d"}
_SHORT = {
    "one": "direct, one a turn",
    "parallel": "direct, parallel",
    "agent": "programmatic, agent",
    "node": "programmatic, node",
}

_AGENT_AND_NODE = (
    "Agent: create_agent with as_programmatic. Node: ProgrammaticToolNode as last, its output is the "
    "answer."
)
_TIMES = "\u00d7"
_REAL = "Every way gives the same right answer. Simulated perfect model; the rest is real."
_BETTER_WAY = "create_agent with as_programmatic, against the better direct way with a prompt cache that forgets"


class Mechanism:
    """What was measured of both ways, to be asked by task, rows and way."""

    def __init__(self, results: Results) -> None:
        self.assumed = Assumptions(**results["assumptions"])
        measured = [Measured(**record) for record in results["mechanism"]]
        self._by_key = {(m.scenario, m.rows, m.way): m for m in measured}

    def get(self, scenario: str, rows: int, way: str) -> Measured:
        """Return one measurement."""
        return self._by_key[scenario, rows, way]

    def seconds(self, scenario: str, rows: int, way: str, *, cached: bool) -> float:
        """Return the wall time at the assumed speeds."""
        return self.get(scenario, rows, way).seconds(self.assumed, cached=cached)

    def price(self, scenario: str, rows: int, way: str, *, cached: bool) -> float:
        """Return the price in tokens read."""
        return self.get(scenario, rows, way).price(self.assumed, cached=cached)

    def compare(self, scenario: str, rows: int) -> dict[str, float]:
        """Return how many times of the programmatic agent's the better direct way takes.

        Direct calling is at its best here: each measure is that of its better way, with a cache
        that forgets nothing.
        """

        def ratio(measure: Callable[[str], float]) -> float:
            return min(map(measure, ("one", "parallel"))) / measure("agent")

        return {
            "tokens read": ratio(lambda way: self.get(scenario, rows, way).tokens_in),
            "price": ratio(lambda way: self.price(scenario, rows, way, cached=True)),
            "seconds": ratio(lambda way: self.seconds(scenario, rows, way, cached=True)),
        }


def read_results(folder: Path = RESULTS) -> Results:
    """Read the newest results.

    Raises:
        PageError: There are none.
    """
    return read_newest(folder, "make benchmark_compare")


def write_page(results: Results) -> None:
    """Write the tables into the page, and the charts beside it.

    Raises:
        PageError: The page lacks a marker.
    """
    PAGE.write_text(fill_page(PAGE.read_text("utf-8"), render_tables(results)), "utf-8")
    CHARTS.mkdir(parents=True, exist_ok=True)
    for name, image in render_charts(results).items():
        (CHARTS / name).write_text(image, "utf-8")


def store_part(name: str, command: str, measured: Mapping[str, Any]) -> None:
    """Store what one script has measured beside the newest results, and write the page.

    Raises:
        PageError: The page lacks a marker.
    """
    results = {**read_results(), name: results_of(command, **measured)}
    write_dated(results, RESULTS)
    write_page(results)


def render_tables(results: Results) -> dict[str, str]:
    """Render every table of the page by its name."""
    mechanism = Mechanism(results)
    tables = {
        "run": render_run(results),
        "assumptions": render_assumptions(mechanism.assumed),
        "expenses": render_one("expenses", mechanism),
        "tasks": render_tasks(mechanism),
        "direct-wins": render_direct_wins(mechanism),
    }
    for name, render in {
        "speed": render_speed,
        "growth": render_growth,
        "prefetch": render_prefetch,
        "prefetch_peers": render_prefetch_peers,
    }.items():
        if name in results:
            tables[name] = render(results[name])
    if "peers" in results:
        tables |= render_peers(results["peers"])
    return tables


def render_prefetch(part: Results) -> str:
    """Render how much earlier programs end when their calls begin early."""
    return f"{_taken(part)}\n\n{prefetch.render(part)}"


def render_prefetch_peers(part: Results) -> str:
    """Render the same programs in others that begin while the model writes."""
    return f"{_taken(part)}\n\n{prefetch_peers.render(part)}"


def _taken(part: Results) -> str:
    machine = part["machine"]
    return (
        f"Taken on **{part['date']}** with `{part['command']}`, on {machine['words']}; Python "
        f"{machine['python']}, {machine['packages']}."
    )


def render_speed(part: Results) -> str:
    """Render every row of `benchmarks.speed`."""
    rows = []
    for row in part["rows"].values():
        before, now = row["before"], row["after"]
        bound = f"{row['goal']:g}{_TIMES if row['is_ratio'] else ' ' + row['unit']}"
        rows.append(
            [
                row["title"],
                _speed_cell(row, before) if before else "",
                _speed_cell(row, now),
                f"{row['change']:.2f}" if row["change"] else "",
                f"{row['floor']}: {now[1]:.3g} {row['unit']}" if row["floor"] else "",
                f"≤ {bound}{'' if row['is_met'] else ', **missed**'}" if row["goal"] else "",
            ]
        )
    head = ["work", "before", "now", "now / before", "floor", "goal"]
    return f"{_taken(part)}\n\n{table_of(head, rows)}"


def _speed_cell(row: Mapping[str, Any], figures: list[float]) -> str:
    ours, floor, ratio, _ = figures
    text = f"{ours:,.0f}" if ours >= 100 or not row["unit"] else f"{ours:.3g}"
    return f"{text} {row['unit']}".strip() + (f" ({ratio:.3g}{_TIMES})" if floor else "")


def render_growth(part: Results) -> str:
    """Render every point of `benchmarks.growth`."""
    rows = [
        [
            name if place == 0 else "",
            f"{size:,} {part['units'][name]}",
            f"{seconds:,.2f}",
            f"{seconds / size * 1e3:,.2f}",
            f"{host:,.1f}",
            f"{worker:,.1f}",
        ]
        for name, points in part["series"].items()
        for place, (size, seconds, host, worker) in enumerate(points)
    ]
    head = [
        "what",
        "size",
        "CPU, s",
        "CPU, ms each",
        "memory of the host, MiB",
        "of the worker, MiB",
    ]
    return f"{_taken(part)}\n\n{table_of(head, rows)}"


def render_run(results: Results) -> str:
    """Say when, where and with what the results were taken."""
    machine = results["machine"]
    return (
        f"Taken on **{results['date']}** with `{results['command']}`, on {machine['words']}; "
        f"Python {machine['python']}, {machine['packages']}. The raw figures are in "
        f"`benchmarks/results/{results['date']}.json`."
    )


def render_assumptions(assumed: Assumptions) -> str:
    """Say what the model is assumed to be."""
    return (
        f"The model reads {assumed.read_tokens_per_second:,.0f} tokens a second and writes "
        f"{assumed.write_tokens_per_second:g}; each inference takes "
        f"{assumed.round_trip_seconds:g} s in addition. A token that is written costs "
        f"{assumed.price_written:g} times as much as one that is read; one that the prompt cache "
        f"has, {assumed.price_cached:g} times as much and no time."
    )


def _cells(measured: Measured, assumed: Assumptions) -> list[str]:
    return [
        f"{measured.inferences:,}",
        f"{measured.tool_calls:,}",
        f"{measured.tokens_in:,}",
        f"{measured.tokens_new:,}",
        f"{measured.tokens_out:,}",
        f"{measured.result_bytes:,}",
        f"{measured.seconds(assumed, cached=False):,.1f}",
        f"{measured.seconds(assumed, cached=True):,.1f}",
        f"{measured.price(assumed, cached=True):,.0f}",
        "yes" if measured.is_right else "**no**",
    ]


def render_one(scenario: str, mechanism: Mechanism) -> str:
    """Render everything that was measured of one task."""
    head = (
        "rows, way|inferences|tool calls|tokens read|of them new|tokens written|result bytes"
        "|seconds|with cache|price with cache|right"
    )
    rows = [
        [f"{size:,}: {title}", *_cells(mechanism.get(scenario, size, way), mechanism.assumed)]
        for size in ROWS
        for way, title in WAYS.items()
    ]
    return table_of(head.split("|"), rows)


def render_tasks(mechanism: Mechanism) -> str:
    """Render every task: inferences, tokens and time of each way."""
    head = ["task", "rows", "inferences", "tokens read and written", "seconds, with cache", "right"]
    rows = []
    for scenario, title in TITLES.items():
        for size in ROWS:
            each = [mechanism.get(scenario, size, way) for way in WAYS]
            times = [mechanism.seconds(scenario, size, way, cached=True) for way in WAYS]
            right = sum(m.is_right for m in each)
            rows.append(
                [
                    title if size == ROWS[0] else "",
                    f"{size:,}",
                    " / ".join(f"{m.inferences:,}" for m in each),
                    " / ".join(f"{m.tokens_in + m.tokens_out:,}" for m in each),
                    " / ".join(f"{seconds:,.1f}" for seconds in times),
                    f"{right} of {len(each)}",
                ]
            )
    return table_of(head, rows)


def render_direct_wins(mechanism: Mechanism) -> str:
    """List every task and size at which direct calling is better by any measure."""
    rows = []
    for scenario, title in TITLES.items():
        for size in ROWS:
            ratios = mechanism.compare(scenario, size)
            if min(ratios.values()) < 1:
                cells = [f"**{r:.2f}**" if r < 1 else f"{r:.2f}" for r in ratios.values()]
                rows.append([title, f"{size:,}", *cells])
    total = len(TITLES) * len(ROWS)
    head = ["task", "rows", "tokens read", "price with cache", "seconds with cache"]
    intro = (
        f"In {len(rows)} of {total} cases direct calling is better by at least one measure. The "
        "table shows what the better direct way takes, the programmatic agent being 1; **bold** is "
        "where direct calling wins."
    )
    return f"{intro}\n\n{table_of(head, rows)}"


# --- charts -----------------------------------------------------------------------------------------


def render_charts(results: Results) -> dict[str, str]:
    """Draw every chart by the name of its file."""
    mechanism = Mechanism(results)
    charts = {
        "members.svg": draw_members(mechanism, results["date"]),
        "tasks.svg": draw_tasks(mechanism, results["date"]),
    }
    if "growth" in results:
        charts["growth.svg"] = draw_growth(results["growth"])
    if "prefetch" in results:
        charts["prefetch.svg"] = prefetch.draw(results["prefetch"], results["prefetch"]["date"])
    if "peers" in results:
        charts["peers.svg"] = draw_peers(results["peers"], results["date"])
    return charts


def draw_members(mechanism: Mechanism, date: str) -> str:
    """Draw the review of 45 members, side by side."""
    size = ROWS[-1]

    def panel(heading: str, measure: Callable[[str], float], text: str, note: str = "") -> Panel:
        bars = [
            Bar(
                label=_SHORT[way],
                value=measure(way),
                text=text.format(measure(way)),
                colour=_COLOURS[way],
            )
            for way in WAYS
        ]
        return Panel(heading=heading, bars=bars, note=note)

    panels = [
        panel("Inferences", lambda way: mechanism.get("expenses", size, way).inferences, "{:,.0f}"),
        panel(
            "Tokens read by the model",
            lambda way: mechanism.get("expenses", size, way).tokens_in,
            "{:,.0f}",
        ),
        panel(
            "Price, with a perfect prompt cache",
            lambda way: mechanism.price("expenses", size, way, cached=True),
            "{:,.0f}",
            "in tokens read",
        ),
        panel(
            "Seconds, with a perfect prompt cache",
            lambda way: mechanism.seconds("expenses", size, way, cached=True),
            "{:,.1f}",
            "at the speeds that the page states",
        ),
    ]
    footer = (
        _AGENT_AND_NODE,
        f"{_REAL} {date}, docs/benchmark.md",
    )
    title = f"45-member expense review over {size:,} expense lines"
    return draw_bars(title, panels, footer=footer)


def draw_tasks(mechanism: Mechanism, date: str) -> str:
    """Draw where programmatic calling wins, and where direct calling does."""

    def lines(measure: str) -> list[Ratios]:
        return [
            Ratios(
                label=title, values=[mechanism.compare(scenario, size)[measure] for size in ROWS]
            )
            for scenario, title in TITLES.items()
        ]

    groups = [
        ("Price: direct ÷ programmatic agent", lines("price")),
        ("Seconds: direct ÷ programmatic agent", lines("seconds")),
    ]
    return draw_ratios(
        "Where programmatic tool calling pays, and where it does not",
        groups,
        [f"{size:,} rows" for size in ROWS],
        sides=("direct calling wins", "programmatic wins"),
        footer=(_BETTER_WAY, f"nothing; simulated perfect model. {date}, docs/benchmark.md"),
    )


def draw_growth(part: Results) -> str:
    """Draw time and memory for each call and megabyte, at every size."""
    panels = []
    for name, points in part["series"].items():
        unit = part["units"][name]
        times, memory = [], []
        for size, seconds, host, worker in points:
            label, ms, kib = f"{size:,} {unit}", seconds / size * 1e3, (host + worker) * 1024 / size
            times.append(Bar(label=label, value=ms, text=f"{ms:,.2f} ms", colour="c"))
            memory.append(Bar(label=label, value=kib, text=f"{kib:,.1f} KiB", colour="d"))
        heading = name[0].upper() + name[1:]
        panels += [
            Panel(heading=heading, bars=times, note=f"processor time for each {unit}"),
            Panel(heading="", bars=memory, note=f"memory of host and worker for each {unit}"),
        ]
    footer = (
        "Bars of one length are linear growth; the smallest sizes carry the start of the program.",
        f"{part['date']}, docs/benchmark.md",
    )
    return draw_bars("How time and memory grow", panels, footer=footer)

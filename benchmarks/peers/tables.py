"""Renders what was measured of the peers: tables of Markdown and a chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.charts import Bar, Colour, Panel, draw_bars
from benchmarks.markdown import table_of

Told = Mapping[str, Any]

_KIND_TITLES = {
    "reach": "files, programs, network, secrets, host",
    "time": "time",
    "memory": "memory",
    "death": "death of the host",
}
_NONE = "\u2013"


def render_peers(peers: Told) -> dict[str, str]:
    """Render every table about peers by its name."""
    return {
        "peers": _render_about(peers),
        "peers-sandboxes": _render_sandboxes(peers),
        "peers-agents": _render_agents(peers),
        "peers-attacks": _render_attacks(peers),
        "peers-through": _render_through(peers),
    }


def figure(value: Any) -> str:
    """Render a number with two or three digits that mean something; a text means that it failed."""
    if value is None:
        return _NONE
    if isinstance(value, str):
        return "fails"
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.01 else "<0.01"


def _render_about(peers: Told) -> str:
    rows = [
        [
            row["title"],
            row.get("version") or "",
            row["language"],
            row["protects"],
            row.get("missing", "measured"),
        ]
        for row in peers["rows"]
    ]
    return table_of(["what", "version", "language", "between the code and the host", "here"], rows)


def _render_sandboxes(peers: Told) -> str:
    head = (
        "sandbox alone|first program, ms|next one, ms|a call, µs|100 calls of 50 ms, ms"
        "|10 MB result, ms|computing, \u00d7 CPython|memory, MB|programs that run"
    )
    keys = ("cold_ms", "warm_ms", "call_us", "parallel_ms", "payload_ms", "cpu_x", "memory_mb")
    rows = []
    for row in peers["rows"]:
        speed = row.get("sandbox", {})
        if not speed and "programs" not in row:
            continue
        cells = [figure(speed.get(key)) for key in keys]
        if speed.get("parallel_is_serial"):
            cells[3] += " (one after another)"
        ran = row.get("programs")
        cells.append(f"{ran['ran']} of {peers['programs']}" if ran else "no Python")
        rows.append([row["title"], *cells])
    return table_of(head.split("|"), rows)


def _render_agents(peers: Told) -> str:
    head = (
        "agent|first run, ms|next run, ms|a call, µs|\u00d7 the tool's `ainvoke`"
        "|100 calls of 50 ms, ms|\u00d7 `gather` of `ainvoke`|memory, MB"
    )
    rows = []
    for row in peers["rows"]:
        speed = row.get("agent")
        if not speed:
            continue
        parallel = figure(speed["parallel_ms"])
        cells = [figure(speed.get(key)) for key in ("cold_ms", "warm_ms", "call_us", "call_x")]
        alone = speed.get("alone_parallel_ms")
        share = figure(alone and speed["parallel_ms"] / alone)
        rows.append([row["title"], *cells, parallel, share, figure(speed["memory_mb"])])
    return table_of(head.split("|"), rows)


def _render_attacks(peers: Told) -> str:
    totals = peers["attacks"]
    rows = [
        [
            row["title"],
            *[f"{row['attacks']['through'][kind]} of {totals[kind]}" for kind in totals],
        ]
        for row in peers["rows"]
        if "attacks" in row
    ]
    return table_of(["attacks that get through", *[_KIND_TITLES[kind] for kind in totals]], rows)


def _render_through(peers: Told) -> str:
    lines = []
    for row in peers["rows"]:
        names = row.get("attacks", {}).get("names", {})
        if names and row["name"] not in ("plain", "codeact"):
            some = ", ".join(names)
            lines.append(f"- {row['title']}: {some}.")
    return "\n".join(lines) or "None got through anywhere but in plain Python."


def draw_peers(peers: Told, date: str) -> str:
    """Draw what matters most, side by side."""

    def panel(heading: str, key: str, unit: str) -> Panel:
        rows = [row for row in peers["rows"] if isinstance(row.get("sandbox", {}).get(key), float)]
        bars = [
            _bar(row, row["sandbox"][key], f"{figure(row['sandbox'][key])}{unit}") for row in rows
        ]
        return Panel(heading=heading, note="less is better; logarithmic", bars=bars, is_log=True)

    ran = [row for row in peers["rows"] if "programs" in row]
    programs = Panel(
        heading=f"Programs of plain Python that run, of {peers['programs']}",
        note="more is better",
        bars=[_bar(row, row["programs"]["ran"], str(row["programs"]["ran"])) for row in ran],
    )
    attacked = [row for row in peers["rows"] if "attacks" in row]
    through = {row["name"]: sum(row["attacks"]["through"].values()) for row in attacked}
    attacks = Panel(
        heading=f"Attacks that get through, of {sum(peers['attacks'].values())}",
        note="less is better",
        bars=[_bar(row, through[row["name"]], str(through[row["name"]])) for row in attacked],
    )
    panels = [
        panel("A tool call from code", "call_us", " µs"),
        panel("100 calls of 50 ms", "parallel_ms", " ms"),
        panel("The next program", "warm_ms", " ms"),
        panel("Computing, times CPython", "cpu_x", "\u00d7"),
        programs,
        attacks,
    ]
    footer = (
        "One run; only ratios mean something. The attacks are our own; ours was built against them.",
        f"What each protects against is in the page. {date}, docs/benchmark.md",
    )
    return draw_bars("Sandboxes for tool-calling code", panels, footer=footer)


def _bar(row: Told, value: float, text: str) -> Bar:
    return Bar(label=_short(row), value=value, text=text, colour=_colour(row))


def _short(row: Told) -> str:
    names = {"plain": "plain exec", "ours": "langchain-ptc", "ours-inprocess": "ptc, in process"}
    names |= {"codeact": "codeact README", "quickjs": "quickjs (JS)"}
    return names.get(row["name"], str(row["name"]))


def _colour(row: Told) -> Colour:
    if row["name"] == "plain":
        return "a"
    return "c" if row["name"].startswith("ours") else "b"

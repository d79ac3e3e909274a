"""Incident triage: which services burn, since which deploy, and whom to call?"""

from __future__ import annotations

import random
from collections import Counter
from typing import TypedDict

from langchain_core.tools import BaseTool, tool

from benchmarks.scenarios.base import Found, Request, Task, ask_sql

_NAMES = "auth billing cart catalog checkout gateway inventory mail orders payments search users"
SERVICES = tuple(_NAMES.split())
TEAMS = ("platform", "commerce", "growth", "core")


class Alert(TypedDict):
    """One alert that is open."""

    id: int
    at: str
    service: str
    severity: str
    message: str


class Service(TypedDict):
    """A service and who owns it."""

    name: str
    tier: int
    team: str


class Deploy(TypedDict):
    """One deploy of a service."""

    version: str
    at: str
    author: str


class OnCall(TypedDict):
    """Who is on call for a team."""

    team: str
    person: str
    phone: str


PROGRAM = """\
import asyncio
from collections import defaultdict

critical = defaultdict(list)
for alert in await list_alerts(state="open"):
    if alert["severity"] == "critical":
        critical[alert["service"]].append(alert["at"])
names = list(critical)
services = await asyncio.gather(*[get_service(name=n) for n in names])
deploys = await asyncio.gather(*[get_deploys(service=n) for n in names])
teams = sorted({s["team"] for s in services})
calls = await asyncio.gather(*[get_on_call(team=t) for t in teams])
on_call = {c["team"]: c["person"] for c in calls}
found = []
for service, history in zip(services, deploys):
    times = critical[service["name"]]
    before = [d for d in history if d["at"] <= min(times)]
    suspect = max(before, key=lambda d: d["at"])["version"] if before else "none"
    found.append((service["tier"], -len(times), service["name"], suspect, on_call[service["team"]]))
for tier, count, name, suspect, person in sorted(found):
    print(f"{name} (tier {tier}): {-count} critical, deploy {suspect}, call {person}")
"""


def build_incidents(rows: int) -> tuple[list[BaseTool], Task]:
    """Build tools and task over so many alerts of twelve services."""
    rng = random.Random(f"incidents {rows}")
    services: list[Service] = [
        {"name": name, "tier": rng.randint(1, 3), "team": rng.choice(TEAMS)} for name in SERVICES
    ]
    deploys = {name: _make_deploys(rng) for name in SERVICES}
    alerts = [_make_alert(rng, number) for number in range(1, rows + 1)]
    people: list[OnCall] = [
        {"team": team, "person": f"Person {number}", "phone": f"+49 30 5550{number}"}
        for number, team in enumerate(TEAMS, 1)
    ]

    @tool
    async def list_alerts(state: str) -> list[Alert]:
        """List the alerts that are `open` or `closed`, the oldest first."""
        return alerts if state == "open" else []

    @tool
    async def get_service(name: str) -> Service:
        """Get a service; tier 1 matters most."""
        return next(service for service in services if service["name"] == name)

    @tool
    async def get_deploys(service: str) -> list[Deploy]:
        """Get the deploys of a service in the last two days, in no order."""
        return deploys[service]

    @tool
    async def get_on_call(team: str) -> OnCall:
        """Get who is on call for a team."""
        return next(person for person in people if person["team"] == team)

    truth = ask_sql(
        {
            "alerts": alerts,
            "services": services,
            "deploys": [{"service": n, **d} for n, each in deploys.items() for d in each],
            "people": people,
        },
        """
        WITH burning AS (
            SELECT service, COUNT(*) AS count, MIN(at) AS since FROM alerts
            WHERE severity = 'critical' GROUP BY service
        )
        SELECT name, tier, count, COALESCE((
            SELECT version FROM deploys WHERE deploys.service = name AND at <= since
            ORDER BY at DESC LIMIT 1
        ), 'none'), person
        FROM burning JOIN services ON name = service JOIN people USING (team)
        ORDER BY tier, count DESC, name
        """,
    )
    lines = [
        f"{name} (tier {tier}): {count} critical, deploy {version}, call {person}"
        for name, tier, count, version, person in truth
    ]
    task = Task(
        name="incidents",
        title="Incident triage",
        question="Which services have open critical alerts, how many, which was the last deploy "
        "before the first of them (or none), and whom do we call? One line for each, `service (tier "
        "n): n critical, deploy version, call person`, by tier, then the most alerts, then name, "
        "and nothing else.",
        plan=_plan,
        answer=_answer,
        program=PROGRAM,
        truth="\n".join(lines),
    )
    return [list_alerts, get_service, get_deploys, get_on_call], task


def _make_alert(rng: random.Random, number: int) -> Alert:
    severity = rng.choices(("critical", "warning", "info"), (2, 5, 3))[0]
    return {
        "id": number,
        "at": f"2025-11-{20 + number % 2} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
        "service": rng.choice(SERVICES),
        # One always is, so that something burns in ten rows too.
        "severity": "critical" if number == 3 else severity,
        "message": rng.choice(
            ("p99 latency above 2 s", "error rate above 5%", "disk 90% full", "queue is growing")
        ),
    }


def _make_deploys(rng: random.Random) -> list[Deploy]:
    return [
        {
            "version": f"v{rng.randint(1, 9)}.{rng.randint(0, 99)}.{number}",
            "at": f"2025-11-{rng.randint(19, 21)} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
            "author": f"dev{rng.randint(1, 30)}",
        }
        for number in range(rng.randint(0, 4))
    ]


def _critical(found: Found) -> dict[str, list[str]]:
    burning: dict[str, list[str]] = {}
    for alert in found.get("list_alerts", state="open") or []:
        if alert["severity"] == "critical":
            burning.setdefault(alert["service"], []).append(alert["at"])
    return burning


def _plan(found: Found) -> list[Request]:
    requests: list[Request] = [("list_alerts", {"state": "open"})]
    teams = Counter[str]()
    for name in _critical(found):
        requests += [("get_service", {"name": name}), ("get_deploys", {"service": name})]
        service = found.get("get_service", name=name)
        if service:
            teams[service["team"]] += 1
    return requests + [("get_on_call", {"team": team}) for team in teams]


def _answer(found: Found) -> str:
    lines = []
    for name, times in _critical(found).items():
        service = found.get("get_service", name=name)
        since, suspect, latest = min(times), "none", ""
        for deploy in found.get("get_deploys", service=name):
            if latest < deploy["at"] <= since:
                suspect, latest = deploy["version"], deploy["at"]
        person = found.get("get_on_call", team=service["team"])["person"]
        lines.append((service["tier"], -len(times), name, suspect, person))
    return "\n".join(
        f"{name} (tier {tier}): {-count} critical, deploy {suspect}, call {person}"
        for tier, count, name, suspect, person in sorted(lines)
    )

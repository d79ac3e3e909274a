"""Servers and incidents: regions, measurements, restarts and pages."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from langchain_core.tools import tool

from benchmarks.tasks.base import Domain, Effect, Task, World
from benchmarks.tasks.checks import anything, says_names, says_number, says_pairs

Region = Literal["eu", "us", "asia"]
State = Literal["open", "closed"]


@dataclass(frozen=True)
class Server:
    """A machine."""

    id: str
    hostname: str
    region: Region
    team: str


@dataclass(frozen=True)
class Metrics:
    """What a server uses now, in percent."""

    server_id: str
    cpu: float
    memory: float
    disk: float


@dataclass(frozen=True)
class Incident:
    """Something that went wrong; `minutes` is how long it lasted so far."""

    id: int
    server_id: str
    severity: Literal["low", "high", "critical"]
    state: State
    minutes: int


_HOSTS: dict[Region, str] = {
    "eu": "amber birch cedar daisy",
    "us": "elm fern grape hazel iris",
    "asia": "jade kelp lotus maple",
}
_OWNERS = (
    *("payments", "search", "payments", "storage", "payments", "storage", "search", "payments"),
    *("search", "storage", "payments", "storage", "search"),
)
_TEAMS = frozenset(_OWNERS)
_SEVERITIES: tuple[Literal["low", "high", "critical"], ...] = ("low", "high", "critical")


def _make_servers() -> list[Server]:
    places = [(region, host) for region, hosts in _HOSTS.items() for host in hosts.split()]
    return [
        Server(id=f"srv-{n}", hostname=host, region=region, team=team)
        for n, ((region, host), team) in enumerate(zip(places, _OWNERS, strict=True), 1)
    ]


def _make_metrics() -> dict[str, Metrics]:
    rng = random.Random(90)

    def percent() -> float:
        return round(rng.uniform(30, 99), 1)

    return {
        server.id: Metrics(server_id=server.id, cpu=percent(), memory=percent(), disk=percent())
        for server in SERVERS
    }


def _make_incidents() -> list[Incident]:
    rng = random.Random(20)
    return [
        Incident(
            id=n,
            server_id=rng.choice(SERVERS).id,
            severity=rng.choice(_SEVERITIES),
            state=rng.choice(("open", "open", "closed")),
            minutes=rng.randint(3, 240),
        )
        for n in range(901, 919)
    ]


SERVERS = _make_servers()
METRICS = _make_metrics()
INCIDENTS = _make_incidents()
HOSTS = [server.hostname for server in SERVERS]
WORDS = {*HOSTS, *_HOSTS, *_TEAMS, *_SEVERITIES, *(server.id for server in SERVERS)}


def build() -> World:
    """Build the tools over the data."""
    world = World(tools=())

    def act(name: str, **arguments: str) -> bool:
        if arguments.get("server_id", "srv-1") not in METRICS:
            raise ValueError(f"there is no server with the id {arguments['server_id']!r}")
        if arguments.get("team", "search") not in _TEAMS:
            raise ValueError(f"there is no team {arguments['team']!r}")
        world.effects.append(Effect(tool=name, arguments=arguments))
        return True

    @tool
    def list_servers(region: Region) -> list[Server]:
        """List the servers of a region."""
        return [server for server in SERVERS if server.region == region]

    @tool
    def get_metrics(server_id: str) -> Metrics:
        """Get what a server uses of its CPU, memory and disk, in percent."""
        if server_id not in METRICS:
            raise ValueError(f"there is no server with the id {server_id!r}")
        return METRICS[server_id]

    @tool
    def list_incidents(state: State) -> list[Incident]:
        """List the incidents of all servers that are open, or closed."""
        return [incident for incident in INCIDENTS if incident.state == state]

    @tool
    def restart_server(server_id: str) -> bool:
        """Restart a server."""
        return act("restart_server", server_id=server_id)

    @tool
    def page_team(team: str, text: str) -> bool:
        """Page a team by its name."""
        return act("page_team", team=team, text=text)

    world.tools = (list_servers, get_metrics, list_incidents, restart_server, page_team)
    return world


# --- the truth ----------------------------------------------------------------------------------


def _in(region: Region) -> list[Server]:
    return [server for server in SERVERS if server.region == region]


def _incidents(state: State) -> list[Incident]:
    return [incident for incident in INCIDENTS if incident.state == state]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


_CPU: dict[str, float] = {
    region: _mean([METRICS[s.id].cpu for s in _in(region)]) for region in _HOSTS
}
_FULLEST = max(_in("us"), key=lambda server: METRICS[server.id].disk)
_HOT = next(server for server in _in("us") if METRICS[server.id].cpu > 85)
_CRITICAL = {i.server_id for i in _incidents("open") if i.severity == "critical"}
_TROUBLED = {i.server_id for i in _incidents("open")}

TASKS = (
    Task(
        name="disk-of-one",
        shape="look-up",
        question="How many percent of its disk does the server srv-3 use?",
        program="""\
metrics = await get_metrics(server_id="srv-3")
print(metrics["disk"])""",
        check=says_number(METRICS["srv-3"].disk, words=WORDS),
    ),
    Task(
        name="hosts-of-team",
        shape="filter",
        question="Print the hostnames of the servers in us that belong to the team search.",
        program="""\
for server in await list_servers(region="us"):
    if server["team"] == "search":
        print(server["hostname"])""",
        check=says_names([s.hostname for s in _in("us") if s.team == "search"], HOSTS),
    ),
    Task(
        name="low-memory",
        shape="filter by total",
        question="Which servers in us use more than 75 percent of their memory? Print their hostnames.",
        program="""\
for server in await list_servers(region="us"):
    metrics = await get_metrics(server_id=server["id"])
    if metrics["memory"] > 75:
        print(server["hostname"])""",
        check=says_names([s.hostname for s in _in("us") if METRICS[s.id].memory > 75], HOSTS),
    ),
    Task(
        name="cpu-by-region",
        shape="totals per group",
        question="What is the average CPU use of the servers of each of the regions eu, us and asia?",
        program="""\
for region in ["eu", "us", "asia"]:
    used = []
    for server in await list_servers(region=region):
        used.append((await get_metrics(server_id=server["id"]))["cpu"])
    print(region, round(sum(used) / len(used), 2))""",
        check=says_pairs(_CPU, _HOSTS),
    ),
    Task(
        name="fullest-disk",
        shape="maximum",
        question="Which server in us uses the most of its disk? Print its hostname and the percent.",
        program="""\
best, most = None, -1
for server in await list_servers(region="us"):
    metrics = await get_metrics(server_id=server["id"])
    if metrics["disk"] > most:
        best, most = server["hostname"], metrics["disk"]
print(best, most)""",
        check=says_pairs({_FULLEST.hostname: METRICS[_FULLEST.id].disk}, HOSTS),
    ),
    Task(
        name="average-minutes",
        shape="average",
        question="How many minutes have the open incidents lasted on average?",
        program="""\
incidents = await list_incidents(state="open")
print(sum(i["minutes"] for i in incidents) / len(incidents))""",
        check=says_number(
            _mean([i.minutes for i in _incidents("open")]),
            beside=[len(_incidents("open")), sum(i.minutes for i in _incidents("open"))],
            words=WORDS,
        ),
    ),
    Task(
        name="page-owners",
        shape="message those above",
        question="For every server in asia that uses more than 80 percent of its disk, page the "
        "server's team with the text 'Disk almost full'.",
        program="""\
for server in await list_servers(region="asia"):
    metrics = await get_metrics(server_id=server["id"])
    if metrics["disk"] > 80:
        await page_team(team=server["team"], text="Disk almost full")
print("done")""",
        check=anything,
        effects=tuple(
            Effect(tool="page_team", arguments={"team": s.team, "text": "Disk almost full"})
            for s in _in("asia")
            if METRICS[s.id].disk > 80
        ),
    ),
    Task(
        name="critical-hosts",
        shape="join",
        question="Which servers in us have an open incident of severity critical? Print their "
        "hostnames.",
        program="""\
ids = {i["server_id"] for i in await list_incidents(state="open") if i["severity"] == "critical"}
for server in await list_servers(region="us"):
    if server["id"] in ids:
        print(server["hostname"])""",
        check=says_names([s.hostname for s in _in("us") if s.id in _CRITICAL], HOSTS),
    ),
    Task(
        name="restart-first",
        shape="early exit",
        question="Go through the servers in us in the order in which they are listed, and restart the "
        "first one that uses more than 85 percent of its CPU. Restart no other.",
        program="""\
for server in await list_servers(region="us"):
    metrics = await get_metrics(server_id=server["id"])
    if metrics["cpu"] > 85:
        print(await restart_server(server_id=server["id"]))
        break""",
        check=anything,
        effects=(Effect(tool="restart_server", arguments={"server_id": _HOT.id}),),
    ),
    Task(
        name="severities",
        shape="count by key",
        question="How many open incidents are there of each severity?",
        program="""\
counts = {}
for incident in await list_incidents(state="open"):
    counts[incident["severity"]] = counts.get(incident["severity"], 0) + 1
print(counts)""",
        check=says_pairs(Counter(i.severity for i in _incidents("open")), _SEVERITIES),
    ),
    Task(
        name="minutes-of-team",
        shape="join",
        question="How many minutes did the closed incidents on servers of the region eu last in "
        "total?",
        program="""\
ids = [server["id"] for server in await list_servers(region="eu")]
closed = await list_incidents(state="closed")
print(sum(i["minutes"] for i in closed if i["server_id"] in ids))""",
        check=says_number(
            sum(
                i.minutes for i in _incidents("closed") if i.server_id in {s.id for s in _in("eu")}
            ),
            words=WORDS,
        ),
    ),
    Task(
        name="restart-quiet",
        shape="conditional effect",
        question="Restart every server in asia that uses more than 70 percent of its memory, unless "
        "it has an open incident.",
        program="""\
troubled = {incident["server_id"] for incident in await list_incidents(state="open")}
for server in await list_servers(region="asia"):
    metrics = await get_metrics(server_id=server["id"])
    if metrics["memory"] > 70 and server["id"] not in troubled:
        await restart_server(server_id=server["id"])
print("done")""",
        check=anything,
        effects=tuple(
            Effect(tool="restart_server", arguments={"server_id": s.id})
            for s in _in("asia")
            if METRICS[s.id].memory > 70 and s.id not in _TROUBLED
        ),
    ),
)

SERVERS_DOMAIN = Domain(name="servers", held_out=False, build=build, tasks=TASKS)

"""A host with something to lose, under attack: runs attacks in one mode and says what showed.

Run as a program of its own, so that an attack that ends the host is noticed, and so that what the
host's memory grew by is the attack's doing. Attacks come as JSON on standard input, verdicts leave
as lines of JSON.

An attack is an object with `name`, `code` and `proof`: `{"kind": ..., "value": ...}`. It succeeds when
its proof shows; several kinds are joined by `|`:

| kind | shows when |
|---|---|
| `stdout` | the pattern `value` is found in anything that the execution hands back |
| `file` | the file `value` exists |
| `connect` | somebody connected to the host's port |
| `host` | the expression `value` is true in the host |
| `hang` | the execution outlives its wall limit by more than a second |
| `mem` | the host grew by more than 100 MB, or a worker beyond its limit |
| `crash` | the host is gone, or its next execution does not work |
| `base` | an exception, of any kind, came out of the execution |
| `flood` | the execution hands back more than it may print |

`hang`, `crash`, `base` and the host's memory are looked for in every attack, whatever its proof.
`{CANARY}` in the code stands for a folder with `secret.txt`, `{PORT}` for the port; the environment
has `PTC_SECRET`, the host `HOST_SECRET`, and there is a tool `lookup(key, default)`.

Arguments: mode, folder, port (0 for any).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math  # noqa: F401  # attacks change it, and their proofs look at the host's
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[2]))  # the checkout: found wherever it is copied to

from langchain_ptc import Limits
from langchain_ptc.sandbox import Call, CallFailure, Done, Program, Result, Session
from langchain_ptc.sandbox.host.pool import Worker, WorkerPool
from langchain_ptc.sandbox.host.process import WorkerSession
from langchain_ptc.sandbox.wire.values import UnsendableValue, encode_value

Attack = Mapping[str, Any]

FOLDER_BYTES = 2**20
MODES: Mapping[str, Mapping[str, Any]] = {
    "kernel": {"policy": False},
    "language": {"walls": False},
    "both": {},
    "kernel with files": {"policy": False, "files_bytes": FOLDER_BYTES},
    "both with files": {"files_bytes": FOLDER_BYTES},
    "neither": {"policy": False, "walls": False},
    "remote": {"policy": False},
    "remote with files": {"policy": False, "files_bytes": FOLDER_BYTES},
    "ray": {"policy": False},
}
"""`kernel`: any Python in a walled worker. `language`: the policy in a worker without walls. With files:
in a worker that has a folder. `remote`: as `kernel`, with a server between worker and host, in the same process.
`ray`: as `kernel`, with the worker on a node of the cluster at `RAY_CLUSTER`. `neither` shows that an attack is
one."""

LIMITS = Limits(
    wall_seconds=0.5,
    cpu_seconds=1,
    memory_bytes=128 * 2**20,
    max_tool_calls=50,
    output_bytes=2**20,
    result_bytes=2**20,
)
PATIENT = replace(LIMITS, wall_seconds=20)
"""For honest executions between the attacks, on a machine that the attacks keep busy."""
GROWTH_MB = 100
SLACK_SECONDS = 1.0
_WORKER_BASE_MB = 64
"""What an idle worker holds already, and shares with its parent."""
_ALONE = ("connect", "mem", "flood", "crash", "host")
"""Proofs of which one must know whose they are: such attacks run one after another."""

HOST_SECRET = "PTC-CANARY-host"
HOST_DB = {"a": 1, "b": "x" * 300_000, "l": {"xs": [1]}}
EVIL_CALLED = 0
CALLS: list[tuple[object, ...]] = []


def lookup(key: str, default: object = None) -> object:
    """Return what the host has under `key`."""
    global EVIL_CALLED
    CALLS.append((key, default))
    if key == "__bump__" or type(key) is not str:
        EVIL_CALLED += 1
    return HOST_DB.get(key, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one attack."""

    name: str
    status: str
    """Of the execution; `raised` if it did not end as one."""
    shown: list[str] = field(default_factory=list)
    """The kinds of proof that showed."""
    seconds: float = 0.0
    growth_mb: float = 0.0
    """How much the host's memory grew at its peak; of attacks that ran alone."""
    worker_mb: float = 0.0
    """The largest worker that was seen."""
    calls: int = 0
    told: str = ""
    """What the execution said, cut."""


def _answer(call: Call) -> Result:
    try:
        value = encode_value(lookup(*call.args, **call.kwargs))
    except Exception as error:  # as any tool may fail
        return Result(id=call.id, failure=CallFailure(message=str(error)[:200]))
    return Result(id=call.id, payload=value)


def _peak_mb(pid: int | str = "self") -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def _pid_of(worker: Worker) -> str:
    """Return the process id as this process sees it: the worker lives in a world of its own."""
    try:
        told = Path(f"/proc/self/fdinfo/{worker.pidfd}").read_text()
    except OSError:
        return str(worker.pid)
    return told.partition("Pid:")[2].split()[0]


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class Host:
    """Runs attacks over one pool and looks for their proofs.

    Args:
        mode: A key of `MODES`.
        canary: The folder that `{CANARY}` stands for.
        port: Where it listens; 0 for any.
    """

    def __init__(self, mode: str, canary: Path, port: int) -> None:
        self._canary = canary
        self._port = port
        self._has_folder = "files_bytes" in MODES[mode]
        self._pool = WorkerPool((), waiting=2, **MODES[mode])
        self._mode = mode
        self._sandbox: Any = None
        self._stack = contextlib.ExitStack()
        self._connections = 0
        self._worker_mb = 0.0
        self._over = threading.Event()
        self._sampling = threading.Thread(target=self._sample, daemon=True)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._count, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self._sampling.start()
        if self._mode.startswith("remote"):
            await self._serve_remote("a token of sixteen characters")
        if self._mode == "ray":
            from tests.support.clusters import open_unrestricted

            self._sandbox = self._stack.enter_context(open_unrestricted(os.environ["RAY_CLUSTER"]))
        assert await self.is_healthy()
        return self

    async def _serve_remote(self, token: str) -> None:
        """Put a server between the workers and this host."""
        from langchain_ptc import RemoteSandbox
        from langchain_ptc.sandbox.remote.server import Server

        files = FOLDER_BYTES if self._has_folder else False
        server = Server(token=token, files=files)
        server.pool = self._pool
        await server.start()
        address = "{}:{}".format(*server.address)
        self._sandbox = RemoteSandbox([address], token=token, files=files)

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        self._server.close()
        await asyncio.to_thread(self._stack.close)
        await asyncio.to_thread(self._pool.close)

    async def _count(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        writer.close()

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            for worker in list(self._pool.workers.values()):
                self._worker_mb = max(self._worker_mb, _peak_mb(_pid_of(worker)))

    def _waits(self) -> dict[int, float]:
        """Return for how many seconds each thread that serves attacks was ready and had no processor."""
        waits = {}
        for told in Path("/proc/self/task").glob("*/schedstat"):
            thread = int(told.parent.name)
            if thread != self._sampling.native_id:
                with contextlib.suppress(OSError):  # it has ended
                    waits[thread] = int(told.read_text().split()[1]) / 1e9
        return waits

    async def execute(self, code: str, calls: list[Call], limits: Limits = LIMITS) -> Done:
        """Run `code` with the tools of this host."""
        session: Session = WorkerSession(self._pool, "process", has_folder=self._has_folder)
        if self._sandbox is not None:
            session = self._sandbox.session()

        def on_calls(asked: Sequence[Call]) -> None:
            calls.extend(asked)
            session.resume([_answer(call) for call in asked])

        files = {"given.txt": b"given"} if self._has_folder else None
        program = Program(code=code, tools=("lookup",), limits=limits, files=files)
        return await session.run(program, on_calls)

    async def is_healthy(self) -> bool:
        """Whether an honest execution works."""
        try:
            done = await self.execute("print(await lookup('a') + 1)", [], PATIENT)
        except Exception:
            return False
        return (done.status, done.output) == ("success", "2\n")

    def _fill(self, text: str) -> str:
        return text.replace("{CANARY}", str(self._canary)).replace("{PORT}", str(self._port))

    async def attack(self, attack: Attack, *, alone: bool) -> Verdict:
        """Run one attack and look for its proof.

        What others on the machine take from this process is not the attack's doing: the longest that
        one thread waited for a processor does not count.
        """
        proof = {key: self._fill(value) for key, value in attack["proof"].items()}
        code = self._fill(attack["code"])
        self._worker_mb, connections, calls = 0.0, self._connections, []
        CALLS.clear()
        _forget_peak()
        before, waits, started = _peak_mb(), self._waits(), time.monotonic()
        try:
            done, status = await self.execute(code, calls), ""
        except BaseException as error:  # none may come, of any kind
            done, status = Done(status="sandbox", output=repr(error)), "raised"
        seconds = time.monotonic() - started
        seconds -= max(waited - waits.get(thread, 0.0) for thread, waited in self._waits().items())
        growth = _peak_mb() - before if alone else 0.0
        worker_mb = self._worker_mb if alone else 0.0
        texts = _texts(done)
        too_large = worker_mb > LIMITS.memory_bytes / 2**20 + _WORKER_BASE_MB
        kinds = proof["kind"].split("|")
        healthy = await self.is_healthy()
        looked = {
            "hang": seconds > LIMITS.wall_seconds + SLACK_SECONDS,
            "base": status == "raised",
            "crash": not healthy,
            "mem": growth > GROWTH_MB or too_large,
            "stdout": "stdout" in kinds
            and any(re.search(proof["value"], _without_source(text, code)) for text in texts),
            "file": "file" in kinds and Path(proof["value"]).exists(),
            "connect": "connect" in kinds and self._connections > connections,
            "host": "host" in kinds and bool(eval(proof["value"], globals())),
            "flood": sum(map(len, texts)) > 2 * LIMITS.output_bytes,
        }
        return Verdict(
            name=str(attack["name"]),
            status=status or done.status,
            shown=[kind for kind, shows in looked.items() if shows],
            seconds=round(seconds, 3),
            growth_mb=round(growth, 1),
            worker_mb=round(worker_mb, 1),
            calls=len(calls),
            told=" ".join(texts)[:400],
        )


def _without_source(text: str, code: str) -> str:
    """Leave out the lines that quote the code: its own words prove nothing."""
    own = {line.strip() for line in code.splitlines()}
    return "\n".join(line for line in text.splitlines() if line.strip() not in own)


def _texts(done: Done) -> list[str]:
    """Everything that an execution hands back to whoever asked for it."""
    texts = [done.output, *done.notes]
    texts += [f"{file.name} {(file.data or b'').decode('utf-8', 'replace')}" for file in done.files]
    if done.value is not None:
        try:
            texts.append(encode_value(done.value).decode("utf-8", "replace"))
        except (UnsendableValue, RecursionError):
            texts.append("")
    if done.failure is not None:
        why = done.failure
        texts += [why.kind, why.message, why.source_line, why.traceback, why.hint]
        texts += [violation.message for violation in why.violations]
    return texts


async def run_attacks(attacks: Sequence[Attack], *, mode: str, canary: Path, port: int) -> None:
    """Run attacks, print each verdict, and look once more for the files at the end."""
    async with Host(mode, canary, port) as host:
        verdicts = {}
        alone = [a for a in attacks if set(a["proof"]["kind"].split("|")) & set(_ALONE)]
        others = [a for a in attacks if a not in alone]
        for attack in alone:
            # The name first, so that whoever reads knows who ended the host.
            print(json.dumps({"begins": attack["name"]}), flush=True)
            verdicts[attack["name"]] = await host.attack(attack, alone=True)
        for start in range(0, len(others), 4):
            group = others[start : start + 4]
            print(json.dumps({"begins": ", ".join(a["name"] for a in group)}), flush=True)
            for verdict in await asyncio.gather(*[host.attack(a, alone=False) for a in group]):
                verdicts[verdict.name] = verdict
        for attack in attacks:  # what a worker left running would have had its time by now
            verdict, proof = verdicts[attack["name"]], attack["proof"]
            path = Path(proof["value"].replace("{CANARY}", str(canary)))
            if "file" in proof["kind"] and "file" not in verdict.shown and path.is_file():
                verdict = replace(verdict, shown=[*verdict.shown, "file"])
            print(json.dumps(asdict(verdict)), flush=True)


if __name__ == "__main__":
    os.environ["PTC_SECRET"] = "PTC-CANARY-env"
    folder = Path(sys.argv[2])
    (folder / "out").mkdir(exist_ok=True)
    (folder / "secret.txt").write_text("PTC-CANARY-file")
    given = json.load(sys.stdin)
    asyncio.run(run_attacks(given, mode=sys.argv[1], canary=folder, port=int(sys.argv[3])))

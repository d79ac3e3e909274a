"""Calls of tools, as the code makes and awaits them: stubs, the modules that hold them, and the event loop.

A stub asks the host and waits. In asynchronous code it returns a coroutine, so that `gather`, `create_task` and
the rest work on it; in code without any `await` it blocks and returns the value.

`asyncio.gather`, `TaskGroup`, `Semaphore`, `timeout` and the rest are the standard library's own; only the loop
underneath is ours. It has no selector: when nothing is ready it sends what is queued and waits for the host's
next frame, or for the next timer. So a `gather` of a hundred calls is one write and one wait. It replaces
`BaseEventLoop._run_once`, which is private: tests run on every Python that is supported.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any, Protocol, TypeVar, cast

from langchain_ptc.errors import ToolCallError
from langchain_ptc.sandbox.language.policy import CODE_FILENAME
from langchain_ptc.sandbox.sessions.kept import EARLIER_SYNC_FILENAME
from langchain_ptc.sandbox.wire.decoding import SMALL_COST
from langchain_ptc.sandbox.wire.protocol import (
    MAX_CALL_BYTES,
    MAX_CALLS_BYTES,
    LimitHit,
    Message,
    encode_arguments,
    encode_call,
    weigh_arguments,
)
from langchain_ptc.sandbox.wire.values import AttrDict, UnsendableValue
from langchain_ptc.sandbox.worker.connection import WorkerConnection

T = TypeVar("T")

# --- the event loop -------------------------------------------------------------------------------

_LOOK_EVERY = 16
"""Rounds of a busy loop between two looks for answers that have come."""


class Host(Protocol):
    """The host, as whatever waits in a program sees it."""

    def now(self) -> float:
        """Return what the clock shows by which the program waits."""

    def wait(self, until: float | None) -> None:
        """Wait for the host till the clock shows `until` (None: as long as it takes).

        Settles the calls that it answers; may return early.
        """

    def look(self) -> None:
        """Settle the calls that the host has answered meanwhile."""


class ProgramLoop(asyncio.BaseEventLoop):
    """An event loop that waits for the host."""

    _ready: Any
    _scheduled: Any
    _timer_cancelled_count: int
    _clock_resolution: float

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._now = host.now
        self._round = 0

    def call_soon(  # type: ignore[override]  # the stock one is generic in `args`
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call `callback` in the next round; the stock method's checks cost as much as the rest."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _write_to_self(self) -> None:
        """There is no other thread that could need to wake us."""

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if scheduled:
            self._drop_cancelled_timers()
        if ready:
            self._round += 1
            if not self._round % _LOOK_EVERY:
                self._host.look()
        else:
            self._host.wait(scheduled[0]._when if scheduled else None)
        if scheduled:
            now = self._now() + self._clock_resolution
            while scheduled and scheduled[0]._when < now:
                handle = heapq.heappop(scheduled)
                handle._scheduled = False
                ready.append(handle)
        for _ in range(len(ready)):
            if not ready:  # a nested run has emptied it
                break
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _drop_cancelled_timers(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False

    def run_until(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Run the loop from inside itself until `ready()`; return whether it is.

        Models call `asyncio.run(main())` and `future.result()` where a loop runs already; here that
        works, because the loop may be entered again while a task waits for it.
        """
        deadline = None if timeout is None else self._now() + timeout
        current = asyncio.current_task(self)
        timer = None if timeout is None else self.call_later(timeout, lambda: None)
        if current is not None:
            asyncio.tasks._leave_task(self, current)
        try:
            while not ready():
                if deadline is not None and self._now() >= deadline:
                    return False
                self._run_once()
        finally:
            if current is not None:
                asyncio.tasks._enter_task(self, current)
            if timer is not None:
                timer.cancel()
        return True


async def to_thread(function: Callable[..., Any], /, *args: object, **kwargs: object) -> Any:
    """Call `function` here, there being no other thread, and await what it returns if need be.

    So `gather(*[to_thread(get_orders, u) for u in users])` runs its tool calls concurrently.
    """
    value = function(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def run_nested(loop: ProgramLoop, main: Awaitable[T]) -> T:
    """Run `main` to its end from inside the running loop; a replacement for `asyncio.run`."""
    if not inspect.isawaitable(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    task: asyncio.Future[T] = asyncio.ensure_future(main, loop=loop)
    loop.run_until(task.done)
    return task.result()


def _build_facade(loop: ProgramLoop) -> SimpleNamespace:
    """Build what the code gets as the event loop: the methods that programs use, and no others."""

    async def shutdown() -> None: ...

    names = "create_task create_future time call_soon call_later".split()  # noqa: SIM905
    return SimpleNamespace(
        **{name: getattr(loop, name) for name in names},
        run_until_complete=lambda future: run_nested(loop, future),
        run_in_executor=lambda _, function, *args: loop.create_task(to_thread(function, *args)),
        # The program runs inside its loop, which ends with it.
        is_running=lambda: True,
        is_closed=lambda: False,
        close=lambda: None,
        shutdown_asyncgens=shutdown,
    )


def build_asyncio_names(loop: ProgramLoop | None) -> dict[str, object]:
    """Build the names of `asyncio` that must be ours; `loop` is None in code that uses none."""
    if loop is None:
        return {}
    facade = _build_facade(loop)

    def run(main: Awaitable[T], *, debug: bool | None = None) -> T:
        return run_nested(loop, main)

    loops = "get_event_loop get_running_loop new_event_loop".split()  # noqa: SIM905
    return {
        **dict.fromkeys(loops, lambda: facade),
        "run": run,
        "to_thread": to_thread,
        "set_event_loop": lambda _: None,
    }


# --- calls ----------------------------------------------------------------------------------------


class _Answer:
    """The answer to a call in code without `await`; the part of a future that is needed there."""

    __slots__ = ("_done", "error", "value")

    def __init__(self) -> None:
        self._done = False
        self.value: Any = None
        self.error: ToolCallError | None = None

    def done(self) -> bool:
        return self._done

    def set_result(self, value: Any) -> None:
        self.value, self._done = value, True

    def set_exception(self, error: ToolCallError) -> None:
        self.error, self._done = error, True


class ToolCalls:
    """The calls of one program that are on their way."""

    now = staticmethod(time.monotonic)
    loop: asyncio.AbstractEventLoop | None = None
    """Of asynchronous code."""

    def __init__(self, wire: WorkerConnection) -> None:
        self._wire = wire
        self._calls = 0
        self._weight = 0
        self.told_limits: set[LimitHit] = set()
        """The limits that calls have hit, as the host has told."""
        self._waiting: dict[int, tuple[str, _Answer | asyncio.Future[Any]]] = {}
        self._made: dict[int, tuple[str, int, Coroutine[Any, Any, Any]]] = {}
        self._keys = itertools.count()

    def wait(self, until: float | None) -> None:
        """Wait for the host till the clock shows `until`, and settle the calls that it answers."""
        if until is not None:
            pause = until - time.monotonic()
            if (pause <= 0 and not self._waiting) or not self._wire.poll(max(0.0, pause)):
                return
        for message in self._wire.receive():
            self._settle(message)

    def look(self) -> None:
        """Settle the calls that the host has answered meanwhile."""
        if self._waiting and self._wire.poll(0):
            self.wait(None)

    def _settle(self, message: Message) -> None:
        tool, answer = self._waiting.pop(message[1])
        if answer.done():  # cancelled meanwhile
            return
        if message[0] == "r":
            answer.set_result(message[2])
        else:
            _, _, told, limit, allowed, used = message
            self.told_limits.add(LimitHit(limit, allowed, used))
            answer.set_exception(
                ToolCallError(told, tool=tool, limit=limit, allowed=allowed, used=used)
            )

    def make(
        self, tool: str, args: tuple[object, ...], kwargs: dict[str, object], line: int
    ) -> Coroutine[Any, Any, Any]:
        """Make the coroutine of a call; the call is made when it is awaited."""
        key = next(self._keys)
        made = self._call(key, tool, args, kwargs, line)
        self._made[key] = tool, line, made
        return made

    async def _call(
        self, key: int, tool: str, args: tuple[object, ...], kwargs: dict[str, object], line: int
    ) -> Any:
        del self._made[key]
        assert self.loop is not None
        answer = self.loop.create_future()  # asking for the running loop is a system call
        self.ask(tool, args, kwargs, line, answer)
        return await answer

    def forgotten(self) -> list[tuple[str, int]]:
        """Return tool and line of each call that was made and never awaited."""
        for _, _, coroutine in self._made.values():
            coroutine.close()  # or Python would warn of it, to nobody
        return [(tool, line) for tool, line, _ in self._made.values()]

    def _weigh(self, tool: str, arguments: bytes) -> None:
        """Refuse, at the call, what the host would not accept."""
        cost = weigh_arguments(arguments)
        if len(arguments) > MAX_CALL_BYTES:
            raise ToolCallError(
                f"the arguments of {tool} are too large: {len(arguments):,} bytes, "
                f"{MAX_CALL_BYTES:,} are accepted; pass less, or several calls",
                tool=tool,
            )
        if cost > SMALL_COST:
            self._weight += cost
        if self._weight > MAX_CALLS_BYTES:
            raise ToolCallError(
                f"the arguments of all calls together are too large, with this one of {tool}: "
                f"about {MAX_CALLS_BYTES:,} bytes are accepted in one execution",
                tool=tool,
            )

    def ask(
        self,
        tool: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        line: int,
        answer: _Answer | asyncio.Future[Any],
    ) -> None:
        """Queue a call; `answer` is settled when the host has answered. Raises `ToolCallError` for bad arguments."""
        try:
            arguments = encode_arguments(args, kwargs)  # an iterator among them may call tools
            self._weigh(tool, arguments)
        except UnsendableValue as error:
            raise ToolCallError(
                f"an argument of {tool} cannot be sent: {error}", tool=tool
            ) from None
        number = self._calls + 1
        self._calls = number
        self._waiting[number] = tool, answer
        self._wire.put(encode_call(number, tool, arguments, line))


def build_async_stub(calls: ToolCalls, tool: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Build a stub whose calls are awaited."""

    def stub(*args: object, **kwargs: object) -> Any:
        frame = sys._getframe(1)
        made = calls.make(tool, args, kwargs, _line_of(frame))
        if frame.f_code.co_filename == EARLIER_SYNC_FILENAME:
            return run_nested(cast("ProgramLoop", calls.loop), made)
        return made

    return _named(stub, tool)


def build_sync_stub(
    calls: ToolCalls, wait_until: Callable[[Callable[[], bool]], bool], tool: str
) -> Callable[..., Any]:
    """Build a stub whose calls block."""

    def stub(*args: object, **kwargs: object) -> Any:
        answer = _Answer()
        calls.ask(tool, args, kwargs, _line_of(sys._getframe(1)), answer)
        wait_until(answer.done)
        if answer.error is not None:
            raise answer.error
        return answer.value

    return _named(stub, tool)


def _named(stub: Callable[..., Any], tool: str) -> Callable[..., Any]:
    stub.__name__ = tool.rpartition(".")[2]
    stub.__qualname__ = tool
    return stub


def _line_of(frame: FrameType | None) -> int:
    while frame is not None:
        if frame.f_code.co_filename == CODE_FILENAME:
            return frame.f_lineno
        frame = frame.f_back
    return 0


def build_tool_modules(
    stubs: dict[str, Callable[..., Any]], types: Iterable[str]
) -> dict[str, ModuleType]:
    """Build `tools` and `tools.<domain>` with stubs and record types (names for dicts), by qualified names."""
    modules = {"tools": ModuleType("tools")}
    entries: dict[str, object] = {**stubs, **dict.fromkeys(types, AttrDict)}
    for qualified, entry in entries.items():
        domain, _, name = qualified.rpartition(".")
        path = f"tools.{domain}" if domain else "tools"
        if path not in modules:
            modules[path] = ModuleType(path)
            setattr(modules["tools"], domain, modules[path])
        setattr(modules[path], name, entry)
    bare: dict[str, list[object]] = {}
    for qualified, entry in entries.items():
        bare.setdefault(qualified.rpartition(".")[2], []).append(entry)
    for name, each in bare.items():  # what has one meaning can be named without its domain
        if len({*map(id, each)}) == 1 and not hasattr(modules["tools"], name):
            setattr(modules["tools"], name, each[0])
    modules["tools"].ToolCallError = ToolCallError  # type: ignore[attr-defined]  # a new name
    for module in modules.values():
        public = [name for name in vars(module) if not name.startswith("_")]
        module.__dict__["__all__"] = public
        for hidden in ("__loader__", "__spec__", "__package__", "__doc__"):
            module.__dict__.pop(hidden, None)
    return modules

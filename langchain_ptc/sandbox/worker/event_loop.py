"""The event loop of a program: real asyncio objects over the one wire to the host.

`asyncio.gather`, `TaskGroup`, `Semaphore`, `timeout` and the rest are the standard library's own; only
the loop underneath is ours. It has no selector: when nothing is ready it sends what is queued and
waits for the host's next frame, or for the next timer. So a `gather` of a hundred calls is one write
and one wait.

It replaces `BaseEventLoop._run_once`, which is private: tests run on every Python that is supported.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
from collections.abc import Awaitable, Callable
from contextvars import Context
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_LOOK_EVERY = 16
"""Rounds of a busy loop between two looks for answers that have come."""


class Host(Protocol):
    """The host, as whatever waits in a program sees it."""

    def now(self) -> float:
        """Return what the clock shows by which the program waits."""
        ...

    def wait(self, until: float | None) -> None:
        """Wait for the host till the clock shows `until` (None: as long as it takes).

        Settles the calls that it answers; may return early.
        """
        ...

    def look(self) -> None:
        """Settle the calls that the host has answered meanwhile."""
        ...


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

    def _process_events(self, event_list: object) -> None:
        """There are no selector events."""

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

    So `gather(*[to_thread(get_orders, u) for u in users])` runs its tool calls concurrently, which
    is what a program that is written like that is after.
    """
    value = function(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def run_nested(loop: ProgramLoop, main: Awaitable[T]) -> T:
    """Run `main` to its end from inside the running loop; a replacement for `asyncio.run`.

    Raises:
        ValueError: `main` is nothing that can be awaited.
    """
    if not inspect.isawaitable(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    task: asyncio.Future[T] = asyncio.ensure_future(main, loop=loop)
    loop.run_until(task.done)
    return task.result()


def _build_facade(loop: ProgramLoop) -> SimpleNamespace:
    """Build what the code gets as the event loop: the methods that programs use, and no others."""

    async def shutdown() -> None:
        """Do nothing: the loop ends with the program."""

    names = "create_task create_future time call_soon call_later".split()  # noqa: SIM905
    return SimpleNamespace(
        **{name: getattr(loop, name) for name in names},
        run_until_complete=lambda future: run_nested(loop, future),
        run_in_executor=lambda _, function, *args: loop.create_task(to_thread(function, *args)),
        is_running=lambda: True,  # the program runs inside its loop, which ends with it
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
        """Run `main` to its end and return its result."""
        return run_nested(loop, main)

    def get_loop() -> SimpleNamespace:
        """Return the event loop of the program."""
        return facade

    def set_event_loop(loop: object) -> None:
        """Do nothing: the program has its loop."""

    return {
        "run": run,
        "to_thread": to_thread,
        "get_event_loop": get_loop,
        "get_running_loop": get_loop,
        "new_event_loop": get_loop,
        "set_event_loop": set_event_loop,
    }

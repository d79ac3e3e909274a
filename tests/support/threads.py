"""Threads, scripts and forked children of tests, and what is left to the garbage collector."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool

from tests.support.waiting import SECONDS, wait_for

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def ends(work: Callable[[], Any]) -> Any:
    """Do `work` in a thread and return its result; fail if it does not come to an end."""
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert results, "still not back"
    return results[0]


def run_script(text: str) -> str:
    """Run a script in a Python of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def child(work: Callable[[], bool]) -> bool:
    """Do `work` in a forked child, and return what it says; False if it fails or does not end."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(SECONDS))
        try:
            os._exit(not work())
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@tool
async def quick(n: int) -> int:
    """Return a number."""
    return n


def in_a_cycle(value: Any) -> weakref.ref[Any]:
    """Leave `value` to the garbage collector."""

    class Holder:
        pass

    holder = Holder()
    holder.me, holder.value = holder, value  # type: ignore[attr-defined]
    return weakref.ref(holder)


def threads_of_code() -> list[str]:
    """Return the threads of this process that run code, or stop it."""
    names = ("langchain-ptc code", "langchain-ptc stopper")
    return [thread.name for thread in threading.enumerate() if thread.name in names]


def no_thread_of_code_is_left() -> bool:
    """Wait until every thread of code has ended; bounded."""
    return wait_for(lambda: not threads_of_code())

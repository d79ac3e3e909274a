"""Where the code runs: what a sandbox of your own implements, ways to servers elsewhere, and the doctor.

`ProcessSandbox` and `InProcessSandbox` are names of `langchain_ptc` itself. Nothing here imports LangChain,
LangGraph or pydantic, since a worker must not hold them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from langchain_ptc.sandbox.api import (
    Call,
    CallFailure,
    Done,
    Failure,
    File,
    Moment,
    OnCalls,
    OnIdle,
    Program,
    Replay,
    Result,
    Sandbox,
    Session,
    Shown,
    Status,
)

if TYPE_CHECKING:
    from langchain_ptc.sandbox.host.doctor import Attack, Diagnosis, Layer, Level, diagnose
    from langchain_ptc.sandbox.host.workers import WorkerStats
    from langchain_ptc.sandbox.remote.pool import ServerStats
    from langchain_ptc.sandbox.remote.streams import CommandConnector, StreamConnector

__all__ = [
    "Attack",
    "Call",
    "CallFailure",
    "CommandConnector",
    "Diagnosis",
    "Done",
    "Failure",
    "File",
    "Layer",
    "Level",
    "Moment",
    "OnCalls",
    "OnIdle",
    "Program",
    "Replay",
    "Result",
    "Sandbox",
    "ServerStats",
    "Session",
    "Shown",
    "Status",
    "StreamConnector",
    "WorkerStats",
    "diagnose",
]

_MODULES = {
    "CommandConnector": "remote.streams",
    "ServerStats": "remote.pool",
    "StreamConnector": "remote.streams",
    "WorkerStats": "host.workers",
}

if not TYPE_CHECKING:  # the host's side, imported when it is first used: a worker must not hold it

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'host.doctor')}"), name)

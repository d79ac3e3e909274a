"""Spans and metrics of executions, read with OpenTelemetry's own exporters for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from langchain_ptc import (
    InProcessSandbox,
    OpenTelemetryExporter,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.run.telemetry import EXECUTION_SPAN
from langchain_ptc.testing import tool_call_message
from tests.support.waiting import SECONDS


@tool
async def double(x: int) -> int:
    """Double a number."""
    return 2 * x


@tool
async def fail(secret: str) -> int:
    """Fail."""
    raise ValueError("not now")


@tool
async def endless() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return ""


class Telemetry:
    """An exporter, and what it exported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self.metering = MeterProvider(metric_readers=[self._metrics])
        self.exporter = OpenTelemetryExporter(
            tracer_provider=self.tracing, meter_provider=self.metering
        )

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that have ended, by the time at which they began."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)

    def metric(self, name: str) -> dict[tuple[tuple[str, Any], ...], float]:
        """Return what was measured: a counter's values, a histogram's counts, by attributes."""
        data = self._metrics.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == f"langchain_ptc.{name}":
                        for point in metric.data.data_points:
                            key = tuple(sorted((point.attributes or {}).items()))
                            value = getattr(point, "value", None)
                            found[key] = point.count if value is None else value
        return found


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Telemetry of one test."""
    made = Telemetry()
    yield made
    made.tracing.shutdown()
    made.metering.shutdown()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[InProcessSandbox]:
    """Where all tests here run their code."""
    with InProcessSandbox() as made:
        yield made


def executor(telemetry: Telemetry, sandbox: InProcessSandbox, **options: Any) -> Any:
    """Return an executor that is exported."""
    catalog = ToolCatalog({"math": [double], "misc": [fail, endless]})
    options = {"on_event": telemetry.exporter, "sandbox": sandbox, **options}
    return ProgrammaticToolExecutor(catalog, **options)


CODE = """\
import asyncio
await asyncio.gather(double(x=1), double(x=2))
try:
    await fail(secret="hunter2")
except ToolCallError:
    pass
try:
    await double(y=3)
except ToolCallError:
    pass
print("done")
"""


async def test_spans(telemetry: Telemetry, sandbox: InProcessSandbox) -> None:
    """An execution is a span under the caller's, and each call a span under it."""
    tracer = telemetry.tracing.get_tracer("test")
    with tracer.start_as_current_span("request") as request:
        result = await executor(telemetry, sandbox, check="off").aexecute(CODE)
    spans = [span for span in telemetry.spans() if span.name != "request"]
    assert [span.name for span in spans] == [
        EXECUTION_SPAN,
        "execute_tool double",
        "execute_tool double",
        "execute_tool fail",
        "execute_tool double",
    ]
    execution, *calls = spans
    assert execution.parent is not None
    assert execution.parent.span_id == request.get_span_context().span_id
    assert execution.attributes is not None
    assert execution.attributes["langchain_ptc.execution_id"] == result.execution_id
    assert execution.attributes["langchain_ptc.status"] == "success"
    assert execution.attributes["langchain_ptc.tool_calls"] == 4
    assert execution.status.status_code is StatusCode.UNSET
    assert all(c.parent and c.parent.span_id == execution.context.span_id for c in calls)
    told = [(c.attributes or {})["langchain_ptc.status"] for c in calls]
    assert told == ["returned", "returned", "failed", "refused"]
    assert [c.status.status_code for c in calls[2:]] == [StatusCode.ERROR] * 2
    assert (calls[0].attributes or {})["gen_ai.tool.name"] == "double"
    for call, kept in zip(calls, result.tool_calls, strict=True):
        assert (call.attributes or {})["gen_ai.tool.call.id"] == kept.call_id
        assert call.start_time is not None
        assert call.end_time is not None
        assert execution.start_time <= call.start_time <= call.end_time <= execution.end_time


async def test_metrics(telemetry: Telemetry, sandbox: InProcessSandbox) -> None:
    """Executions and calls are counted and measured, by tool and by how they ended."""
    tested = executor(telemetry, sandbox, check="off")
    await tested.aexecute(CODE)
    await tested.aexecute("1 / 0")
    assert telemetry.metric("executions") == {
        (("status", "success"),): 1,
        (("status", "error"),): 1,
    }
    assert telemetry.metric("execution.duration") == telemetry.metric("executions")
    assert telemetry.metric("execution.computing") == telemetry.metric("executions")
    assert telemetry.metric("tool_calls") == {
        (("cache_hit", False), ("status", "returned"), ("tool", "math.double")): 2,
        (("cache_hit", False), ("status", "failed"), ("tool", "misc.fail")): 1,
        (("cache_hit", False), ("status", "refused"), ("tool", "math.double")): 1,
    }
    assert sum(telemetry.metric("tool_call.duration").values()) == 4
    assert sum(telemetry.metric("tool_call.waited").values()) == 4
    assert telemetry.metric("tool_call.result") == {(("tool", "math.double"),): 2}
    assert telemetry.metric("tool_call.retries") == {}


async def test_nothing_that_was_passed_is_exported(
    telemetry: Telemetry, sandbox: InProcessSandbox
) -> None:
    """Neither code nor arguments nor output leave by telemetry."""
    await executor(telemetry, sandbox).aexecute(CODE)
    told = str([(s.name, dict(s.attributes or {}), s.events) for s in telemetry.spans()])
    for private in ("hunter2", "done", "gather"):
        assert private not in told


async def test_alerts(telemetry: Telemetry, sandbox: InProcessSandbox) -> None:
    """Repeated refusals are counted, and stand in the span of the execution."""
    tested = executor(telemetry, sandbox)
    for _ in range(3):
        await tested.aexecute("print(().__class__.__bases__)")
    assert telemetry.metric("alerts") == {(("alert", "security_refusal"),): 1}
    assert [event.name for event in telemetry.spans()[-1].events] == ["security_refusal"]


async def test_retries_and_alerts_of_calls(telemetry: Telemetry) -> None:
    """Tries after the first are counted, and calls that met a limit or an open breaker."""
    common = {"execution_id": "e", "call_id": "e:1", "tool": "get", "domain": None}
    start = {"event": "execution_start", "execution_id": "e", "at": 1.0, "call_id": None}
    telemetry.exporter({**start, "resumed": False})
    ending: dict[str, Any] = {
        **common,
        "event": "call_end",
        "at": 3.0,
        "status": "failed",
        "started_at": 2.0,
        "duration_seconds": 1.0,
        "waited_seconds": 0.5,
        "ahead_seconds": 0.0,
        "attempts": 3,
        "is_cache_hit": False,
        "breaker": "closed",
        "arguments_bytes": 2,
        "result_bytes": 0,
        "error": "no",
        "limit": "tool_seconds",
    }
    telemetry.exporter(ending)
    for alert in ({"event": "limit_reached", "limit": "tool_seconds"}, {"event": "breaker_open"}):
        telemetry.exporter({**common, **alert, "at": 3.0})
    assert telemetry.metric("tool_call.retries") == {(("tool", "get"),): 2}
    assert telemetry.metric("alerts") == {
        (("alert", "breaker_open"), ("tool", "get")): 1,
        (("alert", "limit_reached"), ("limit", "tool_seconds"), ("tool", "get")): 1,
    }


@pytest.mark.parametrize("code", ["await endless()", "await double(x=1)\nawait endless()"])
async def test_a_cancelled_execution_ends_its_spans(
    code: str, telemetry: Telemetry, sandbox: InProcessSandbox
) -> None:
    """No span is left open when the execution is cancelled."""
    started = asyncio.Event()

    def look(event: Any) -> None:
        telemetry.exporter(event)
        if event["event"] == "call_start" and event["tool"] == "endless":
            started.set()

    running = asyncio.ensure_future(executor(telemetry, sandbox, on_event=look).aexecute(code))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    ends = [(s.attributes or {})["langchain_ptc.status"] for s in telemetry.spans()]
    assert ends[0] == ends[-1] == "cancelled"
    assert len(ends) == len(code.splitlines()) + 1


async def test_a_pause_ends_a_span(telemetry: Telemetry, sandbox: InProcessSandbox) -> None:
    """What waits for a person has a span that ends, and another one when it goes on."""
    tools = as_programmatic(
        [double], on_event=telemetry.exporter, sandbox=sandbox, interrupt_on={"double": True}
    )
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(tools)).add_edge(START, "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    asked = tool_call_message("run_code", {"code": "print(await double(x=4))"}, id="c1")
    await compiled.ainvoke({"messages": [HumanMessage("go"), asked]}, config)
    (first,) = telemetry.spans()
    assert (first.attributes or {})["langchain_ptc.paused"] is True
    await compiled.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    _, second, call = telemetry.spans()
    for name in ("execution_id", "call_id"):
        key = f"langchain_ptc.{name}"
        assert (first.attributes or {})[key] == (second.attributes or {})[key]
    assert (second.attributes or {})["langchain_ptc.resumed"] is True
    assert call.parent is not None
    assert call.parent.span_id == second.context.span_id
    assert telemetry.metric("execution.pauses") == {(): 1}
    assert telemetry.metric("executions") == {(("status", "success"),): 1}


async def test_a_call_that_began_early(telemetry: Telemetry, sandbox: InProcessSandbox) -> None:
    """Its span begins when the call did, before that of the execution, and says how long before."""
    called = asyncio.Event()

    @tool
    async def look(x: int) -> int:
        """Look a number up."""
        called.set()
        return 2 * x

    catalog = ToolCatalog([look], policies={"look": ToolPolicy(read_only=True)})
    options: dict[str, Any] = {"on_event": telemetry.exporter, "sandbox": sandbox}
    made = ProgrammaticToolExecutor(catalog, prefetch="stream", **options)
    prefetcher = made.prefetch()
    code = "print(await look(x=4))\nprint('end')\n"
    prefetcher.feed(code)
    async with asyncio.timeout(SECONDS):
        await called.wait()
    result = await made.aexecute(code, prefetcher=prefetcher)
    call_span, execution_span = telemetry.spans()
    (call,) = result.tool_calls
    assert (call_span.name, execution_span.name) == ("execute_tool look", EXECUTION_SPAN)
    assert call_span.start_time is not None
    assert call_span.end_time is not None
    assert execution_span.start_time is not None
    assert call_span.start_time <= call_span.end_time
    assert call_span.start_time < execution_span.start_time
    assert call_span.start_time == pytest.approx(call.started_at.timestamp() * 1e9, abs=1e6)
    assert call_span.attributes is not None
    assert call_span.attributes["langchain_ptc.ahead_seconds"] == call.ahead_seconds > 0
    assert call_span.parent is not None
    assert call_span.parent.span_id == execution_span.context.span_id
    assert telemetry.metric("tool_calls") == {
        (("cache_hit", False), ("status", "returned"), ("tool", "look")): 1
    }

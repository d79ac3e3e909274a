"""`OpenTelemetryExporter`: spans and metrics of executions, from their events.

Needs the extra `otel`: `pip install langchain-ptc[otel]`. It exports names, numbers, statuses and the
texts of errors, and neither code nor arguments nor output.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider
from opentelemetry.util.types import AttributeValue

from langchain_ptc.locks import new_lock
from langchain_ptc.run.events import CALL_FIELDS, EXECUTION_FIELDS, Event

NAME = "langchain_ptc"
"""Of the tracer and the meter, and the prefix of every metric and attribute that is ours."""
EXECUTION_SPAN = "langchain_ptc.execution"
_MAX_OPEN = 10_000
"""With more executions open, the oldest are dropped: their process was killed before they ended."""
_NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class _Open:
    """The spans of one execution that have not ended."""

    span: Span
    calls: dict[str, Span] = field(default_factory=dict)


class OpenTelemetryExporter:
    """Exports executions as spans and metrics; pass it as `on_event`.

    A span for each execution, below the span in which the code was run, and one for each tool call
    below that, named as OpenTelemetry's conventions for generative AI name them
    (`execute_tool <tool>`). An execution that waits for a person ends its span; when it is resumed it
    gets another one, with the same `langchain_ptc.execution_id`.

    The metrics, with their attributes:

    - `langchain_ptc.executions`, a counter: `status`
    - `langchain_ptc.execution.duration` and `.computing`, histograms in seconds: `status`
    - `langchain_ptc.execution.pauses`, a counter
    - `langchain_ptc.tool_calls`, a counter: `tool`, `status`, `cache_hit`
    - `langchain_ptc.tool_call.duration` and `.waited`, histograms in seconds: `tool`, `status`
    - `langchain_ptc.tool_call.retries`, a counter: `tool`
    - `langchain_ptc.tool_call.arguments` and `.result`, histograms in bytes: `tool`
    - `langchain_ptc.alerts`, a counter: `alert`, and `limit` or `tool`

    Args:
        tracer_provider: Makes the spans; by default the process's own.
        meter_provider: Makes the metrics; by default the process's own.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(NAME, tracer_provider=tracer_provider)
        self._lock = new_lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        meter = metrics.get_meter(NAME, meter_provider=meter_provider)
        count, measure = meter.create_counter, meter.create_histogram
        self._executed = count(f"{NAME}.executions", "{execution}", "Executions that ended")
        self._pauses = count(f"{NAME}.execution.pauses", "{pause}", "Waits for a person")
        self._lasted = measure(f"{NAME}.execution.duration", "s", "Pauses left out")
        self._computed = measure(f"{NAME}.execution.computing", "s", "Without waiting for tools")
        self._called = count(f"{NAME}.tool_calls", "{call}", "Calls that the code made")
        self._call_lasted = measure(f"{NAME}.tool_call.duration", "s", "Waiting included")
        self._call_waited = measure(f"{NAME}.tool_call.waited", "s", "For its turn, or a try")
        self._retries = count(f"{NAME}.tool_call.retries", "{try}", "Tries after the first")
        self._arguments = measure(f"{NAME}.tool_call.arguments", "By", "Arguments as MessagePack")
        self._results = measure(f"{NAME}.tool_call.result", "By", "Results as MessagePack")
        self._alerts = count(f"{NAME}.alerts", "{alert}", "Limits, breakers, refusals")

    def __call__(self, event: Event) -> None:
        """Take an event."""
        handle = _HANDLERS.get(event["event"])
        if handle is not None:
            handle(self, event)

    # --- executions ---------------------------------------------------------------------------------

    def _start_execution(self, event: Event) -> None:
        span = self._tracer.start_span(
            EXECUTION_SPAN,
            start_time=_nanoseconds(event["at"]),
            attributes=_attributes(
                execution_id=event["execution_id"],
                call_id=event["call_id"],
                resumed=event["resumed"],
            ),
        )
        with self._lock:
            self._open[event["execution_id"]] = _Open(span)
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)

    def _end_execution(self, event: Event) -> None:
        status = {"status": event["status"]}
        self._executed.add(1, status)
        self._lasted.record(event["duration_seconds"], status)
        self._computed.record(event["computing_seconds"], status)
        numbers = {name: event[name] for name in (*EXECUTION_FIELDS, "tool_calls", "output_chars")}
        self._close(event, **numbers)

    def _pause(self, event: Event) -> None:
        self._pauses.add(1)
        self._close(event, paused=True)

    def _close(self, event: Event, **attributes: object) -> None:
        with self._lock:
            found = self._open.pop(event["execution_id"], None)
        if found is not None:
            for span in found.calls.values():  # a call that waits for a person is made again
                _end(span, event["at"], paused=True)
            _end(found.span, event["at"], event.get("error"), **attributes)

    # --- calls --------------------------------------------------------------------------------------

    def _start_call(self, event: Event) -> None:
        with self._lock:
            parent = self._open.get(event["execution_id"])
        if parent is not None:
            parent.calls[event["call_id"]] = self._open_call(event, parent.span, event["at"])

    def _open_call(self, event: Event, parent: Span, at: float) -> Span:
        return self._tracer.start_span(
            f"execute_tool {event['tool']}",
            context=trace.set_span_in_context(parent, Context()),
            start_time=_nanoseconds(at),
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": event["tool"],
                "gen_ai.tool.call.id": event["call_id"],
                **_attributes(execution_id=event["execution_id"], domain=event["domain"]),
            },
        )

    def _end_call(self, event: Event) -> None:
        tool = {"tool": _name(event)}
        ending = {**tool, "status": event["status"]}
        self._called.add(1, {**ending, "cache_hit": event["is_cache_hit"]})
        self._call_lasted.record(event["duration_seconds"], ending)
        self._call_waited.record(event["waited_seconds"], ending)
        if event["attempts"] > 1:
            self._retries.add(event["attempts"] - 1, tool)
        self._arguments.record(event["arguments_bytes"], tool)
        if event["status"] == "returned":
            self._results.record(event["result_bytes"], tool)
        with self._lock:
            parent = self._open.get(event["execution_id"])
        if parent is None:
            return
        span = parent.calls.pop(event["call_id"], None)
        if (
            span is None or event["ahead_seconds"]
        ):  # it never reached its tool, or began before that
            span = self._open_call(event, parent.span, event["started_at"])
        ended = event["started_at"] + event["duration_seconds"]
        _end(span, ended, **{name: event[name] for name in CALL_FIELDS})

    # --- alerts -------------------------------------------------------------------------------------

    def _alert(self, event: Event) -> None:
        attributes: dict[str, AttributeValue] = {"alert": event["event"]}
        if "limit" in event:
            attributes["limit"] = event["limit"]
        if "tool" in event:
            attributes["tool"] = _name(event)
        self._alerts.add(1, attributes)
        with self._lock:
            found = self._open.get(event["execution_id"])
        if found is not None:
            found.span.add_event(event["event"], attributes, timestamp=_nanoseconds(event["at"]))


_HANDLERS = {
    "execution_start": OpenTelemetryExporter._start_execution,
    "execution_end": OpenTelemetryExporter._end_execution,
    "execution_pause": OpenTelemetryExporter._pause,
    "call_start": OpenTelemetryExporter._start_call,
    "call_end": OpenTelemetryExporter._end_call,
    "limit_reached": OpenTelemetryExporter._alert,
    "breaker_open": OpenTelemetryExporter._alert,
    "security_refusal": OpenTelemetryExporter._alert,
}


def _end(span: Span, at: float, error: str | None = None, **attributes: object) -> None:
    attributes.pop("duration_seconds", None)  # a span has its own
    span.set_attributes(_attributes(**attributes))
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(_nanoseconds(at))


def _name(event: Mapping[str, Any]) -> str:
    return event["tool"] if event["domain"] is None else f"{event['domain']}.{event['tool']}"


def _attributes(**values: Any) -> dict[str, AttributeValue]:
    return {f"{NAME}.{name}": value for name, value in values.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)

"""What functions of the developer's are told of a call."""

from __future__ import annotations

from langchain_ptc.catalog.resilience import ToolCallInfo
from langchain_ptc.run.calls import StartedCall


def info_of(call: StartedCall) -> ToolCallInfo:
    """Return what there is to tell of a call."""
    return ToolCallInfo(
        tool=call.definition.qualified_name,
        arguments=dict(call.arguments or {}),  # the tool is given its own
        call_id=call.call_id,
        execution_id=call.execution_id,
    )

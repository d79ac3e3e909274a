"""Who answers a question of the graph, as far as the graph knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.config import get_config
from langgraph.runtime import get_runtime


def who_answers() -> str | None:
    """Return the user in whose name the graph runs now: while it is resumed, whoever resumes it.

    A server's authenticated user goes first; then `configurable["user_id"]`, which is as good as what
    the application that resumes the graph writes there. None if neither is given.

    Raises:
        RuntimeError: Called outside a graph.
    """
    configurable: Mapping[str, Any] = get_config().get("configurable") or {}
    server = get_runtime().server_info
    user = configurable.get("langgraph_auth_user")
    names = (
        getattr(None if server is None else server.user, "identity", None),
        configurable.get("langgraph_auth_user_id"),
        user.get("identity") if isinstance(user, Mapping) else None,
        configurable.get("user_id"),
    )
    return next((str(name) for name in names if name is not None and name != ""), None)

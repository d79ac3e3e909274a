"""Values as people, models and dashboards read them: JSON, with nothing of how values cross."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_ptc.sandbox.values import MAX_PLAIN_INT


def as_plain(value: Any) -> Any:
    """Return `value` in terms of JSON: for reading, not for getting the value back.

    Sets and tuples become arrays, times ISO 8601, bytes text or base64, keys text, and NaN and the
    infinities their names. Values come from `sandbox.values`, so there are no cycles in them.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -MAX_PLAIN_INT < value < MAX_PLAIN_INT else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): as_plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, AbstractSet):
        return [as_plain(item) for item in sorted(value, key=repr)]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)


def render_plain(value: Any) -> str:
    """Render a value for the model: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(as_plain(value), ensure_ascii=False)

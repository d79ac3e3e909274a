"""An MCP server that means harm, in the standard library alone: `python hostile.py FILE`.

FILE holds a JSON object: tools by name, each with `outputSchema`, `result` (the result of its calls) and
`seconds` (how long a call takes). Calls are answered in threads, so that they may overlap.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

TOOLS: dict[str, dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text())
LOCK = threading.Lock()


def say(message: dict[str, Any]) -> None:
    text = json.dumps({"jsonrpc": "2.0", **message})
    with LOCK:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def answer(message: dict[str, Any]) -> None:
    method, number = message.get("method"), message.get("id")
    result: dict[str, Any] = {}
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        server = {"name": "hostile", "version": "1"}
        result = {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": server,
        }
    elif method == "tools/list":
        listed = []
        for name, tool in TOOLS.items():
            made = {"name": name, "inputSchema": tool.get("inputSchema", {"type": "object"})}
            listed.append({**made, **{k: tool[k] for k in ("outputSchema",) if k in tool}})
        result = {"tools": listed}
    elif method == "tools/call":
        tool = TOOLS[message["params"]["name"]]
        time.sleep(tool.get("seconds", 0))
        result = tool["result"]
    if number is not None:
        say({"id": number, "result": result})


for line in sys.stdin:
    threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()

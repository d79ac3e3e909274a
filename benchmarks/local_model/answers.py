"""What a model answered, with the tokens and the seconds it took: counted, and kept on disk if asked."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration

_PORT = re.compile(r"127\.0\.0\.1:\d+")


@dataclass(slots=True, kw_only=True)
class Usage:
    """What some requests took."""

    inferences: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


class Answers(BaseCache):
    """A cache that counts: pass it as `cache` of a chat model at temperature 0.

    A request that was made before is answered from the folder, and counts as it did then. So a long
    run that was broken off goes on where it stopped.

    Args:
        folder: Where answers are kept, a file each; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._started: dict[str, float] = {}
        self.used = Usage()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Give what was answered before."""
        key = _key_of(prompt, llm_string)
        if self._folder is not None and (file := self._folder / f"{key}.json").is_file():
            kept = json.loads(file.read_text("utf-8"))
            [message] = messages_from_dict([kept["message"]])
            return [ChatGeneration(message=self._count(message, kept["seconds"]))]
        self._started[key] = time.perf_counter()
        return None

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Count an answer, and keep it."""
        key = _key_of(prompt, llm_string)
        seconds = time.perf_counter() - self._started.pop(key, time.perf_counter())
        message = self._count(_message_of(return_val), seconds)
        if self._folder is not None:
            kept = {"message": message_to_dict(message), "seconds": round(seconds, 3)}
            (self._folder / f"{key}.json").write_text(json.dumps(kept, indent=1), "utf-8")

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Give what was answered before."""
        return self.lookup(prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Count an answer, and keep it."""
        self.update(prompt, llm_string, return_val)

    def clear(self, **_: Any) -> None:
        """Forget what was counted; files stay."""
        self.used = Usage()

    def _count(self, message: Any, seconds: float) -> Any:
        told = getattr(message, "usage_metadata", None) or {}
        self.used.inferences += 1
        self.used.tokens_in += told.get("input_tokens", 0)
        self.used.tokens_out += told.get("output_tokens", 0)
        self.used.seconds += seconds
        return message


def _message_of(generations: Sequence[Any]) -> Any:
    return generations[0].message


def _key_of(prompt: str, llm_string: str) -> str:
    """Name a request by what the model reads: ids, ports and the usage of earlier answers are no part."""
    messages = []
    for told in json.loads(prompt):
        fields = told["kwargs"]
        calls = [[call["name"], call["args"]] for call in fields.get("tool_calls") or []]
        messages.append([told["id"][-1], fields["content"], calls])
    request = json.dumps([messages, _PORT.sub("", llm_string)], sort_keys=True)
    return hashlib.sha256(request.encode()).hexdigest()[:24]

"""What code passes to an agent and gets from it, as the parts of A2A's messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired

from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from langchain_core.tools import ToolException
from typing_extensions import TypedDict

from langchain_ptc.catalog.text import one_line


class A2AFile(TypedDict):
    """A file: its bytes, or where it is."""

    name: NotRequired[str]
    media_type: NotRequired[str]
    data: NotRequired[bytes]
    url: NotRequired[str]


class A2AAnswer(TypedDict):
    """What an agent answered: a completed task, or a message without a task."""

    text: str
    data: list[Any]
    files: list[A2AFile]
    context: str
    state: Literal["completed", "message"]


def write_parts(
    message: str, data: Any, files: Iterable[Mapping[str, Any]] | None
) -> list[pb.Part]:
    """Return the parts of a message.

    Raises:
        ToolException: The data is not JSON, or a file has neither bytes nor a URL.
    """
    parts = [pb.Part(text=message)] if message else []
    if data is not None:
        try:
            parts.append(pb.Part(data=ParseDict(data, Value())))
        except Exception as error:  # of the code's own values
            raise ToolException(f"data must be JSON: {one_line(str(error))}") from error
    for file in files or ():
        about = {"filename": file.get("name"), "media_type": file.get("media_type")}
        content = {"raw": file.get("data")} if "data" in file else {"url": file.get("url")}
        if None in content.values():
            raise ToolException("each file needs `data`, its bytes, or `url`")
        parts.append(pb.Part(**about, **content))
    return parts


def write_reply(reply: Any, asked: Sequence[Any]) -> list[pb.Part]:
    """Return a person's answer: text, the arguments of a call as a dict, or any other data."""
    is_call = isinstance(reply, Mapping) and reply and reply.keys() <= {"message", "data", "files"}
    if isinstance(reply, str):
        parts = write_parts(reply, None, None)
    elif is_call and isinstance(reply.get("message", ""), str):
        parts = write_parts(reply.get("message", ""), reply.get("data"), reply.get("files"))
    else:
        is_graph = any(unwrap_interrupt(item) is not item for item in asked)
        parts = write_parts("", {"resume": reply} if is_graph else reply, None)
    return parts or [pb.Part(data=Value(null_value=0))]


def unwrap_interrupt(item: Any) -> Any:
    """Return what a graph asks, of what LangGraph's server sends of an interrupt; else `item`."""
    optional = {"response_schema"}
    is_interrupt = isinstance(item, dict) and item.keys() - optional == {"id", "value"}
    return item["value"] if is_interrupt else item


def read_value(value: Value) -> Any:
    """Return a JSON value. What reads it from JSON needs more levels of the stack for each of its own."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: read_value(item) for key, item in sorted(value.struct_value.fields.items())}
    if kind == "list_value":
        return [read_value(item) for item in value.list_value.values]
    if (
        kind == "number_value"
        and value.number_value.is_integer()
        and abs(value.number_value) < 2**53
    ):
        return int(value.number_value)
    return None if kind in (None, "null_value") else getattr(value, kind)


def text_of(parts: Iterable[pb.Part]) -> str:
    """Return the text of parts, one below the other."""
    return "\n".join(part.text for part in parts if part.text)


def read_answer(
    groups: Iterable[Sequence[pb.Part]], context: str, state: Literal["completed", "message"]
) -> A2AAnswer:
    """Return an answer of parts; the text of one artifact may come in many."""
    texts, data, files = [], [], []
    for group in groups:
        texts.append("".join(part.text for part in group))
        for part in group:
            about = A2AFile(name=part.filename, media_type=part.media_type)
            if part.HasField("data"):
                data.append(read_value(part.data))
            elif part.HasField("raw"):
                files.append(A2AFile(**about, data=part.raw))
            elif part.HasField("url"):
                files.append(A2AFile(**about, url=part.url))
    text = "\n".join(filter(None, texts))
    return A2AAnswer(text=text, data=data, files=files, context=context, state=state)

"""What a host and a server of workers say to each other. No I/O.

A host holds one control connection to each server, on which it names itself, asks for workers and hears
how they ended. For each execution it opens one more connection, whose first bytes are a secret that it
has chosen and announced on the control connection; all that follows is what the host and a worker say to
each other (`sandbox.wire`), unchanged.

On the control connection, a message is its length in four bytes and a JSON array of its name and fields:

```
host                                     server
Hello(version, python, token)   ──────>
                                <──────  Welcome(...)          or Goodbye(why), and the end
Open(secret, limits)            ──────>                        [second connection: greeting(secret)]
                                <──────  Opened(secret)        or Refused(secret, why, room)
Watch(secret, wall_seconds)     ──────>                        again whenever the limit begins anew
Kill(secret)                    ──────>
                                <──────  Ended(secret, status, cpu_seconds, timed_out)
                                <──────  Room(room)            when a full server has room again, or drains
Ping()                          ──────>                        every second
                                <──────  Pong(room)
```

`Ended` is sent before the second connection is closed. When a control connection ends, the server kills
the workers that it gave on it.
"""

from __future__ import annotations

import json
import math
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias, get_args

from langchain_ptc.errors import SandboxError

PROTOCOL = 2  # raised with each change of what is said here
PING_SECONDS = 1.0
SILENT_SECONDS = 3.0
"""A peer that has said nothing for so long is lost. A host pings every second, and a server answers."""
GREETING_SECONDS = 5.0
"""How long a server waits for the first message or secret of a connection, and for the second of a pair."""
MAX_HELLO_BYTES = 4 * 1024
MAX_MESSAGE_BYTES = 64 * 1024
_LENGTH_BYTES = 4
_SECRET_BYTES = 32
GREETING_MAGIC = b"\x00PTC"
"""Begins the connection of an execution; a control connection begins with the length of `Hello`."""
GREETING_BYTES = len(GREETING_MAGIC) + _SECRET_BYTES


class RemoteProtocolError(SandboxError):
    """The other end broke the protocol: it is another program, another version, or hostile."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a host."""

    token: str
    version: str  # of this package: values and programs are encoded as it does
    python: str = f"{sys.version_info[0]}.{sys.version_info[1]}"
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Welcome:
    """The host may ask for workers."""

    modules: tuple[str, ...]  # what code may import there besides the standard modules
    layers: dict[str, str]  # the state of each layer of confinement of its workers, `on` or why not
    capacity: int  # workers that it gives at a time, to all hosts together
    room: int  # how many of them are free
    files_bytes: int = 0  # size of the folder of each execution; 0 if its workers have none


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The server wants no connection with this host."""

    why: str


@dataclass(frozen=True, slots=True)
class Open:
    """Asks for a worker."""

    secret: str
    cpu_seconds: int
    memory_bytes: int
    depth: int  # how many executions the new one is inside of; see `sandbox.host.workers`
    fresh: bool = False  # only one that has not waited will do; see `WorkerPool.checkout`


@dataclass(frozen=True, slots=True)
class Opened:
    """A worker is there, and talks on the connection with this secret."""

    secret: str


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no worker; nothing more is said about this secret."""

    secret: str
    why: str  # empty if the server is full: then `Room` follows when it no longer is
    room: int


@dataclass(frozen=True, slots=True)
class Watch:
    """The wall limit of an execution begins now."""

    secret: str
    wall_seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """The host needs the worker no longer; idempotent."""

    secret: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker has ended."""

    secret: str
    status: int  # wait status, for `os.waitstatus_to_exitcode`; -1 if it is not known
    cpu_seconds: float
    timed_out: bool  # whether the server ended it because its wall limit had come


@dataclass(frozen=True, slots=True)
class Room:
    """How many workers are free."""

    room: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks whether the other end still answers."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The server still answers."""

    room: int


FromHost: TypeAlias = Hello | Open | Watch | Kill | Ping
FromServer: TypeAlias = Welcome | Goodbye | Opened | Refused | Ended | Room | Pong
Message: TypeAlias = FromHost | FromServer


def new_secret() -> str:
    """Return the secret of a new execution."""
    return secrets.token_hex(_SECRET_BYTES)


def greeting(secret: str) -> bytes:
    """Return the first bytes of the connection of an execution."""
    return GREETING_MAGIC + bytes.fromhex(secret)


def read_greeting(data: bytes) -> str:
    """Return the secret of a greeting that is complete; `RemoteProtocolError` if it is none."""
    if len(data) != GREETING_BYTES or not data.startswith(GREETING_MAGIC):
        raise RemoteProtocolError("a connection begins with what is no greeting")
    return data[len(GREETING_MAGIC) :].hex()


def encode(message: Message) -> bytes:
    """Return a message as it is sent."""
    kind = type(message)
    body = json.dumps(
        [kind.__name__, *(getattr(message, name) for name in kind.__slots__)]
    ).encode()
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Decoder:
    """Takes the bytes of a control connection, and gives its messages, each of up to `limit` bytes."""

    def __init__(self, limit: int = MAX_MESSAGE_BYTES) -> None:
        self.limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete now; `RemoteProtocolError` if one is none, or too long."""
        self._data += data
        while len(self._data) >= _LENGTH_BYTES:
            length = int.from_bytes(self._data[:_LENGTH_BYTES], "big")
            if length > self.limit:
                raise RemoteProtocolError(f"a message of {length} bytes, more than {self.limit}")
            end = _LENGTH_BYTES + length
            if len(self._data) < end:
                return
            body = bytes(self._data[_LENGTH_BYTES:end])
            del self._data[:end]
            yield _decode(body)


def _decode(body: bytes) -> Message:
    try:
        name, *given = json.loads(body)
        kind, types = _KINDS[name]
        values = [_read(of, value) for of, value in zip(types, given, strict=True)]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise RemoteProtocolError(f"what came is no message: {body[:80]!r}") from error
    return kind(*values)


def _read(kind: str, value: object) -> object:
    """Return a field of a message; `kind` is its annotation."""
    match kind, value:
        case ("str", str()) | ("bool", bool()):
            return value
        case ("int" | "float", bool()):
            pass
        case "int", int() if abs(value) < 2**63:
            return value
        case "float", int() | float() if math.isfinite(value):
            return float(value)
        case "tuple[str, ...]", list() if all(isinstance(item, str) for item in value):
            return tuple(value)
        case "dict[str, str]", dict() if all(isinstance(item, str) for item in value.values()):
            return value
    raise TypeError


_KINDS: dict[str, tuple[Callable[..., Message], Sequence[str]]] = {
    kind.__name__: (kind, [str(field.type) for field in fields(kind)])
    for kind in (*get_args(FromHost), *get_args(FromServer))
}
"""The messages by their names, and the annotations of their fields."""

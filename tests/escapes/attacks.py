"""What an attack is; the tables are in the modules beside this one."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support import wire

LIBC = "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
"""Where an attack calls the kernel itself."""

SAYS = f"""
import os
{Path(wire.__file__).read_text()}
def frame(body):
    body = frames_of(body)
    while body:
        body = body[os.write(3, body):]
def call(number, args, tool=b'lookup', kwargs=b'{{}}'):
    frame(b'[["c",%d,"%s",%s,%s,1]]' % (number, tool, args, kwargs))
def end(status=b'"success"', value=b'null', failure=b'null', notes=b'[]'):
    frame(b'[["d",{{"status":%s,"value":%s,"failure":%s,"notes":%s}}]]'
          % (status, value, failure, notes))
    os._exit(0)
def failure(**texts):
    told = dict(kind='K', message='', source_line='', traceback='', hint='', line=1)
    told.update(texts)
    return json.dumps(told).encode()
"""
"""Where an attack writes to the line itself."""


class Attack(NamedTuple):
    """Code that wants something, and the proof that it got it."""

    name: str
    proof: str
    """Kinds, see `attacks_host`, and after a colon what shows: `stdout: canary`."""
    code: str
    shows: Mapping[str, str] = {}
    """Modes in which the proof does show, each with the reason why that is borne."""

    def record(self) -> dict[str, object]:
        """Return it as a host reads it."""
        kind, _, value = self.proof.partition(":")
        code = textwrap.dedent(self.code).strip("\n") + "\n"
        # Each has a file of its own, or the proof of one would be that of all.
        ran = "out/" + re.sub(r"\W+", "-", self.name)
        proof = {"kind": kind, "value": value.strip().replace("out/ran", ran)}
        return {"name": self.name, "code": code.replace("out/ran", ran), "proof": proof}


def table(proof: str, attacks: Mapping[str, str], preamble: str = "") -> list[Attack]:
    """Return attacks that want the same thing."""
    return [
        Attack(name, proof, preamble + textwrap.dedent(code).strip("\n"))
        for name, code in attacks.items()
    ]

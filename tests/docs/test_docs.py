"""Every Python block of the README and the docs runs, and prints what it says that it prints.

Blocks of one file run in order, in one namespace, as a reader would type them. What a block prints is
written below the line that prints it, in comments that begin with `#>`; a block that prints something
and does not say so fails. Top-level `await` works.

A block that cannot run here (it needs a model's API key, say) is marked in the fence itself,
` ```python no-run`; it must still be Python. Other marks do not exist.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NO_RUN = "no-run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of Python."""

    page: str
    line: int
    """Line of the page where its code begins."""
    code: str
    marks: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it is to be run."""
        return NO_RUN not in self.marks

    @property
    def printed(self) -> list[str]:
        """The lines that it says that it prints."""
        lines = map(str.strip, self.code.splitlines())
        return [line[2:].removeprefix(" ").rstrip() for line in lines if line.startswith("#>")]


def find_blocks(text: str, page: str) -> Iterator[Block]:
    """Find the fenced blocks of Python in a page of Markdown, also inside lists."""
    fence, info, begin, lines = "", "", 0, []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not fence:
            marks = stripped[: len(stripped) - len(stripped.lstrip("`"))]
            if len(marks) >= 3:
                fence, info, begin, lines = marks, stripped[len(marks) :].strip(), number + 1, []
        elif stripped.startswith(fence) and not stripped.strip("`"):
            language, *words = info.split() or [""]
            if language in ("python", "py", "python3"):
                code = textwrap.dedent("\n".join(lines))
                yield Block(page=page, line=begin, code=code, marks=tuple(words))
            fence = ""
        else:
            lines.append(line)
    assert not fence, f"{page}:{begin}: the fence is never closed"


def compile_block(block: Block) -> types.CodeType:
    """Compile a block so that a traceback names the page and its line."""
    source = "\n" * (block.line - 1) + block.code
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(source, block.page, "exec", flags=flags, dont_inherit=True)


def run_block(block: Block, namespace: dict[str, object], runner: asyncio.Runner) -> list[str]:
    """Run a block and return the lines that it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        running = eval(compile_block(block), namespace)  # our own docs
        if inspect.iscoroutine(running):
            runner.run(running)
    return [line.rstrip() for line in printed.getvalue().splitlines()]


def run_page(blocks: list[Block], module: types.ModuleType) -> None:
    """Run the blocks of one page in order and hold what each prints."""
    with asyncio.Runner() as runner:
        for block in blocks:
            if not block.runs:
                compile_block(block)
                continue
            printed = run_block(block, module.__dict__, runner)
            assert printed == block.printed, f"{block.page}:{block.line} prints something else"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """A module for the names of one page, in a folder of its own, with no keys and no terminal."""
    made = types.ModuleType("docs_page")
    monkeypatch.setitem(sys.modules, "docs_page", made)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, module: types.ModuleType) -> None:
    """The blocks of a page run in order and print what they say."""
    blocks = list(find_blocks(page.read_text("utf-8"), str(page.relative_to(ROOT))))
    for block in blocks:
        assert set(block.marks) <= {NO_RUN}, f"{block.page}:{block.line}: unknown {block.marks}"
    run_page(blocks, module)


def test_readme_shows_running_code() -> None:
    """The README has code that runs and says what it prints, by its first screens."""
    text = (ROOT / "README.md").read_text("utf-8")
    running = [block for block in find_blocks(text, "README.md") if block.runs]
    assert running, "the README has no block of Python that runs"
    assert any(block.printed for block in running), "no block of the README says what it prints"
    assert running[0].line <= 60


def test_most_blocks_run() -> None:
    """`no-run` is for what cannot run, not for what fails."""
    blocks = [b for page in PAGES for b in find_blocks(page.read_text("utf-8"), page.name)]
    marked = [block for block in blocks if not block.runs]
    assert len(marked) <= len(blocks) / 3, [f"{b.page}:{b.line}" for b in marked]


# --- the test of the test -------------------------------------------------------------------------

PAGE = """\
Text with `code` and ```inline``` fences.

```python
import asyncio
from dataclasses import dataclass

@dataclass
class Point:
    x: "int"

print(Point(1))
#> Point(x=1)
```

- in a list:

  ```python
  async def later():
      return Point(2)

  await asyncio.sleep(0)
  for n in range(2):
      print(n)
      #> 0
      #> 1
  print((await later()).x)
  #> 2
  ```

```python no-run
answer = await ask_a_model()
```

````markdown
```python
this is no block of the page
```
````

```console
$ python no
```
"""


def test_blocks_are_found_and_run(module: types.ModuleType) -> None:
    """Blocks are found with their lines, share names, may await, and are held to their output."""
    blocks = list(find_blocks(PAGE, "page.md"))
    assert [(block.line, block.runs) for block in blocks] == [(4, True), (18, True), (31, False)]
    run_page(blocks, module)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param("print(1)\n#> 2", AssertionError, id="prints-another"),
        pytest.param("print(1)", AssertionError, id="does-not-say"),
        pytest.param("x = 1\n#> 1", AssertionError, id="prints-nothing"),
        pytest.param("1 / 0", ZeroDivisionError, id="raises"),
        pytest.param("x = (", SyntaxError, id="no-python"),
    ],
)
def test_wrong_block_fails(module: types.ModuleType, code: str, error: type[Exception]) -> None:
    """A block that does not do what it says fails."""
    with pytest.raises(error):
        run_page(list(find_blocks(f"```python\n{code}\n```", "page.md")), module)


def test_no_run_must_be_python(module: types.ModuleType) -> None:
    """A block that is not run is still parsed."""
    with pytest.raises(SyntaxError):
        run_page(list(find_blocks("```python no-run\nx = (\n```", "page.md")), module)


def test_traceback_names_the_page(module: types.ModuleType) -> None:
    """An error in a block is found at its line of the page."""
    [block] = find_blocks("# Title\n\n```python\nx = 1\n1 / 0\n```", "page.md")
    with pytest.raises(ZeroDivisionError) as caught:
        run_page([block], module)
    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 5)


def test_links_for_coding_agents_lead_somewhere() -> None:
    """Each page that `llms.txt` names exists."""
    text = (ROOT / "docs" / "llms.txt").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []

"""What a model reads before it writes code: the instructions, and the tools within a token budget.

Names in braces and capitals are filled in by `str.replace`, so that code in the text needs no escaping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from langchain_ptc.catalog.stubs import TIERS, Keep, Tier

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

_JOB = """
Write one program that does the whole job: call the tools, loop over results, join, filter and \
compute in code, and print only the answer. Tool results stay in the program; only printed text \
comes back, so print a summary and not the data.

"""
_FACTS = """
- Results are Python values; records are dicts.
{FILES} Standard modules that only compute are available: \
json, re, math, statistics, datetime, collections, itertools, asyncio and the like{IMPORTS}.{SHOW}
- One program may make {CALLS}, {CONCURRENT} at a time, and take {SECONDS}. Do a part of \
a larger job in each program, and print what is done.
- A failed call raises `ToolCallError`. If the program fails, its report lists the calls that took effect: \
do not repeat those."""

NO_FILES = "- There are no files, no network and no subprocesses."
FILES = """\
- The current directory is a private folder: `open`, os, pathlib, shutil, zipfile, sqlite3 and the like work \
there, and the user gets the files that the program leaves in it (none from /tmp). There is no network and no \
subprocesses."""

SHOW = """\
- `show(x)` lets you see a picture: a matplotlib figure, a PIL image, the bytes of a PNG or JPEG, or an image \
that a tool returned. Show only what you need to see."""

AGENT_FILES = """ Your files are in it when the program begins: `{PREFIX}name` is `name` there. What the program \
leaves is stored under `{PREFIX}`."""

RUN_CODE_DESCRIPTION = f"""\
Run a Python program that calls tools, and return what it prints.
{_JOB}- The tools exist already: do not define or mock them. Call them with `await` at the top level, and \
run independent calls concurrently with `asyncio.gather`.{_FACTS}

{{TOOLS}}"""

CODE_ARGUMENT = "The Python program. Print the answer."

NODE_TOOL = """\
Answer the user's request by calling `{TOOL_NAME}` once, with one complete Python program."""

_RULES = """
Rules:
- Reply with one ```python code block and nothing else.
- The functions are async: call them with `await` at top level. Never use asyncio.run, def or class.
- Records are dicts.
- Print the final answer with print(). Only printed text is seen.

"""

NODE_TEXT = f"""\
You write Python code that answers the user's request by calling the given functions. The functions \
already exist: never define or import them.{_RULES}Functions:
{{TOOLS}}"""

NODE_TEXT_MANY = f"""\
You write Python code that answers the user's request by calling tools. The tools already exist: never \
define or mock them.{_RULES.replace("functions", "tools")}{{TOOLS}}"""
"""Like `NODE_TEXT`, for catalogs that are not shown in full."""

# --- the tools, tier by tier ----------------------------------------------------------------------

TOOLS_FULL = """\
```python
{STUBS}```"""

TOOLS_SIGNATURES = """\
The tools, one per line; `...` means optional parameters. `await describe("{NAME}")` returns the whole stub \
of a tool with its types: if you need it, first run a program that prints it.

```python
{STUBS}```"""

TOOLS_NAMES = """\
{FIND}

The names of the tools by domain:

{STUBS}"""

TOOLS_POINTER = """\
There are {STUBS}
{FIND}"""

FIND_TOOLS = """\
The code can look at the tools. Look before you call one that you have not seen: run a program first \
that only prints what it finds, then the program that does the job.
- `await search_tools("what it should do")` returns a list of dicts, the best first, with `name`, \
`signature` and `summary`.
- `await describe("{NAME}")` returns the whole stub of a tool; for a domain, a line for each of its tools.
- `await list_domains()` returns the names of all tools by domain.
Every tool can be called at any time, found or not: `{IMPORT}`."""

NODE_AUTO = """\
Answer the user's request with one complete Python program: call `{TOOL_NAME}` with it, or, if you \
cannot call tools, reply with one ```python code block and nothing else."""

BUDGET = """\
What the program may spend is limited. `await budget()` returns a dict of what is left: calls, \
calls_per_tool, wall_seconds, output_tokens, cost, and below calls inner_calls, model_calls, model_tokens; \
whichever of them are limited. A call for which nothing is left raises ToolCallError; then make no more calls and print what you have."""

RETRY = """\
The program failed:

{REPORT}

Write a corrected, complete program. Do not repeat calls that took effect unless they only read."""

MIDDLEWARE_DESCRIPTION = f"""\
Run a Python program that calls the tools which the system prompt lists under this tool's name, and \
return what it prints.
{_JOB}- Call the tools with `await` at the top level, and run independent calls concurrently with \
`asyncio.gather`. They exist already: do not define or mock them.{_FACTS}"""

MIDDLEWARE_SYSTEM = """\
The code that you run with `{TOOL_NAME}` can call these tools. Those that are not among your own tools \
can be called from code only.

{TOOLS}"""

NOT_DIRECTLY = (
    "`{NAME}` can be called from code only. Call `{TOOL_NAME}` with a program that calls it."
)

# --- a reply whose call has no program to run; in the node --------------------------------

NO_SUCH_TOOL = "There is no tool `{NAME}`: programs are run by `{TOOL_NAME}`."

EMPTY_CALL = "The call of `{NAME}` has no program in its argument `code`."

NOT_JSON = (
    "The arguments of the call of `{NAME}` are not valid JSON. Escape quotes, backslashes and line "
    "breaks in the program."
)

UNREADABLE = """\
Nothing was run.

{REPORT}

Write one complete Python program: {HOW}"""

HOW_AS_TEXT = "reply with one ```python code block and nothing else."
HOW_AS_TOOL = "call `{TOOL_NAME}` with it as `code`."

OTHER_CALL = "[called {NAME} with {ARGUMENTS}]"  # for a model that takes no tools

# --- a tool that the model calls itself ------------------------------------------------------------

DIRECT_APPROVAL = "The agent wants to call a tool"

DIRECT_LIMIT = "`{NAME}` was not called: the agent's {LIMIT} is reached, by calls of code too."

DIRECT_NOBODY = (
    "`{NAME}` needs the approval of a person, and there is nobody to ask: that takes a graph with a "
    "checkpointer. It was not called."
)

DIRECT_NOT_SHOWN = (
    "The call of `{NAME}` is not the one that a person was asked about; it was not made. Make it again "
    "if it is still needed."
)

DIRECT_REJECTED = (
    "A person rejected the call of `{NAME}`; it was not made. Do not try it again unless the user asks "
    "for it."
)

DIRECT_TOO_OFTEN = "`{NAME}` may be called {MOST} for one request, and was. It was not called."

LOOKED = """\
{REPORT}

Now write the complete program that answers the request; or look further."""

EMPTY_SESSION = (
    "this code began without variables: it is the first of the session, or the variables of earlier "
    "code are gone because its messages are no longer in the conversation; fetch again what is missing"
)


# --- the tools within a token budget --------------------------------------------------------------

DEFAULT_PROMPT_TOKENS = 10_000  # of the text about the tools, with its instructions
CountTokens: TypeAlias = Callable[[str], int]  # counts the tokens of a text

_PARTS: Mapping[Tier, str] = {
    "full": TOOLS_FULL,
    "signatures": TOOLS_SIGNATURES,
    "names": TOOLS_NAMES,
    "pointer": TOOLS_POINTER,
}


def count_roughly(text: str) -> int:
    """Return an estimate of the tokens in `text`: a quarter of its characters."""
    return math.ceil(len(text) / 4)


class ToolsPrompt:
    """The text about a catalog for a model, with the instructions around it, within a token budget.

    The tier is chosen once, from the catalog and the budget, and never from the conversation. After that the text changes
    only when the observed shape of a tool's results does, so that the provider's prompt cache stays valid in between.

    Args:
        catalog: The tools.
        text: The instructions; `{TOOLS}` in them is replaced by the tools.
        text_many: The instructions for a catalog that is not shown in full.
        prompt_tokens: None shows everything; a pointer to the tools is shown in any case.
        count_tokens: Counts tokens; by default four characters are one token.

    Raises:
        CatalogError: The tools must be searched, and one has the name of a tool that searches.
        ValueError: `prompt_tokens` is not positive.
    """

    def __init__(
        self,
        catalog: ToolCatalog,
        text: str,
        *,
        text_many: str | None = None,
        prompt_tokens: int | None = DEFAULT_PROMPT_TOKENS,
        count_tokens: CountTokens | None = None,
    ) -> None:
        if prompt_tokens is not None and prompt_tokens < 1:
            raise ValueError(
                f"prompt_tokens must be a positive number or None, got {prompt_tokens!r}"
            )
        self._budget = prompt_tokens
        self._count = count_tokens or count_roughly
        self._texts: Mapping[Tier, str] = {
            tier: text if tier == "full" or text_many is None else text_many for tier in TIERS
        }
        self.catalog = catalog
        self.tier: Tier = self._choose()
        if self.tier != "full":
            self.catalog = catalog.with_discovery()
        self._rendered: tuple[int, str] | None = None

    def _choose(self) -> Tier:
        if self._budget is None:
            return "full"
        for tier in TIERS[:-1]:
            bare = self.catalog.render(tier, observed=False)
            # If the tools alone are too long, the whole text need not be counted.
            if self._fits(bare) and self._fits(self._fill(tier, bare)):
                return tier
        return TIERS[-1]

    def _fits(self, text: str) -> bool:
        return self._budget is None or self._count(text) <= self._budget

    def render(self) -> str:
        """Return the text as it is now."""
        version = self.catalog.shapes.version
        if self._rendered is None or self._rendered[0] != version:
            self._rendered = version, self._fill(self.tier, self._render_tools())
        return self._rendered[1]

    def _render_tools(self) -> str:
        if self._budget is None:
            return self.catalog.render()
        bare = self._fill(self.tier, self.catalog.render(self.tier, observed=False))
        return self.catalog.render(self.tier, keep=self._room(self._budget - self._count(bare)))

    def _room(self, left: int) -> Keep:
        def keep(line: str) -> bool:
            nonlocal left
            cost = self._count(f"{line}\n")
            fits = cost <= left
            left -= cost if fits else 0
            return fits

        return keep

    def _fill(self, tier: Tier, stubs: str) -> str:
        example, statement = "tool", "from tools import <tool>"
        if self.catalog.domains:
            example, statement = "domain.tool", "from tools.<domain> import <tool>"
        tools = (
            _PARTS[tier]
            .replace("{FIND}", FIND_TOOLS)
            .replace("{NAME}", example)
            .replace("{IMPORT}", statement)
        )
        return self._texts[tier].replace("{TOOLS}", tools.replace("{STUBS}", stubs).rstrip())

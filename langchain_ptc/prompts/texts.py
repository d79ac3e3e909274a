"""All text that a model reads before it writes code; no logic.

Names in braces and capitals are filled in by `str.replace`, so that code in the text needs no escaping.
"""

from __future__ import annotations

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

EXAMPLES_HEADING = "Examples of programs:"

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

OTHER_CALL = "[called {NAME} with {ARGUMENTS}]"
"""A call of another tool, in the history of a model that takes no tools."""

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

"""All text that a model reads before it writes code; no logic.

Braces in capitals are filled in by `str.replace`, so that code in the text needs no escaping.
"""

from __future__ import annotations

RUN_CODE_DESCRIPTION = """\
Run a Python program that calls the tools below, and return what it prints.

Write one program that does the whole job: call the tools, loop over results, join, filter and \
compute in code, and print only the answer. Tool results stay in the program; only printed text \
comes back, so print a summary and not the data.

- The tools exist already: do not define or mock them. Call them with `await` at the top level, and \
run independent calls side by side with `asyncio.gather`.
- Results are Python values; records are dicts.
- There are no files, no network and no subprocesses. The standard library of computing is there: \
json, re, math, statistics, datetime, collections, itertools, asyncio and the like{IMPORTS}.
- A failed call raises `ToolCallError`. If the program fails, you are told which calls took effect: \
do not repeat those.

```python
{STUBS}
```"""

CODE_ARGUMENT = "The Python program. Print the answer."

NODE_TOOL = """\
Answer the user's request by calling `{TOOL_NAME}` once, with one complete Python program."""

NODE_TEXT = """\
You write Python code that answers the user's request by calling the given functions. The functions \
already exist: never define or import them.
Rules:
- Reply with one ```python code block and nothing else.
- The functions are async: call them with `await` at top level. Never use asyncio.run, def or class.
- Records are dicts.
- Print the final answer with print(). Only printed text is seen.

Functions:
```python
{STUBS}
```"""

NODE_AUTO = """\
Answer the user's request with one complete Python program: call `{TOOL_NAME}` with it, or, if you \
cannot call tools, reply with one ```python code block and nothing else."""

EXAMPLES_HEADING = "Examples of programs:"

RETRY = """\
The program failed:

{REPORT}

Write a corrected, complete program. Do not repeat calls that took effect unless they only read."""

"""Replies of models, in the shapes that models have: which programs they hold, and what is reported."""

import json
import time
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ptc import ProgrammaticToolNode, as_programmatic
from langchain_ptc.replies import extract_code
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

PAID: list[tuple[str, int]] = []


@tool
def get_doc(name: str) -> str:
    """Get a document."""
    return "doc " + name


@tool
def pay(to: str, amount: int) -> str:
    """Pay."""
    PAID.append((to, amount))
    return f"paid {amount} to {to}"


@pytest.fixture(autouse=True)
def nothing_paid():
    PAID.clear()


def parse(reply: Any, protocol: str = "auto"):
    reply = reply if isinstance(reply, AIMessage) else AIMessage(reply)
    tools = {"get_doc", "pay", "docs.get_doc"}
    return extract_code(reply, tool_name="run_code", protocol=protocol, tools=tools)


def programs(reply: Any, protocol: str = "auto") -> list[str]:
    return [call.code for call in parse(reply, protocol).calls if call.code]


def ask(*script: Any, **options: Any) -> tuple[list[Any], ScriptedChatModel]:
    """Answer one question by a node in a graph; return the new messages, and the model."""
    model = ScriptedChatModel(script=list(script))
    node = ProgrammaticToolNode(model, [get_doc, pay], **options)
    graph = StateGraph(MessagesState).add_node("n", node).add_edge(START, "n").compile()
    return graph.invoke({"messages": [HumanMessage("q")]})["messages"][1:], model


def unanswered(messages: list[Any]) -> list[str]:
    answered = {m.tool_call_id for m in messages if m.type == "tool"}
    calls = [call for m in messages if m.type == "ai" for call in m.tool_calls]
    return [call["name"] for call in calls if call["id"] not in answered]


CODE = "x = await get_doc('a')\nprint(x)"


def element(name: str, body: str, attribute: str = "", prefix: str = "") -> str:
    """Markup as models write it, for example `<invoke name="run_code">…`."""
    opening = f"{prefix}{name}{attribute}"
    return f"<{opening}>{body}<" + f"/{prefix}{name.partition('=')[0]}>"


def invoke(body: str, name: str = "run_code", prefix: str = "") -> str:
    return element("invoke", body, f' name="{name}"', prefix)


def parameter(body: str, name: str = "code", prefix: str = "") -> str:
    return element("parameter", body, f' name="{name}"', prefix)


# --- fences -----------------------------------------------------------------------------------------

FENCES = {
    "carriage-returns": f"Here:\n```python\n{CODE}\n```\n".replace("\n", "\r\n"),
    "in-a-numbered-list": "1. Do:\n\n   ```python\n   x = await get_doc('a')\n   print(x)\n   ```\n2. End",
    "on-the-line-of-a-bullet": "- ```python\n  x = await get_doc('a')\n  print(x)\n  ```",
    "in-a-quotation": "> ```python\n> x = await get_doc('a')\n> print(x)\n> ```",
    "indented-by-tabs": "\t```python\n\tx = await get_doc('a')\n\tprint(x)\n\t```",
    "four-backticks": f"````python\n{CODE}\n````",
    "closed-by-more": f"```python\n{CODE}\n`````",
    "tildes-unlabelled": f"~~~\n{CODE}\n~~~~",
    "text-behind-the-closing-fence": f"```python\n{CODE}\n```This prints x.",
    "a-sentence-behind-the-closing-fence": f"```python\n{CODE}\n``` That is all.",
    "opened-behind-text": f"Code: ```python\n{CODE}\n```",
    "braces": f"```{{python}}\n{CODE}\n```",
    "attributes": f'```Python title="a.py"\n{CODE}\n```',
    "version-and-file": f"```python3.11:main.py\n{CODE}\n```",
    "attributes-behind-the-label": f"```py{{cmd=true}}\n{CODE}\n```",
    "full-stop-behind-the-closing-fence": f"```python\n{CODE}\n```.",
    "named-like-the-tool": f"```run_code\n{CODE}\n```",
    "never-closed": f"Sure.\n```python\n{CODE}\n",
    "output-behind-it": f"```python\n{CODE}\n```\nOutput:\n```text\nprint(1)\n```",
    "another-language-before-it": f"```bash\npip install x\n```\n```python\n{CODE}\n```",
    "json-data-before-it": f'```json\n{{"code": "DE"}}\n```\n```python\n{CODE}\n```',
    "an-unlabelled-program-before-it": f"```\nprint('draft')\n```\n```python\n{CODE}\n```",
}


@pytest.mark.parametrize("text", FENCES.values(), ids=FENCES)
@pytest.mark.parametrize("protocol", ["auto", "text"])
def test_fences_are_read_as_commonmark_has_them(text, protocol):
    """A fenced program is found whole and alone, wherever Markdown allows a fence."""
    assert [p.strip() for p in programs(text, protocol)] == [CODE]


def test_a_missing_closing_fence_ends_at_the_next_opening_one():
    """A block that was not closed does not swallow the one behind it."""
    text = "```python\nx = 1\n\n```python\nprint(x)\n```"
    assert programs(text) == ["x = 1\n\nprint(x)"]


INNER_FENCES = {
    "plain": 'report = """# Report\n```\npip install x\n```\nend"""\nprint(report)',
    "labelled": 'report = """# Report\n```json\n{"a": 1}\n```\nend"""\nprint(report)',
    "docstring": 'def f(x):\n    """Double.\n\n    ```\n    f(1)\n    ```\n    """\n    return 2 * x\nprint(f(2))',
    "single-quotes": "r = '''\n```python\nprint(1)\n```\n'''\nprint(r)",
    "f-string": 'r = f"""\n```\n{1 + 1}\n```\n"""\nprint(r)',
    "escaped-quotes": 'r = """a \\""" b\n```\nx\n```\n"""\nprint(r)',
    "quotes-in-comments": "# it's \"\"\" here\nr = '''\n```\n'''\nprint(r)",
    "other-quotes-inside": "r = \"\"\"'''\n```\n'''\"\"\"\nprint(r)",
    "quotes-in-a-string": "a = '\"\"\"'\nr = '''\n```\nx\n```\n'''\nprint(a + r)",
    "two-strings": 'a = """\n```\n"""\nb = """\n```\n"""\nprint(a + b)',
    "longer": 'a = """\n````\nx\n````\n"""\nprint(a)',
}


@pytest.mark.parametrize("code", INNER_FENCES.values(), ids=INNER_FENCES)
def test_node_fence_inside_string(code):
    """A fence inside a string of the program is a part of the string: the program is unchanged."""
    assert programs(f"Here:\n```python\n{code}\n```\nDone.", "text") == [code]
    assert programs(f"```\n{code}\n```") == [code]
    compile(code, "code", "exec")


def test_a_string_that_never_ends_does_not_swallow_the_prose():
    """A program with an open string ends at its fence, and the model gets a syntax error of it."""
    text = '```python\nx = """never closed\nprint(x)\n```\nThat prints x, which is """good""".'
    assert programs(text) == ['x = """never closed\nprint(x)']


def test_many_open_strings_are_read_in_bounded_time():
    """Hostile text costs linear time: 100,000 characters of fences and open strings."""
    text = "```python\n'''\n```\n\"\"\"\n" * 5_000
    assert programs(text)


HOSTILE = {
    "a-path": "import " + "a." * 100_000 + "a",
    "space-behind-the-tool": "run_code" + " " * 200_000,
    "keys-without-values": "<tool_call>run_code" + "<arg_key>a</arg_key>" * 10_000,
    "values-without-end": "<tool_call>run_code" + "<arg_key>a</arg_key><arg_value>" * 6_000,
    "ends-of-reasoning": "</think>" * 25_000,
    "pairs-of-reasoning": "<think></think>" * 12_000,
    "deep-quotations": ">" * 3_000 + "```python\n" + (">" * 3_000 + "x\n") * 60,
    "brackets": '"run_code" ' + "[ " * 100_000,
    "calls": "x.b()\n" * 30_000,
    "markup": '<invoke name="run_code"><parameter name="code">' + "</parameter>x" * 15_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_replies_cost_linear_time(text):
    """200,000 characters that cost a quadratic reader a minute: processor time is what counts."""
    begun = time.process_time()
    extract_code(AIMessage(text), tool_name="run_code", protocol="auto", tools=("pay",))
    assert time.process_time() - begun < 3


# --- blocks that are no programs --------------------------------------------------------------------

ANSWERS = {
    "a-table": "Here are the totals:\n```\nname   total\nAda       3\n```\nAda leads.",
    "a-log": "The log says:\n```\nERROR 2024-01-05 disk full\n```",
    "assignments": "The settings are\n```\nretries = 3\nname = 'x'\n```",
    "a-repr": "The record:\n```\nOrder(id=1, total=Decimal('3'))\n```",
    "a-number": "```\n42\n```",
    "a-sentence": "```\nDone.\n```",
    "a-command": "Run this:\n```bash\nprint(1)\n```",
    "javascript": "```js\nprint(1)\n```",
    "a-table-that-calls": "```\n| a | print(2) |\n|---|---|\n```",
    "a-diff": "```diff\n- print(1)\n+ print(2)\n```",
    "a-call-described": "```\nrun_code(code)\n```",
    "inline": "Use `print(1)` and `await pay(2)`.",
    "a-date": "```\ndatetime.date(2024, 1, 5)\n```",
    "inline-code": "Call ```print(1)``` yourself.",
    "a-list": "```\n- one\n- two\n```",
}


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_node_plain_block_is_run(text):
    """A block that is not Python, or not certainly a program, is a part of the answer."""
    messages, model = ask(text)
    assert [m.text for m in messages] == [text]
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{CODE}\n```\nOutput:\n```\ndoc a\n```",
        f"The records look like\n```\n{{id: 1, name: Ada}}\n```\nso:\n```python\n{CODE}\n```",
        f"Thought:\n```\nfirst fetch, then print\n```\nCode:\n```python\n{CODE}\n```",
        f"Thought:\n```\nfirst fetch, then print\n```\nCode:\n```\n{CODE}\n```",
    ],
    ids=["output", "data", "thought", "unlabelled"],
)
def test_blocks_beside_a_program_are_no_part_of_it(text):
    """Sample data, thoughts and expected output beside a program are left out of it."""
    assert ask(text)[0][-1].text.strip() == "doc a"


# --- reasoning --------------------------------------------------------------------------------------

DRAFT = "```python\nprint(pay(to='bob', amount=9999))\n```"
FINAL = "```python\nprint(pay(to='bob', amount=10))\n```"
REASONING = {
    "think": f"<think>\nMaybe\n{DRAFT}\nno, too much.\n</think>\n\n{FINAL}",
    "thinking": f"<thinking>\n{DRAFT}\n</thinking>\n{FINAL}",
    "upper-case": f"<THINK>\n{DRAFT}\n</THINK>\n{FINAL}",
    "only-the-end": f"Maybe\n{DRAFT}\nno.\n</think>\n\n{FINAL}",
    "only-the-end-on-one-line": f"{DRAFT}\nno.</think>{FINAL}",
    "twice": f"<think>{DRAFT}</think>\nHm.\n<think>\n{DRAFT}\n</think>\n{FINAL}",
    "a-draft-left-open": f"<think>\n{DRAFT[:-4]}\nno\n</think>\n{FINAL}",
    "a-draft-left-open-without-a-beginning": f"{DRAFT[:-4]}\n</think>\n{FINAL}",
    "nested": f"<think>a <think>b</think>\n{DRAFT}\n</think>\n{FINAL}",
    "reasoning": f"<reasoning>\n{DRAFT}\n</reasoning>\n{FINAL}",
    "attributes": f'<thought lang="en">\n{DRAFT}\n</thought>\n{FINAL}',
    "mistral": f"[THINK]{DRAFT}\n[/THINK]{FINAL}",
    "kimi": f"◁think▷\n{DRAFT}\n◁/think▷{FINAL}",
    "harmony": f"<|channel|>analysis<|message|>\n{DRAFT}\n<|end|>\n{FINAL}",
    "gemma": f"<|channel>thought\n{DRAFT}\n<channel|>{FINAL}",
    "of-a-namespace": f"<seed:think>\n{DRAFT}\n</seed:think>\n{FINAL}",
    "a-draft-as-json": '<think>{"name": "run_code", "arguments": {"code": "print(pay(\'bob\', 9999))"}}'
    f"</think>\n{FINAL}",
    "a-draft-as-markup": f"<think>{invoke(parameter('pay(1)'))}</think>\n{FINAL}",
}


@pytest.mark.parametrize("text", REASONING.values(), ids=REASONING)
def test_node_runs_drafts_of_reasoning(text):
    """What a model writes while it reasons is never run; the program behind it is, once."""
    ask(text, protocol="text")
    assert PAID == [("bob", 10)]


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nI could run\n{DRAFT}\nbut he asked not to.\n</think>\n\nI paid nothing.",
        f"<think>\nI could run\n{DRAFT}\nand then I",
        f"{DRAFT}\nno\n</think>\nI paid nothing.",
    ],
    ids=["closed", "cut-off", "only-the-end"],
)
def test_an_answer_behind_reasoning_is_the_answer(text):
    """Reasoning with nothing but drafts in it leads to no run at all."""
    messages, _ = ask(text)
    assert PAID == []
    assert [m.text for m in messages] == [text]


def test_reasoning_blocks_are_not_read():
    """Content blocks of reasoning are kept with their signatures, and never searched for programs."""
    thinking = {"type": "thinking", "thinking": DRAFT, "signature": "s1"}
    messages, _ = ask(AIMessage([thinking, {"type": "text", "text": f"Now.\n{FINAL}"}]))
    assert PAID == [("bob", 10)]
    assert messages[0].content == [thinking, {"type": "text", "text": "Now."}]


def test_tags_in_a_program_are_its_own():
    """A program that writes or reads such tags is not cut."""
    code = "text = '<think>a</think>b'\nprint(text.split('</think>')[1])"
    assert programs(f"```python\n{code}\n```") == [code]
    assert programs("Use `</think>` so:\n```python\nprint(1)\n```") == ["print(1)"]


# --- JSON -------------------------------------------------------------------------------------------

JSON_ANSWERS = {
    "source": '{"answer": "30 days", "source": "handbook.pdf"}',
    "country-code": '{"country": "Germany", "code": "DE"}',
    "fenced": 'The result:\n```json\n{"country": "Germany", "code": "DE"}\n```',
    "program": '{"name": "Ada", "program": "Erasmus"}',
    "error-code": '{"status": "failed", "code": "E404", "message": "no such order"}',
    "only-a-code": '{"code": "DE"}',
    "only-a-source": '{"source": "handbook.pdf"}',
    "a-name-of-a-tool": '{"name": "get_doc", "description": "Get a document."}',
    "a-list-of-records": '[{"name": "Ada", "code": "A1"}, {"name": "Bob", "code": "B1"}]',
    "a-language": '{"name": "Python", "input": "a language"}',
    "another-call": '{"name": "book", "arguments": {"code": "print(1)", "seat": 3}}',
    "not-valid": '{"answer": "30 days", "source": handbook}',
}


@pytest.mark.parametrize("protocol", ["auto", "text"])
@pytest.mark.parametrize("text", JSON_ANSWERS.values(), ids=JSON_ANSWERS)
def test_node_json_answer_is_run(text, protocol):
    """JSON that names neither the tool nor a program alone is the answer, unchanged."""
    messages, model = ask(text, protocol=protocol)
    assert [m.text for m in messages] == [text]
    assert len(model.calls) == 1


def as_json(**call: Any) -> str:
    return json.dumps(call)


CALLS_AS_TEXT = {
    "name-and-code": as_json(name="run_code", code=CODE),
    "tool-and-args": as_json(tool="run_code", args={"code": CODE}),
    "react": as_json(action="run_code", action_input=CODE),
    "functions-prefix": as_json(name="functions.run_code", arguments={"code": CODE}),
    "in-a-list": f"[{as_json(name='run_code', arguments={'code': CODE})}]",
    "tool-calls": as_json(
        tool_calls=[{"function": {"name": "run_code", "arguments": as_json(code=CODE)}}]
    ),
    "in-prose": f"I will run: {as_json(name='run_code', arguments={'code': CODE})} Then I answer.",
    "under-another-name": as_json(name="python", arguments={"code": CODE}),
    "program-alone": as_json(program=CODE),
    "program-and-language": as_json(code=CODE, language="python"),
    "mistral": f"[TOOL_CALLS]run_code{as_json(code=CODE)}",
    "kimi": f"<|tool_call_begin|>functions.run_code:0<|tool_call_argument_begin|>{as_json(code=CODE)}<|tool_call_end|>",
    "mistral-with-an-id": f"[TOOL_CALLS]run_code[CALL_ID]x1[ARGS]{as_json(code=CODE)}",
    "harmony": f"<|channel|>commentary to=functions.run_code <|constrain|>json<|message|>{as_json(code=CODE)}",
    "python-tag-json": f"<|python_tag|>{as_json(name='run_code', parameters={'code': CODE})}",
    "pythonic": f"[run_code(code={CODE!r})]",
    "pythonic-block": f"```tool_code\nprint(run_code({CODE!r}))\n```",
    "phi": f"<|tool_call|>[{as_json(name='run_code', parameters={'code': CODE})}]<|/tool_call|>",
    "deepseek-r1": "<\uff5ctool\u2581call\u2581begin\uff5c>function<\uff5ctool\u2581sep\uff5c>run_code\n"
    f"```json\n{as_json(code=CODE)}\n```<\uff5ctool\u2581call\u2581end\uff5c>",
    "deepseek-v3.1": "<\uff5ctool\u2581call\u2581begin\uff5c>run_code<\uff5ctool\u2581sep\uff5c>"
    f"{as_json(code=CODE)}<\uff5ctool\u2581call\u2581end\uff5c>",
    "hermes": f"<tool_call>\n{as_json(name='run_code', arguments={'code': CODE})}\n</tool_call>",
    "hermes-not-closed": f"<tool_call>\n{as_json(name='run_code', arguments={'code': CODE})}",
    "llama": f"<function=run_code>{as_json(code=CODE)}" + "</function>",
    "qwen-coder": f"<tool_call>\n<function=run_code>\n<parameter=code>\n{CODE}\n"
    "</parameter>\n</function>\n</tool_call>",
    "qwen-coder-not-closed": f"<function=run_code>\n<parameter=code>\n{CODE}\n",
    "qwen-coder-fenced": f"<function=run_code>\n<parameter=code>\n```python\n{CODE}\n```\n"
    "</parameter>\n</function>",
    "anthropic": element("function_calls", f"\n{invoke(parameter(CODE))}\n"),
    "anthropic-with-a-prefix": invoke(parameter(f"\n{CODE}\n", prefix="antml:"), prefix="antml:"),
    "deepseek": invoke(parameter(CODE, prefix="\uff5cDSML\uff5c"), prefix="\uff5cDSML\uff5c"),
    "glm": f"<tool_call>run_code\n<arg_key>code</arg_key>\n<arg_value>{CODE}"
    "</arg_value>\n</tool_call>",
}


@pytest.mark.parametrize("text", CALLS_AS_TEXT.values(), ids=CALLS_AS_TEXT)
def test_calls_that_are_written_as_text(text):
    """The call of the tool in the markup of each family of models holds the program."""
    assert [p.strip() for p in programs(text)] == [CODE]


def deepseek(*bodies: str, name: str = "run_code") -> str:
    begin, sep, end = (
        f"<\uff5c{word}\uff5c>"
        for word in ("tool\u2581call\u2581begin", "tool\u2581sep", "tool\u2581call\u2581end")
    )
    return "".join(f"{begin}function{sep}{name}\n```json\n{body}\n```{end}\n" for body in bodies)


def test_each_call_in_the_markup_of_deepseek_is_one():
    """Two calls of a text are two calls, and what was said before them stays."""
    reply = parse(f"Two steps.\n{deepseek(as_json(code='print(1)'), as_json(code='print(2)'))}")
    assert [call.code for call in reply.calls] == ["print(1)", "print(2)"]
    assert reply.message.text == "Two steps."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (deepseek("{'code': 'print(1)'}"), "not valid JSON"),
        (deepseek("print(1)"), "not valid JSON"),
        (deepseek("{}"), "has no program"),
        (deepseek(as_json(name="a"), name="get_doc"), "can be called from code only"),
    ],
    ids=["single-quotes", "a-bare-program", "no-arguments", "a-tool-of-the-stubs"],
)
def test_a_call_in_markup_that_cannot_be_run_is_reported(text, reason):
    """Markup with nothing to run is no answer to the user: the model learns why."""
    messages, model = ask(text, calling("run_code", {"code": PRINT}, "c2"))
    assert messages[-1].text.strip() == "doc a"
    assert reason in model.calls[1].messages[-1].text


def test_a_program_that_holds_markup_is_not_taken_for_a_call():
    """Markup within a fenced program is the program's."""
    code = f"print('{invoke(parameter('x'))}')"
    assert programs(f"```python\n{code}\n```") == [code]


# --- tool calls -------------------------------------------------------------------------------------


def call(name: str, args: Any, call_id: str = "c1") -> dict[str, Any]:
    return {"name": name, "args": args, "id": call_id, "type": "tool_call"}


def calling(name: str, args: Any, call_id: str = "c1") -> AIMessage:
    return AIMessage("", tool_calls=[call(name, args, call_id)])


PRINT = "print(get_doc('a'))"
ONE_MEANING = {
    "functions.run_code": calling("functions.run_code", {"code": PRINT}),
    "other-case": calling("RunCode", {"code": PRINT}),
    "python": calling("python", {"code": PRINT}),
    "code-interpreter": calling("code_interpreter", {"input": PRINT}),
    "execute-python": calling("execute_python", {"script": PRINT, "timeout": 30}),
    "unknown-name-with-a-program": calling("do_it", {"code": PRINT}),
    "another-key": calling("run_code", {"input": PRINT}),
    "an-unknown-key": calling("run_code", {"python_code": PRINT}),
    "a-list-of-lines": calling("run_code", {"code": ["x = get_doc('a')", "print(x)"]}),
    "with-a-language": calling("run_code", {"language": "python", "source": PRINT}),
    "an-object-around-it": calling("run_code", {"arguments": {"code": PRINT}}),
    "fenced": calling("run_code", {"code": f"```python\n{PRINT}\n```"}),
    "json-in-code": calling("run_code", {"code": json.dumps({"code": PRINT})}),
    "valid-json-as-text": AIMessage(
        "",
        invalid_tool_calls=[
            {
                "name": "run_code",
                "args": json.dumps({"code": PRINT}),
                "id": "c1",
                "error": None,
                "type": "invalid_tool_call",
            }
        ],
    ),
    "line-breaks-in-json": AIMessage(
        "",
        invalid_tool_calls=[
            {
                "name": "run_code",
                "args": '{"code": "x = get_doc(\'a\')\nprint(x)"}',
                "id": "c1",
                "error": None,
                "type": "invalid_tool_call",
            }
        ],
    ),
}


@pytest.mark.parametrize("protocol", ["auto", "tool", "text"])
@pytest.mark.parametrize("reply", ONE_MEANING.values(), ids=ONE_MEANING)
def test_a_call_that_can_only_mean_one_thing_is_run(reply, protocol):
    """Another name or key for the program costs no inference."""
    messages, model = ask(reply, protocol=protocol)
    assert messages[-1].text.strip() == "doc a"
    assert len(model.calls) == 1
    assert [c["name"] for c in messages[0].tool_calls] == ["run_code"]
    assert unanswered(messages) == []


REPORTED = {
    "a-tool-of-the-stubs": (calling("get_doc", {"name": "a"}), "can be called from code only"),
    "with-its-domain": (
        calling("functions.get_doc", {"name": "a"}),
        "can be called from code only",
    ),
    "an-unknown-tool": (calling("search", {"query": "a"}), "There is no tool `search`"),
    "another-language": (
        calling("python", {"code": "ls", "language": "bash"}),
        "There is no tool `python`",
    ),
    "empty-code": (calling("run_code", {"code": " "}), "has no program"),
    "no-arguments": (calling("run_code", {}), "has no program"),
    "two-programs": (
        calling("run_code", {"first": "print(1)", "second": "print(2)"}),
        "has no program",
    ),
    "a-number": (calling("run_code", {"code": 5}), "has no program"),
}


@pytest.mark.parametrize("protocol", ["auto", "tool", "text"])
@pytest.mark.parametrize(("reply", "reason"), REPORTED.values(), ids=REPORTED)
def test_node_other_tool_call_ends_turn(reply, reason, protocol):
    """A call with nothing to run is reported, and mended within `max_attempts`."""
    messages, model = ask(reply, calling("run_code", {"code": PRINT}, "c2"), protocol=protocol)
    assert messages[-1].text.strip() == "doc a"
    assert len(model.calls) == 2
    assert reason in model.calls[1].messages[-1].text
    assert unanswered(messages) == []


@pytest.mark.parametrize("protocol", ["auto", "tool", "text"])
def test_a_model_that_never_mends_its_calls(protocol):
    """After the last attempt each call in the state has its answer, an error."""
    messages, model = ask(*[calling("get_doc", {"name": "a"})] * 3, protocol=protocol)
    assert len(model.calls) == 3
    assert unanswered(messages) == []
    assert [m.type for m in messages] == ["ai", "tool"]
    assert messages[-1].status == "error"


def test_the_last_attempt_that_ran_is_kept():
    """A program that failed says more than the calls behind it that could not be run."""
    messages, _ = ask(
        calling("run_code", {"code": "pay(to='bob', amount=1)\n1/0"}),
        *[calling("get_doc", {"name": "a"}, "c2")] * 2,
    )
    assert "took effect" in messages[-1].text
    assert messages[0].tool_calls[0]["id"] == "c1"


def test_each_call_of_a_message_has_its_answer():
    """A program runs beside a call that cannot be run; a repeated id is made unique."""
    reply = AIMessage(
        "",
        tool_calls=[
            call("run_code", {"code": PRINT}),
            call("get_doc", {"name": "a"}),
            call("run_code", {"code": "print(2)"}, ""),
        ],
    )
    messages, _ = ask(reply, max_attempts=1)
    ids = [c["id"] for c in messages[0].tool_calls]
    assert len(set(ids)) == 3
    assert [m.tool_call_id for m in messages[1:]] == ids
    assert [m.text.strip() for m in messages[1:]][::2] == ["doc a", "2"]
    assert messages[2].status == "error"


RAW = {
    "an-escape-that-json-has-not": r"""{"code": "import re\nprint(re.sub('\d', '#', get_doc('a1')))"}""",
    "triple-quotes": '{"code": """\nprint(get_doc(\'a1\'))\n"""}',
    "single-quotes": "{'code': 'print(get_doc(name=\"a1\"))'}",
    "trailing-comma": '{"code": "print(get_doc(\'a1\'))",}',
    "a-bare-program": "print(get_doc('a1'))",
    "cut-off": '{"code": "print(get_doc(',
    "a-python-dict": "{'code': 1}",
    "two-objects": '{"code": "print(1)"}{"code": "print(2)"}',
    "nothing": "",
    "a-list": '["print(1)"]',
}


@pytest.mark.parametrize("protocol", ["auto", "tool", "text"])
@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_node_malformed_json_arguments(raw, protocol):
    """Arguments that are not valid JSON are reported to the model, and never run."""
    broken = {
        "name": "run_code",
        "args": raw,
        "id": "c1",
        "error": "no",
        "type": "invalid_tool_call",
    }
    reply = AIMessage("", invalid_tool_calls=[broken])
    messages, model = ask(reply, "I give up.", protocol=protocol)
    assert "not valid JSON" in model.calls[1].messages[-1].text
    assert [m.text for m in messages] == ["I give up."]
    assert unanswered(messages) == []


def test_malformed_json_in_text_is_reported():
    """A call of the tool as text whose JSON is broken is no answer either."""
    for text in (
        '{"name": "run_code", "arguments": {"code": "print(\'\\d\')"}}',
        '<tool_call>\n{"name": "run_code", "arguments": {\'code\': 1}}\n' + "</tool_call>",
    ):
        _, model = ask(text, "I give up.")
        assert "not valid JSON" in model.calls[1].messages[-1].text


# --- the message in the state -----------------------------------------------------------------------


def test_calls_in_content_blocks_are_those_of_the_message():
    """No block of content keeps a call that has no answer; blocks of thinking are kept."""
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s1"}
    reply = AIMessage(
        [
            thinking,
            {"type": "text", "text": "Look."},
            {"type": "tool_use", "id": "c1", "name": "python", "input": {"code": PRINT}},
            {"type": "tool_use", "id": "gone", "name": "get_doc", "input": {}},
        ],
        tool_calls=[call("python", {"code": PRINT})],
    )
    messages, _ = ask(reply)
    assert messages[0].content == [
        thinking,
        {"type": "text", "text": "Look."},
        {"type": "tool_use", "id": "c1", "name": "run_code", "input": {"code": PRINT}},
    ]


def test_calls_in_the_blocks_of_other_providers():
    """OpenAI's items and LangChain's standard blocks name what is run, by the id of the call."""
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "python",
        "arguments": "{}",
    }
    block = {"type": "tool_call", "id": "c2", "name": "python", "args": {}}
    calls = [call("python", {"code": "print(1)"}), call("python", {"code": "print(2)"}, "c2")]
    raw = {
        "tool_calls": [{"id": "c1", "function": {"name": "python", "arguments": "{}"}}],
        "refusal": None,
    }
    parsed = parse(AIMessage([item, block], tool_calls=calls, additional_kwargs=raw))
    first, second = parsed.message.content
    assert (first["name"], json.loads(first["arguments"])) == ("run_code", {"code": "print(1)"})
    assert (second["name"], second["args"]) == ("run_code", {"code": "print(2)"})
    assert parsed.message.additional_kwargs == {"refusal": None}


def test_other_calls_in_the_history_of_the_text_protocol():
    """A model that knows no tool calls is shown calls of other tools as what they were."""
    model = ScriptedChatModel(script=["Fine."])
    node = ProgrammaticToolNode(model, [get_doc], protocol="text")
    history = [
        HumanMessage("q"),
        AIMessage(
            "Look.",
            tool_calls=[
                call("weather", {"city": "Kyoto"}),
                call("run_code", {"code": PRINT}, "c2"),
            ],
        ),
        ToolMessage("sunny", tool_call_id="c1"),
        ToolMessage("doc a", tool_call_id="c2"),
        HumanMessage("and?"),
    ]
    node.invoke({"messages": history})
    _, _, calls, first, second, _ = model.calls[0].messages
    assert (
        calls.text
        == f'Look.\n\n[called weather with {{"city": "Kyoto"}}]\n\n```python\n{PRINT}\n```'
    )
    assert (first.text, second.text) == ("Output of weather:\nsunny", "Output:\ndoc a")


@pytest.mark.parametrize(
    "code",
    [
        f"```python\n{PRINT}\n```",
        f"~~~\n{PRINT}",
        json.dumps({"code": PRINT}),
        f"\n```py\n{PRINT}\n```\n",
    ],
)
def test_the_argument_of_the_tool_may_be_fenced(code):
    """In an agent, too, a fence or an object around the program in `code` is taken off."""
    (run_code,) = as_programmatic([get_doc])
    assert (
        run_code.invoke(tool_call_message("run_code", {"code": code}).tool_calls[0]).text == "doc a"
    )


@pytest.mark.parametrize("code", ["x = '```'\nprint(x)", "{'code': 1}", "~~~1"])
def test_a_program_without_a_fence_is_left_as_it_is(code):
    """Nothing is taken off that is the program's own."""
    (run_code,) = as_programmatic([get_doc])
    message = run_code.invoke(tool_call_message("run_code", {"code": code}).tool_calls[0])
    assert message.artifact["code"] == code

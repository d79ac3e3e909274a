import pytest
from langchain_core.messages import AIMessage

from langchain_ptc.replies import extract_code


def programs(reply, protocol="auto"):
    if isinstance(reply, str):
        reply = AIMessage(reply)
    return [c.code for c in extract_code(reply, tool_name="run_code", protocol=protocol).calls]


CODE = "x = await get()\nprint(x)"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"```python\n{CODE}\n```", id="fence"),
        pytest.param(f"```py\n{CODE}\n```", id="fence-py"),
        pytest.param(f"```\n{CODE}\n```", id="fence-without-a-name"),
        pytest.param(f"Sure:\n\n```python\n{CODE}\n```\nThis prints x.", id="fence-in-prose"),
        pytest.param(f"```python\n{CODE}", id="fence-that-was-cut-off"),
        pytest.param(f"~~~python\n{CODE}\n~~~", id="tildes"),
        pytest.param(
            '{"name": "run_code", "arguments": {"code": "x = await get()\\nprint(x)"}}',
            id="bare-json",
        ),
        pytest.param(
            '{"name": "run_code", "arguments": {"code": "x = await get()\nprint(x)"}}',
            id="bare-json-with-real-line-breaks",
        ),
        pytest.param(
            '```json\n{"name": "run_code", "arguments": {"code": "x = await get()\\nprint(x)"}}\n```',
            id="fenced-json",
        ),
        pytest.param(
            '<tool_call>\n{"name": "run_code", "arguments": "{\\"code\\": \\"x = await get()\\\\nprint(x)\\"}"}\n</tool_call>',
            id="arguments-as-a-string",
        ),
        pytest.param('{"code": "x = await get()\\nprint(x)"}', id="arguments-alone"),
        pytest.param(
            '{"type": "function", "function": {"name": "run_code", "parameters": {"code": "x = await get()\\nprint(x)"}}}',
            id="wrapped-in-function",
        ),
        pytest.param(CODE, id="nothing-but-code"),
    ],
)
@pytest.mark.parametrize("protocol", ["auto", "text"])
def test_code_is_found_in_text(text, protocol):
    """However a model writes its program as text, the program is found."""
    assert [p.strip() for p in programs(text, protocol)] == [CODE]


@pytest.mark.parametrize(
    "text",
    ["Hello! How can I help?", "", "I cannot do that (sorry).", '{"answer": 5}', "42", "Done."],
)
def test_prose_is_no_program(text):
    """An answer in words is left as it is."""
    answer = extract_code(AIMessage(text), tool_name="run_code", protocol="auto")
    assert answer.calls == ()
    assert answer.message.content == text


def test_several_blocks_are_one_program():
    """A program that was written in pieces is joined in order."""
    text = "First:\n```python\nx = 1\n```\nthen:\n```python\nprint(x)\n```"
    assert programs(text) == ["x = 1\n\nprint(x)"]


def test_a_fence_inside_a_string_does_not_end_the_block():
    """Only a fence at the start of a line ends a block."""
    code = 'print("```")\nprint(2)'
    assert programs(f"```python\n{code}\n```") == [code]


def test_tool_calls_come_first():
    """A real tool call is taken, with its own id, and text beside it is left alone."""
    call = {"name": "run_code", "args": {"code": CODE}, "id": "c1", "type": "tool_call"}
    reply = AIMessage("```python\nprint('not this')\n```", tool_calls=[call])
    answer = extract_code(reply, tool_name="run_code", protocol="auto")
    assert [(c.id, c.code) for c in answer.calls] == [("c1", CODE)]
    assert answer.message.content == reply.content


def test_two_tool_calls_are_two_programs():
    """Parallel calls of the one tool are all kept."""
    calls = [
        {"name": "run_code", "args": {"code": f"print({n})"}, "id": f"c{n}", "type": "tool_call"}
        for n in (1, 2)
    ]
    assert programs(AIMessage("", tool_calls=calls)) == ["print(1)", "print(2)"]


def test_a_text_program_becomes_a_tool_call_in_the_message():
    """What enters the state is a tool call with the prose around the code, and the code once."""
    reply = AIMessage(f"Let me look.\n```python\n{CODE}\n```", usage_metadata=None)
    answer = extract_code(reply, tool_name="run_code", protocol="text")
    assert answer.message.content == "Let me look."
    (call,) = answer.message.tool_calls
    assert (call["name"], call["args"], call["id"]) == (
        "run_code",
        {"code": CODE},
        answer.calls[0].id,
    )


def test_the_tool_protocol_reads_no_text():
    """With `protocol="tool"` a block of code in prose is prose."""
    assert programs(f"```python\n{CODE}\n```", "tool") == []

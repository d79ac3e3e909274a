"""The benchmark with a real model, run with a scripted one: what it counts and how it judges."""

import contextlib
import json
import re
from collections import Counter
from dataclasses import asdict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from benchmarks import local, local_page, local_prompts, markdown
from benchmarks.lenient_calls import read_calls, show_calls
from benchmarks.local import Asked, run
from benchmarks.local_model.answers import Answers
from benchmarks.tasks import DOMAINS
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

COMPANY = DOMAINS["company"]
WORDS = {"count_tokens": lambda text: len(text.split())}


def task_of(domain, name):
    """The task of a name."""
    return next(task for task in domain.tasks if task.name == name)


def scripted(script, folder=None):
    """A scripted model whose requests are counted."""
    return ScriptedChatModel(script=script, cache=Answers(folder), **WORDS)


def block(code):
    """Code as a model writes it that calls no tools."""
    return f"```python\n{code}\n```"


async def ask(script, name, **options):
    """What becomes of one task of the company."""
    return await local.ask(scripted(script), COMPANY, task_of(COMPANY, name), Asked(**options))


async def test_right_programs_are_all_right():
    """A model that writes the programs of the tasks gets every one of them right, with one inference."""
    tasks = {task.question: task for task in COMPANY.tasks}
    model = scripted(lambda messages: block(tasks[messages[-1].text].program))
    rows = await run(model, [COMPANY], [Asked()])
    assert [row.cause for row in rows] == ["right"] * len(COMPANY.tasks)
    assert {row.inferences for row in rows} == {1}
    assert all(row.tokens_in > 100 and row.tokens_out > 5 for row in rows)
    table = local_page.render_score([asdict(row) for row in rows])
    assert (
        f"| programmatic | {len(rows)} of {len(rows)} | **{len(rows)} of {len(rows)}** |" in table
    )


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        pytest.param("print(17)", "wrong answer", id="wrong-number"),
        pytest.param("x = 1", "no output", id="nothing"),
        pytest.param("print(", "syntax", id="syntax"),
        pytest.param("await get_budget(dept='x')", "refused by the check", id="argument"),
        pytest.param("print(open('/etc/passwd'))", "refused by the", id="language"),
        pytest.param("print({}['x'])", "code error", id="exception"),
        pytest.param("await send_message(member_id='nobody', text='x')", "tool error", id="tool"),
        pytest.param(
            "for n in range(101):\n    await list_members(department='sales')",
            "limit max_tool_calls",
            id="limit",
        ),
        pytest.param(
            "await send_message(member_id='m11', text='x')\nprint(4100)",
            "wrong side effect",
            id="effect",
        ),
    ],
)
async def test_wrong_programs_are_named(code, cause):
    """A wrong program is told by its cause, and no attempt more is made than may be."""
    row = await ask([block(code)], "budget", attempts=1)
    assert row.cause.startswith(cause)
    assert row.codes == [code]


async def test_prose_is_no_code():
    """An answer in prose is counted as such."""
    row = await ask(["The limit is 4100."], "budget")
    assert (row.cause, row.attempts) == ("no code", [])


async def test_a_mended_program_is_right():
    """All attempts are told, with the tokens of all of them."""
    script = [block("print(x)"), block(task_of(COMPANY, "budget").program)]
    row = await ask(script, "budget")
    assert (row.cause, row.inferences, len(row.codes)) == ("right", 2, 2)
    assert row.attempts[-1] == "success"


async def test_direct_calls():
    """Ordinary tool calling is judged by its last message; a model that calls nothing is named."""
    calls = [
        tool_call_message("get_budget", {"department": "sales", "quarter": "Q2"}),
        "The limit is 4,100 EUR.",
    ]
    row = await ask(calls, "budget", mode="direct")
    assert (row.cause, row.inferences) == ("right", 2)
    text = '{"name": "get_budget", "arguments": {"department": "sales", "quarter": "Q2"}}'
    assert (await ask([text], "budget", mode="direct")).cause == "no tool call"
    endless = await ask(lambda _: calls[0], "budget", mode="direct")
    assert endless.cause == "over 40 inferences"
    wrong = tool_call_message("send_message", {"member_id": "all", "text": "late"})
    failed = await ask([wrong], "budget", mode="direct")
    assert (failed.cause, failed.detail.count("'all'")) == ("tool error", 1)


async def test_calls_that_are_read():
    """A call that comes as text is made, if that is asked for."""
    text = '```json\n{"name": "get_budget", "arguments": {"department": "sales", "quarter": "Q2"}}\n```'
    row = await ask([text, "4100"], "budget", mode="direct-lenient")
    assert (row.cause, row.inferences) == ("right", 2)


async def test_calls_that_are_shown_and_read():
    """With examples before the question, a call that comes as text is made."""
    seen = []

    def first(messages):
        seen.extend(messages)
        return '{"name": "get_budget", "arguments": {"department": "sales", "quarter": "Q2"}}'

    row = await ask([first, "4100"], "budget", mode="direct-shown")
    assert (row.cause, row.inferences) == ("right", 2)
    questions = [message.text for message in seen if isinstance(message, HumanMessage)]
    shown = show_calls(COMPANY.build().tools)
    assert len(questions) == 1 + sum(isinstance(message, HumanMessage) for message in shown) > 1
    assert any(isinstance(message, ToolMessage) for message in seen)


async def test_a_server_that_fails_is_a_row():
    """An error of the server is told and ends nothing."""

    def fail(_):
        raise ConnectionError("gone")

    row = await ask([fail], "budget")
    assert row.cause == "server"
    assert "ConnectionError" in row.detail


def test_examples_by_calls():
    """Each example is worked to its end by calls with made-up results; no row of the data is in it."""
    for domain in DOMAINS.values():
        world = domain.build()
        messages = show_calls(world.tools)
        calls = [m for m in messages if isinstance(m, AIMessage) and m.tool_calls]
        assert len(calls) == sum(isinstance(m, ToolMessage) for m in messages)
        assert isinstance(messages[-1], AIMessage)
        assert not world.effects


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "a", "arguments": {"x": 1}}',
        '```json\n{"name": "a", "parameters": {"x": 1}}\n```',
        '<tool_call>\n{"name": "a", "arguments": {"x": 1}}\n</tool_call>',
        'I call { the tool: {"name": "a", "arguments": {"x": 1}} and wait.',
    ],
)
def test_calls_in_text_are_read(text):
    """A call may come bare, in a block, in tags or among words."""
    [call] = read_calls(AIMessage(text), {"a"}).tool_calls
    assert (call["name"], call["args"]) == ("a", {"x": 1})


def test_what_is_no_call_stays_text():
    """Other JSON, and a call of a tool that there is not, stay what they are."""
    for text in ("4100", '{"total": 3}', '{"name": "b", "arguments": {}}', "{"):
        assert read_calls(AIMessage(text), {"a"}).tool_calls == []


async def test_answers_are_kept(tmp_path):
    """A run that was broken off goes on from the answers that it had, with the same counts."""
    task = task_of(COMPANY, "budget")
    script = [block("print(x)"), block(task.program)]
    first = await local.ask(scripted(script, tmp_path), COMPANY, task, Asked())
    again = await local.ask(scripted([], tmp_path), COMPANY, task, Asked())
    assert (again.cause, again.codes) == ("right", first.codes)
    assert (again.inferences, again.tokens_in) == (first.inferences, first.tokens_in)
    assert len(list(tmp_path.iterdir())) == 2


def test_command(tmp_path, monkeypatch, capsys):
    """The command writes a table, and every answer to a file; no model is a clear message."""
    monkeypatch.setenv("LANGCHAIN_PTC_GGUF", str(tmp_path / "none.gguf"))
    monkeypatch.setattr("benchmarks.local_model.server.find_spec", lambda _: object())
    assert local.main(["--domain", "company"]) == 2
    assert "names no file" in capsys.readouterr().err
    model = ScriptedChatModel(script=lambda _: block("print(4100)"), **WORDS)
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name, **_: model)
    file = tmp_path / "rows.json"
    asked = ["--domain", "company", "--task", "budget", "--mode", "programmatic"]
    assert local.main([*asked, "--model", "some:model", "--json", str(file)]) == 0
    assert "| programmatic | 1 of 1 | **1 of 1** |" in capsys.readouterr().out
    [row] = json.loads(file.read_text("utf-8"))
    assert (row["task"], row["cause"]) == ("budget", "right")


def test_page_says_what_is_stored():
    """Every table of the page is the one that the stored answers give; nothing names the machine."""
    text = local_page.PAGE.read_text("utf-8")
    tables = local_page.render_tables(local_page.read_results(), local_page.read_prompts())
    assert markdown.fill_page(text, tables) == text
    stored = [*local_page.FOLDER.rglob("*.json"), local_page.PAGE]
    assert not [
        path.name
        for path in stored
        if re.search(r"/(home|tmp|root|work)/", path.read_text("utf-8"))
    ]


def test_stored_results_are_complete():
    """Each task was put to the model in each mode, and the domain that is held out is among them."""
    rows = local_page.read_results()["rows"]
    expected = {
        (mode, domain.name, task.name)
        for mode in local.MODES
        for domain in DOMAINS.values()
        for task in domain.tasks
    }
    assert {(row["mode"], row["domain"], row["task"]) for row in rows} == expected
    assert len(rows) == len(expected)
    assert any(DOMAINS[row["domain"]].held_out for row in rows)
    prompts = local_page.read_prompts()["rows"]
    asked = Counter((row["way"], row["domain"], row["task"]) for row in prompts)
    assert asked == Counter(
        (way, domain.name, task.name)
        for way in local_prompts.WAYS
        for domain in DOMAINS.values()
        for task in domain.tasks
    )


@pytest.mark.parametrize("benchmark_module", [local, local_prompts])
def test_a_page_for_a_part_is_not_written(benchmark_module, capsys):
    """The page tells of whole runs, so a part of one is refused before the model is asked."""
    with pytest.raises(SystemExit):
        benchmark_module.main(["--write", "--domain", "company"])
    assert "--write is for a whole run" in capsys.readouterr().err


@pytest.mark.parametrize("examples", ["auto", None])
async def test_hidden_return_types(examples):
    """With hidden return types the model reads `Any`, and the examples that the types give; the tools are the same."""
    read = []

    def write(messages):
        read.append("\n".join(message.text for message in messages))
        return block(task_of(COMPANY, "budget").program)

    asked = Asked(attempts=1, returns="hidden", examples=examples)
    row = await local.ask(scripted(write), COMPANY, task_of(COMPANY, "budget"), asked)
    assert row.cause == "right"
    assert "async def list_members(department: str) -> Any:" in read[0]
    assert "class Member" not in read[0]
    assert ("best, most = None, 0" in read[0]) == (examples == "auto")


def test_the_four_prompts_are_compared(capsys, monkeypatch):
    """Each task is asked with each prompt, and the tables say what came of them."""
    tasks = {task.question: task for task in COMPANY.tasks}

    def write(messages):
        shown = "class Member" in messages[0].text
        return block(tasks[messages[-1].text].program if shown else "print(1 / 0)")

    @contextlib.contextmanager
    def load(_):
        yield scripted(write)

    monkeypatch.setattr(local_prompts, "load_model", load)
    assert local_prompts.main(["--domain", "company", "--every", "6"]) == 0
    out = capsys.readouterr().out
    assert "| types and examples | 2 of 2 | **2 of 2** |" in out
    assert "| neither | 0 of 2 | **0 of 2** |" in out
    assert "| code error | 0 | 2 | 0 | 2 |" in out

"""A person approves calls before they are made: nothing goes around it, and what was approved is what runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from pydantic import BaseModel, Field, ValidationError

from langchain_ptc import (
    InProcessSandbox,
    Limits,
    ProgrammaticToolExecutor,
    ToolPolicy,
    as_programmatic,
)
from tests.support import fickle
from tests.support.hosts import (
    CONFIG,
    HOSTS,
    REQUEST,
    World,
    agent,
    artifact,
    call_of,
    node,
    output,
    plain,
    run,
    state_of,
    tool_node,
)
from tests.support.processes import PROCESSES
from tests.support.waiting import SECONDS

ONE = 'print(await pay("a", amount=5))'
APPROVE: Any = {"type": "approve"}


def asked(state: Any) -> list[Any]:
    return list(state.get("__interrupt__", ()) if isinstance(state, dict) else state.interrupts)


def decide(*decisions: Any) -> Command[Any]:
    """Answer the one question that there is about a batch."""
    return Command(resume={"decisions": list(decisions)})


# --- the question -----------------------------------------------------------------------------------


async def test_the_question_shows_tool_arguments_and_line():
    """A person sees what LangChain's middleware shows, and the line of code that makes the call."""
    world = World()
    code = f"x = 1\n{ONE}"
    graph = agent(world.tools(), code, InMemorySaver(), interrupt_on={"pay": True})
    [question] = asked(await run(graph, REQUEST))
    [shown] = question.value["action_requests"]
    assert (shown["name"], shown["args"]) == ("pay", {"key": "a", "amount": 5})
    assert (shown["line"], shown["source_line"]) == (2, ONE)
    assert all(part in shown["description"] for part in ("pay", '"amount": 5', ONE, "line 2"))
    assert question.value["review_configs"] == [
        {"action_name": "pay", "allowed_decisions": ["approve", "edit", "reject", "respond"]}
    ]
    assert world.effects == []


async def test_per_call_questions_are_those_of_the_middleware():
    """With `per_call` each call is a question of its own, of LangChain's shape and with its schema."""
    world = World()
    code = 'import asyncio\nprint(await asyncio.gather(pay("a"), pay("b")))'
    graph = agent(
        world.tools(),
        code,
        InMemorySaver(),
        interrupt_on={"pay": {"allowed_decisions": ["approve", "reject"]}},
        interrupt_mode="per_call",
    )
    state = await run(graph, REQUEST)
    questions = {q.value["args"]["key"]: q for q in asked(state)}
    assert set(questions) == {"a", "b"}
    assert questions["a"].value["type"] == "tool_approval"
    assert [plain(questions[key].value["tool_call_id"]) for key in "ab"] == ["c1:1", "c1:2"]
    allowed = questions["a"].response_schema["discriminator"]["mapping"]
    assert set(allowed) == {"approve", "reject"}
    state = await run(graph, Command(resume={questions["b"].id: APPROVE}))
    assert [q.id for q in asked(state)] == [questions["a"].id]
    assert world.effects == ["pay b 1"]
    state = await run(graph, Command(resume=APPROVE))
    assert output(state) == "['paid a', 'paid b']"
    assert Counter(world.effects) == Counter(["pay a 1", "pay b 1"])


@pytest.mark.parametrize("is_callable", [False, True], ids=["text", "function"])
async def test_description(is_callable):
    """A description is text, or made from the call, the state and the runtime."""

    def describe(call: Any, state: Any, runtime: Any) -> str:
        return f"{call['name']} {call['args']} {call['id']} {len(state['messages'])} {runtime.tool_call_id}"

    given = describe if is_callable else "Money leaves the house"
    graph = agent(
        World().tools(), ONE, InMemorySaver(), interrupt_on={"pay": {"description": given}}
    )
    [question] = asked(await run(graph, REQUEST))
    told = question.value["action_requests"][0]["description"]
    if is_callable:
        assert plain(told) == "pay {'key': 'a', 'amount': 5} c1:1 2 c1:1"
    else:
        assert told.startswith("Money leaves the house\n\nTool: pay")


# --- the decisions ----------------------------------------------------------------------------------

EDIT: Any = {"type": "edit", "edited_action": {"name": "pay", "args": {"key": "z", "amount": 7}}}
REJECT: Any = {"type": "reject", "message": "too much"}
RESPOND: Any = {"type": "respond", "message": "paid by hand"}
GUARDED = """\
try:
    print(await pay("a", amount=5))
except ToolCallError as e:
    print("refused:", e)
"""


@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize(
    ("decision", "printed", "effects", "status", "arguments"),
    [
        pytest.param(
            APPROVE, "paid a", ["pay a 5"], "returned", {"key": "a", "amount": 5}, id="approve"
        ),
        pytest.param(EDIT, "paid z", ["pay z 7"], "returned", {"key": "z", "amount": 7}, id="edit"),
        pytest.param(
            REJECT,
            "refused: a person rejected pay(): too much",
            [],
            "denied",
            {"key": "a", "amount": 5},
            id="reject",
        ),
        pytest.param(
            RESPOND, "paid by hand", [], "returned", {"key": "a", "amount": 5}, id="respond"
        ),
    ],
)
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_decisions(decision, printed, effects, status, arguments, mode, sync):
    """Each decision does what it says, and the record says what was decided and what was run."""
    world = World()
    graph = agent(
        world.tools(), GUARDED, InMemorySaver(), interrupt_on={"pay": True}, interrupt_mode=mode
    )
    await run(graph, REQUEST, sync=sync)
    answer = decide(decision) if mode == "batched" else Command(resume=decision)
    state = await run(graph, answer, sync=sync)
    assert output(state) == printed
    assert world.effects == effects
    [call] = artifact(state).tool_calls
    assert (call.status, call.approval, call.arguments) == (status, decision["type"], arguments)


@pytest.mark.parametrize("name", HOSTS)
async def test_approvals_in_every_graph(name):
    """Wherever code runs in a graph with a checkpointer, its calls wait for approval."""
    world = World()
    graph = HOSTS[name](world.tools(), ONE, InMemorySaver(), interrupt_on={"pay": True})
    assert len(asked(await run(graph, REQUEST))) == 1
    assert world.effects == []
    assert output(await run(graph, decide(APPROVE))) == "paid a"
    assert world.effects == ["pay a 5"]


async def test_fifty_writes_are_one_question():
    """Calls that the code makes side by side are one question, answered in order."""
    world = World()
    code = """\
import asyncio
told = await asyncio.gather(*(pay(f"k{n}") for n in range(50)), return_exceptions=True)
print([t if isinstance(t, str) else "refused" for t in told])
"""
    graph = agent(world.tools(), code, InMemorySaver(), interrupt_on={"pay": True})
    state = await run(graph, REQUEST)
    [question] = asked(state)
    assert [r["args"]["key"] for r in question.value["action_requests"]] == [
        f"k{n}" for n in range(50)
    ]
    kinds = [APPROVE, REJECT, RESPOND, EDIT]
    state = await run(graph, decide(*(kinds[n % 4] for n in range(50))))
    made = [f"pay k{n} 1" for n in range(0, 50, 4)] + ["pay z 7"] * 12
    assert Counter(world.effects) == Counter(made)
    expected = [[f"paid k{n}", "refused", "paid by hand", "paid z"][n % 4] for n in range(50)]
    assert output(state) == str(expected)
    assert [c.approval for c in artifact(state).tool_calls] == [
        kinds[n % 4]["type"] for n in range(50)
    ]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"decisions": []}, id="none"),
        pytest.param({"decisions": [APPROVE, APPROVE]}, id="too-many"),
        pytest.param({"decisions": [{"type": "maybe"}]}, id="unknown"),
        pytest.param(
            {"decisions": [{"type": "approve", "edited_action": EDIT["edited_action"]}]}, id="both"
        ),
        pytest.param({"decisions": [RESPOND]}, id="not-allowed"),
        pytest.param(APPROVE, id="not-a-batch"),
        pytest.param("yes", id="text"),
        pytest.param(True, id="true"),
        pytest.param(
            {
                "decisions": [
                    {"type": "edit", "edited_action": {"name": "pay", "args": {"key": ["a"]}}}
                ]
            },
            id="bad-type",
        ),
        pytest.param(
            {
                "decisions": [
                    {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 1}}}
                ]
            },
            id="missing",
        ),
        pytest.param(
            {
                "decisions": [
                    {
                        "type": "edit",
                        "edited_action": {"name": "pay", "args": {"key": "a", "sum": 1}},
                    }
                ]
            },
            id="unknown-argument",
        ),
        pytest.param(
            {
                "decisions": [
                    {"type": "edit", "edited_action": {"name": "no_such", "args": {"key": "a"}}}
                ]
            },
            id="other-tool",
        ),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused(answer):
    """A wrong answer is refused by LangGraph, and the same question stays."""
    world = World()
    graph = agent(
        world.tools(),
        ONE,
        InMemorySaver(),
        interrupt_on={"pay": {"allowed_decisions": ["approve", "edit", "reject"]}},
    )
    [question] = asked(await run(graph, REQUEST))
    with pytest.raises(ValidationError):
        await run(graph, Command(resume=answer))
    assert [q.id for q in asked(await state_of(graph))] == [question.id]
    assert world.effects == []
    state = await run(graph, Command(resume={question.id: {"decisions": [APPROVE]}}))
    assert output(state) == "paid a"
    assert world.effects == ["pay a 5"]


async def test_edits_take_the_names_of_the_tool():
    """An edit may name an argument as the question shows it, also where Python cannot say the name."""

    class Range(BaseModel):
        start: int | None = Field(alias="from", default=3)

    made: list[Any] = []

    async def cut(**given: Any) -> str:
        made.append(given)
        return "done"

    cutting = StructuredTool.from_function(
        coroutine=cut, name="cut", description="Cut.", args_schema=Range
    )
    graph = agent([cutting], "print(await cut(1))", InMemorySaver(), interrupt_on={"cut": True})
    [question] = asked(await run(graph, REQUEST))
    assert question.value["action_requests"][0]["args"] == {"from": 1}
    edit = {"type": "edit", "edited_action": {"name": "cut", "args": {"from": None}}}
    state = await run(graph, decide(edit))
    assert output(state) == "done"
    assert [set(one.values()) for one in made] == [{None}]


# --- which calls ------------------------------------------------------------------------------------


async def test_policy_and_option_say_which_calls():
    """A tool's policy asks for approval; `interrupt_on` goes before it, in both directions."""
    world = World()
    code = 'print(await get("a"), await post("b"), await pay("c"))'
    policies = {
        "post": ToolPolicy(requires_approval=True),
        "pay": ToolPolicy(requires_approval=True),
    }
    graph = agent(
        world.tools(), code, InMemorySaver(), policies=policies, interrupt_on={"post": False}
    )
    [question] = asked(await run(graph, REQUEST))
    assert [r["name"] for r in question.value["action_requests"]] == ["pay"]
    assert world.effects == ["get a", "post b"]
    await run(graph, decide(APPROVE))
    assert world.effects == ["get a", "post b", "pay c 1"]


async def test_domains_are_named_in_the_question():
    """Tools of the same name in two domains are told apart."""
    world = World()
    pay = next(t for t in world.tools() if t.name == "pay")
    graph = agent(
        {"bank": [pay], "shop": [pay]},
        'import tools\nprint(await tools.bank.pay("a"), await tools.shop.pay("b"))',
        InMemorySaver(),
        interrupt_on={"bank.pay": True},
    )
    [question] = asked(await run(graph, REQUEST))
    assert question.value["action_requests"][0]["name"] == "bank.pay"
    assert output(await run(graph, decide(APPROVE))) == "paid a paid b"


async def test_a_predicate_decides_for_each_call():
    """`when` sees the call with its state and says whether a person must approve it."""
    world = World()

    def is_much(request: Any) -> bool:
        assert request.tool.name == "pay"
        assert request.state["messages"]
        return request.tool_call["args"].get("amount", 1) > 10

    graph = agent(
        world.tools(),
        'print(await pay("a"), await pay("b", 100))',
        InMemorySaver(),
        interrupt_on={"pay": {"when": is_much}},
    )
    [question] = asked(await run(graph, REQUEST))
    assert question.value["action_requests"][0]["args"] == {"key": "b", "amount": 100}
    assert world.effects == ["pay a 1"]
    assert "a person rejected pay(): too much" in output(await run(graph, decide(REJECT)))
    assert world.effects == ["pay a 1"]


@pytest.mark.parametrize("decision", [APPROVE, REJECT], ids=["approve", "reject"])
async def test_a_predicate_is_asked_once(decision):
    """A predicate that changes its mind when the graph is resumed changes nothing."""
    world = World()
    seen: list[bool] = []

    def flips(request: Any) -> bool:
        seen.append(not seen)
        return seen[-1]

    graph = agent(world.tools(), GUARDED, InMemorySaver(), interrupt_on={"pay": {"when": flips}})
    assert len(asked(await run(graph, REQUEST))) == 1
    await run(graph, decide(decision))
    assert world.effects == (["pay a 5"] if decision is APPROVE else [])
    assert seen == [True]


# --- what is approved is what runs ------------------------------------------------------------------


@pytest.fixture
def chancy():
    """A sandbox whose programs see something that the journal cannot make the same again."""
    fickle.VALUES[0] = "first"
    with InProcessSandbox(imports=["tests.support.fickle"]) as sandbox:
        yield sandbox


@pytest.mark.parametrize("call", ["pay", "ask"], ids=["approval", "interrupt"])
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_an_answer_is_for_the_call_that_was_shown(call, sync, chancy):
    """Code that makes the call with other arguments when resumed gets no use of the answer."""
    world = World()
    code = f"from tests.support.fickle import value\nprint(await {call}(value()))"
    graph = agent(world.tools(), code, InMemorySaver(), sandbox=chancy, interrupt_on={"pay": True})
    await run(graph, REQUEST, sync=sync)
    fickle.VALUES[0] = "second"
    state = await run(graph, decide(APPROVE), sync=sync)
    assert world.effects == []
    assert artifact(state).error.kind == "ReplayError"
    assert f"1:{call} with different arguments than before" in output(state)
    assert not asked(await state_of(graph, sync=sync))


async def test_an_answer_is_not_for_a_call_that_comes_later(chancy):
    """Code that skips the call in question when resumed cannot have the answer for the next one."""
    world = World()
    code = """\
from tests.support.fickle import value
if value() == "first":
    await pay("small")
await pay("large", 1000)
"""
    graph = agent(world.tools(), code, InMemorySaver(), sandbox=chancy, interrupt_on={"pay": True})
    await run(graph, REQUEST)
    fickle.VALUES[0] = "second"
    await run(graph, decide(APPROVE))
    assert world.effects == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("pay('a'), pay('b')", "pay('x')", id="fewer"),
        pytest.param("pay('a')", "pay('x'), pay('b')", id="more"),
        pytest.param("pay('a'), get('b')", "get('b'), pay('x')", id="order"),
        pytest.param("pay('a')", "ask('a')", id="other-tool"),
        pytest.param("ask('a'), ask('b')", "ask('x')", id="fewer-interrupts"),
        pytest.param("ask('a')", "asyncio.sleep(0)", id="none"),
        pytest.param("ask('a')", "asyncio.sleep(0)); sys.exit(", id="end"),
    ],
)
async def test_an_answer_is_for_the_calls_that_were_shown(before, after, chancy):
    """Code that makes more calls, fewer or others beside each other when resumed is stopped at once."""
    world = World()
    code = f"""\
import asyncio, sys
from tests.support.fickle import value
await post("first")
if value() == "first":
    await asyncio.gather({before})
else:
    await asyncio.gather({after})
await post("last")
"""
    graph = agent(
        world.tools(),
        code,
        InMemorySaver(),
        sandbox=chancy,
        interrupt_on={"pay": True},
        interrupt_mode="per_call",
    )
    state = await run(graph, REQUEST)
    effects = list(world.effects)
    fickle.VALUES[0] = "second"
    given = {q.id: {"type": "approve"} for q in asked(state)}
    state = await run(graph, Command(resume=given))
    assert artifact(state).error.kind == "ReplayError"
    assert world.effects == effects


async def test_the_path_is_compared_at_every_earlier_pause(chancy):
    """A path that parts from that before an earlier pause is found before anything happens."""
    world = World()
    code = """\
from tests.support.fickle import value
await ask("a")
await ask("b" if value() == "first" else "c")
await post("d")
"""
    graph = agent(world.tools(), code, InMemorySaver(), sandbox=chancy)
    await run(graph, REQUEST)
    await run(graph, Command(resume="yes-a"))
    before = list(world.effects)
    fickle.VALUES[0] = "second"
    state = await run(graph, Command(resume="yes-b"))
    assert world.effects == before == ["ask a = yes-a"]
    assert "2:ask with different arguments" in output(state)


@pytest.mark.parametrize("clause", ["except Exception:", "except BaseException:", "except:"])
async def test_code_cannot_catch_a_pause(clause):
    """No `except` of the code sees a pause, whether an approval's or that of a tool."""
    world = World()
    code = f"""\
done = []
for call in (pay, ask):
    try:
        done.append(await call("a"))
    {clause}
        done.append("caught")
    finally:
        done.append("finally")
print(done)
"""
    graph = agent(world.tools(), code, InMemorySaver(), interrupt_on={"pay": True})
    assert len(asked(await run(graph, REQUEST))) == 1
    assert world.effects == []
    assert len(asked(await run(graph, decide(APPROVE)))) == 1
    state = await run(graph, Command(resume="yes"))
    assert output(state) == "['paid a', 'finally', 'yes', 'finally']"


# --- where nobody can be asked ----------------------------------------------------------------------


async def test_without_checkpointer_the_call_is_refused():
    """Where nobody can be asked the call is not made; others are."""
    world = World()
    code = f'print(await get("b"))\n{GUARDED}'
    options: Any = {"interrupt_on": {"pay": True}}
    (run_code,) = as_programmatic(world.tools(), **options)
    for told in (
        output(await run(agent(world.tools(), code, **options), REQUEST)),
        output(await run(agent(world.tools(), code, **options), REQUEST, sync=True)),
        output(await run(tool_node(world.tools(), code, **options), REQUEST)),
        (await run_code.ainvoke(call_of(code))).text,
        run_code.invoke(call_of(code)).text,
        (await ProgrammaticToolExecutor(world.tools(), **options).aexecute(code)).output,
    ):
        assert told.startswith("got b\nrefused: pay needs the approval of a person")
    assert world.effects == ["get b"] * 6


def test_approvals_need_a_journal():
    """`durable="never"` and approvals exclude each other."""
    with pytest.raises(ValueError, match="durable='never'"):
        as_programmatic(World().tools(), interrupt_on={"pay": True}, durable="never")


async def test_durable_always_needs_a_checkpointer():
    """`durable="always"` runs nothing where nothing can be kept."""
    world = World()
    (run_code,) = as_programmatic(world.tools(), durable="always")
    code = 'print(await get("a"))'
    with pytest.raises(ValueError, match="compile the graph with one"):
        await run_code.ainvoke(call_of(code))
    with pytest.raises(ValueError, match="durable='always'"):
        run_code.invoke(call_of(code))
    assert world.effects == []
    state = await run(agent(world.tools(), code, InMemorySaver(), durable="always"), REQUEST)
    assert output(state) == "got a"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"pya": True}, "names no single tool .did you mean 'pay'", id="name"),
        pytest.param({"pay": "yes"}, "must be True, False or a mapping, got str", id="type"),
        pytest.param({"pay": {"allow": ["approve"]}}, "has 'allow'; it takes", id="key"),
        pytest.param({"pay": {"allowed_decisions": []}}, "must be some of", id="none"),
        pytest.param({"pay": {"allowed_decisions": ["ok"]}}, "must be some of", id="unknown"),
        pytest.param({"pay": {"when": True}}, "'when' must be|\\['when'\\] must be", id="when"),
    ],
)
def test_wrong_options_are_told(given, told):
    """An option that is none of what it may be is told with its name and value."""
    with pytest.raises(ValueError, match=told):
        as_programmatic(World().tools(), interrupt_on=given)
    with pytest.raises(ValueError, match="interrupt_mode must be 'batched' or 'per_call', got 'x'"):
        as_programmatic(World().tools(), interrupt_mode="x")  # type: ignore[arg-type]


# --- pauses and the code that waits -----------------------------------------------------------------


@pytest.mark.parametrize("call", ["pay", "ask"])
async def test_code_that_fails_beside_a_question_leaves_none(call):
    """Where the code ends by an error elsewhere, the question goes with it, and no call is made."""
    world = World()
    code = f"""\
import asyncio
async def fail():
    await get("b")
    raise KeyError("lost")
await asyncio.gather({call}("a"), fail())
"""
    graph = agent(world.tools(), code, InMemorySaver(), interrupt_on={"pay": True})
    state = await run(graph, REQUEST)
    assert not asked(state)
    assert not asked(await state_of(graph))
    assert world.effects == ["get b"]
    assert "KeyError: 'lost'" in output(state)
    assert (await state_of(graph)).next == ()


async def test_a_pause_is_no_time_of_the_code():
    """A time limit of the code, and `wall_seconds`, go on after the pause where they were before it."""
    world = World()
    code = """\
import asyncio, time
begun = time.monotonic()
print(await asyncio.wait_for(pay("a"), 2))
print(time.monotonic() - begun < 2)
"""
    graph = agent(
        world.tools(),
        code,
        InMemorySaver(),
        interrupt_on={"pay": True},
        limits=Limits(wall_seconds=2.5),
    )
    await run(graph, REQUEST)
    await asyncio.sleep(2.6)
    assert output(await run(graph, decide(APPROVE))) == "paid a\nTrue"


async def test_code_may_give_up_waiting_for_a_call():
    """A question whose call the code no longer waits for is not asked."""
    world = World()
    code = """\
import asyncio
waiting = asyncio.ensure_future(pay("a"))
await get("b")
waiting.cancel()
print("gave up")
"""
    graph = agent(world.tools(), code, InMemorySaver(), interrupt_on={"pay": True})
    state = await run(graph, REQUEST)
    assert not asked(state)
    assert output(state).startswith("gave up")
    assert world.effects == ["get b"]


# --- answering --------------------------------------------------------------------------------------

MANY = """\
import asyncio
print(await asyncio.gather(pay("a"), ask("b"), pay("c")))
"""


async def test_several_questions_need_their_ids():
    """A plain answer where several are asked is refused by LangGraph, and all of them stay."""
    world = World()
    graph = agent(
        world.tools(), MANY, InMemorySaver(), interrupt_on={"pay": True}, interrupt_mode="per_call"
    )
    state = await run(graph, REQUEST)
    assert len(asked(state)) == 3
    with pytest.raises(RuntimeError, match="must specify the interrupt id"):
        await run(graph, Command(resume=APPROVE))
    assert {q.id for q in asked(await state_of(graph))} == {q.id for q in asked(state)}
    assert world.effects == []


@pytest.mark.parametrize("order", ["abc", "cba", "bac", "cab"])
async def test_answers_in_any_order(order):
    """Questions are answered one at a time, in any order, and each answer is that of its own call."""
    world = World()
    graph = agent(
        world.tools(), MANY, InMemorySaver(), interrupt_on={"pay": True}, interrupt_mode="per_call"
    )
    state = await run(graph, REQUEST)
    for key in order:
        found = {q.value.get("question") or q.value["args"]["key"]: q for q in asked(state)}
        answer = (
            "yes"
            if key == "b"
            else {**EDIT, "edited_action": {"name": "pay", "args": {"key": f"{key}{key}"}}}
        )
        state = await run(graph, Command(resume={found[key].id: answer}))
    assert output(state) == "['paid aa', 'yes', 'paid cc']"
    assert Counter(world.effects) == Counter(["pay aa 1", "ask b = yes", "pay cc 1"])


def _resume_elsewhere(path: Path, log: Path) -> None:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = agent(
            [_logged_pay(log)],
            'print(await pay("a"), await pay("b"))',
            saver,
            interrupt_on={"pay": True},
        )
        state = graph.invoke(decide(APPROVE), CONFIG)
    log.with_suffix(".told").write_text(str(len(state.get("__interrupt__", ()))))


def _logged_pay(log: Path) -> Any:
    @tool
    def pay(key: str) -> str:
        """Pay."""
        with log.open("a") as file:
            file.write(f"pay {key}\n")
        return f"paid {key}"

    return pay


def test_another_process_goes_on(tmp_path):
    """Each answer is given in a process that knows nothing but the file of checkpoints."""
    path, log = tmp_path / "checkpoints", tmp_path / "log"
    log.touch()
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = agent(
            [_logged_pay(log)],
            'print(await pay("a"), await pay("b"))',
            saver,
            interrupt_on={"pay": True},
        )
        assert len(asked(graph.invoke(REQUEST, CONFIG))) == 1
    other = PROCESSES.Process(target=_resume_elsewhere, args=(path, log))
    other.start()
    other.join(SECONDS)
    assert log.with_suffix(".told").read_text() == "1"
    assert log.read_text() == "pay a\n"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = agent(
            [_logged_pay(log)],
            'print(await pay("a"), await pay("b"))',
            saver,
            interrupt_on={"pay": True},
        )
        assert output(graph.invoke(decide(APPROVE), CONFIG)) == "paid a paid b"
    assert log.read_text() == "pay a\npay b\n"


async def test_no_question_is_left_in_a_message():
    """What was asked and answered is in the record only: the messages are those of an unpaused run."""
    graph = agent(World().tools(), ONE, InMemorySaver(), interrupt_on={"pay": True})
    await run(graph, REQUEST)
    state = await run(graph, decide(APPROVE))
    assert [type(m).__name__ for m in state["messages"]] == [
        "HumanMessage",
        "AIMessage",
        "ToolMessage",
        "AIMessage",
    ]
    assert isinstance(state["messages"][2], ToolMessage)


async def test_the_node_mends_code_whose_call_was_rejected():
    """A rejected call fails the attempt of a node; the next attempt asks again, with its own id."""
    from langchain_ptc.testing import ScriptedChatModel
    from tests.support.hosts import message_of

    world = World()
    model = ScriptedChatModel(script=[message_of(ONE), message_of('print(await pay("less"))')])
    graph = node("tool")(
        world.tools(), ONE, InMemorySaver(), interrupt_on={"pay": True}, model=model
    )
    [first] = asked(await run(graph, REQUEST))
    [second] = asked(await run(graph, decide(REJECT)))
    assert first.id != second.id
    assert second.value["action_requests"][0]["args"] == {"key": "less", "amount": 1}
    assert output(await run(graph, decide(APPROVE))) == "paid less"
    assert world.effects == ["pay less 1"]
    assert len(model.calls) == 2

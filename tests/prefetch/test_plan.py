"""What is run ahead of a program, while it is written and while it runs: only reads, always Python."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from langchain_ptc.prefetch.plan import Part, Plan
from tests.prefetch.corpus import programs, random_program
from tests.prefetch.parts import TOOLS, Call, plan_of, run_part

PROGRAM = """staff = await team("x")
lead = staff[0]
a = await get(lead)
for person in staff:
    b = await find(person)
    c = await get(b)
await pay(1)
d = await get(2)
"""


def source(part: Part | None) -> str:
    assert part is not None
    return part.source


def test_a_program_that_is_being_written() -> None:
    """Rehearsals grow with the statements that are there; loops that are open are in slices only."""
    plan = Plan(TOOLS)
    assert not plan.feed('staff = await team("x")')
    assert plan.rehearsal() is plan.slice() is None
    assert plan.feed("\n")
    assert source(plan.rehearsal()) == "staff = await team('x')\n"
    assert "await team('x')" in source(plan.slice())
    assert not plan.feed("lead = staff[0]\n")
    assert source(plan.rehearsal()) == "staff = await team('x')\n"  # what follows calls nothing
    assert plan.feed("for n in [1, 2]:\n    b = await find(n)\n")
    assert source(plan.rehearsal()) == "staff = await team('x')\n"
    assert "await find(n)" in source(plan.slice())
    assert plan.feed("    c = await get(b)\nx")
    assert source(plan.rehearsal()).endswith("c = await get(b)\n")


def test_parts_are_given_until_they_are_run() -> None:
    """A part is given again and again until it is said to run."""
    plan = plan_of(PROGRAM)
    for ask in (plan.rehearsal, plan.slice):
        part = ask()
        assert part is not None
        assert ask() == part
        plan.begin(part)
        assert ask() is None


def test_where_a_rehearsal_is() -> None:
    """What a rehearsal reaches and has, decides which statements of a slice stay as they are."""
    plan = plan_of(PROGRAM, is_whole=False)
    rehearsal = plan.rehearsal()
    assert rehearsal is not None
    assert (rehearsal.is_rehearsal, rehearsal.is_async, rehearsal.ahead) == (
        True,
        True,
        frozenset(),
    )
    plan.reach(3, rehearsal)
    part = plan.slice()
    assert part is not None
    assert part.source.startswith("staff = await team('x')\nlead = staff[0]\ntry:\n")
    assert min(part.ahead) > 2
    ran = run_part(part, lambda call: ["p", "q"])
    assert ran.waited == [("team", "x")]
    assert ran.ahead == [("get", "p"), ("find", "p"), ("find", "q")]
    plan.reach_end(rehearsal)
    assert plan.slice() is None  # what follows writes


def test_where_the_program_is() -> None:
    """The same by the lines of the program; a line of a function says nothing but what was answered before."""
    code = "def h(k):\n    return get(k)\na = h(1)\nb = h(a)\nfor c in b:\n    h(c)\n"
    plan = plan_of(code)
    plan.reach(2)
    first = plan.slice()
    assert first is not None
    assert [call[1] for call in run_part(first).ahead] == [1]
    plan.answer(3)
    plan.reach(2)
    second = plan.slice()
    assert second is not None
    ran = run_part(second, lambda call: "a")
    assert ([call[1] for call in ran.waited], [call[1] for call in ran.ahead]) == ([1], ["a"])
    plan.answer(4)
    plan.reach(6)
    third = plan.slice()
    assert third is not None
    ran = run_part(third, lambda call: ["x", "y"])
    assert [call[1] for call in ran.ahead] == ["x", "y"]


def test_places_stay_where_they_are() -> None:
    """What was reached stays reached when more of the code is there, also where `main` is unwrapped."""
    plan = Plan(TOOLS)
    plan.feed("async def main():\n    a = await get(1)\n    b = await get(a)\n")
    rehearsal = plan.rehearsal()
    assert rehearsal is not None
    plan.reach(2, rehearsal)
    plan.feed("    for c in a:\n        await find(c)\n\ndef helper():\n    pass\n\nawait main()\n")
    part = plan.slice()
    assert part is not None
    ran = run_part(part, lambda call: ["x", "y"])
    assert ran.waited == [("get", 1)]
    assert ran.ahead == [("get", ["x", "y"]), ("find", "x"), ("find", "y")]


def test_an_open_loop_is_never_run_as_it_stands() -> None:
    """Whatever is said to be reached, a slice has no statement as it stands that is still being written."""
    plan = Plan(TOOLS)
    plan.feed("x = get(1)\nif x:\n    y = get(2)\n    while True:\n        find(3)\n")
    rehearsal = plan.rehearsal()
    assert rehearsal is not None
    assert "while" not in rehearsal.source
    plan.reach_end(rehearsal)
    part = plan.slice()
    assert part is None or "while" not in part.source


def test_when_a_rehearsal_is_needed() -> None:
    """Not where the slice makes all calls: one of a result is missing, of a loop that is open too."""
    literal = "a = await get(1)\nb = await get(2)\n"
    for more, is_needed in [
        ("", False),
        ("for n in 'ab':\n    c = await get(n)\n", False),
        ("c = await get(a)\n", True),
        ("for n in a:\n    c = await get(n)\n", True),
        ("if a:\n    c = await get(3)\n", True),
        ("while True:\n    c = await get(3)\n", True),
        ("await pay(a)\nc = await get(a)\n", False),
        ("try:\n    c = await get(3)\nexcept ValueError:\n    c = await get(4)\nprint()\n", True),
        ("class A:\n    x = get\nawait A.x(3)\n", True),
    ]:
        assert plan_of(literal + more, is_whole=False).needs_rehearsal == is_needed, more


def test_a_rehearsal_is_needed_again_where_its_last_statement_has_grown() -> None:
    """A statement that was still being written is not behind a rehearsal that has come to its end."""
    plan = plan_of("a = await get(1)\nif a:\n    b = await get(2)\n", is_whole=False)
    rehearsal = plan.rehearsal()
    assert rehearsal is not None
    plan.begin(rehearsal)
    plan.reach_end(rehearsal)
    assert not plan.needs_rehearsal
    plan.feed("    c = await get(b)\nd = await get(3)\nprint()\n")
    assert plan.needs_rehearsal
    rehearsal = plan.rehearsal()
    assert rehearsal is not None
    plan.begin(rehearsal)
    plan.reach_end(rehearsal)
    assert not plan.needs_rehearsal


@pytest.mark.parametrize(
    ("code", "line", "is_needed"),
    [
        ("print(len(await get(1)))\n", 1, False),
        ("if True:\n    a = await get(1)\n    b = 2\n", 2, False),
        ("print(await get(1), await get(2))\n", 1, True),
        ("for n in 'ab':\n    print(await get(n))\n", 2, True),
        ("print([await get(n) for n in 'ab'])\n", 1, True),
        ("async def h(n):\n    return await get(n)\nprint(await h(1))\n", 3, True),
        ("print(await get(1))\nprint(await get(2))\n", 1, True),
    ],
)
def test_a_slice_of_the_one_call_that_was_made(code: str, line: int, *, is_needed: bool) -> None:
    """It is not given once the program has made that call itself, and is before."""
    plan = plan_of(code)
    assert plan.slice() is not None
    plan.reach(line)
    assert (plan.slice() is not None) == is_needed


def test_rehearsals_end_with_the_last_call() -> None:
    """Statements count that name a tool, a function that does, an object of a class that does, or await."""
    code = (
        "class A:\n    def load(self):\n        return get(1)\n"
        "def h():\n    return get(2)\n"
        "x = 1\na = A()\ny = 2\nb = a.load()\nz = 3\nc = h()\nprint(c)\n"
    )
    part = plan_of(code, is_whole=False).rehearsal()
    assert part is not None
    assert part.source.endswith("z = 3\nc = get(2)\n")
    part = plan_of(code.partition("c = h")[0], is_whole=False).rehearsal()
    assert part is not None
    assert part.source.endswith("b = a.load()\n")


def answer(call: Call) -> object:
    """Return what a tool of a random program returns; end the part at a write, as the host does."""
    if call[0] == "pay":
        raise SystemExit
    return f"{call[1]}{len(str(call[1])) * 7 % 10}"


DROPPED = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning"
)
"""A part that ends at a write or an error may leave calls that are not awaited."""


@DROPPED
@pytest.mark.parametrize("start", range(0, 60, 20))
def test_random_programs(start: int) -> None:
    """At every line of random programs, and wherever they are: parts are Python and call no writing tool early."""
    rng = random.Random(start)
    for seed in range(start, start + 20):
        code = random_program(seed)
        plan, begun = Plan({"get": True, "pay": False}), 0
        lines = code.splitlines(keepends=True)
        for number, line in enumerate([*lines, None]):
            if line is None:
                plan.close()
            elif not plan.feed(line):
                continue
            if rng.random() < 0.5:
                plan.answer(rng.randint(1, number + 1))
                plan.reach(rng.randint(1, number + 1))
            for part in (plan.rehearsal(), plan.slice()):
                if part is not None:
                    plan.begin(part)
                    begun += 1
                    ran = run_part(part, answer)
                    assert {call[0] for call in ran.ahead} <= {"get"}, part.source
                    assert bool(part.ahead) != part.is_rehearsal
        assert begun or "get" not in code


@DROPPED
def test_lines_that_are_skipped_add_no_call() -> None:
    """At each line of random programs as many calls are known as if all lines were read; many are not."""
    tools = {"get": True, "pay": False}
    fed = read = 0
    for seed in range(20):
        plan, known, code = Plan(tools), Counter[Call](), ""
        for line in random_program(seed).splitlines(keepends=True):
            code += line
            fed += 1
            if plan.feed(line):
                read += 1
                known |= calls_of(plan)
            assert not calls_of(plan_of(code, is_whole=False, tools=tools)) - known
    assert read < 0.7 * fed


def calls_of(plan: Plan) -> Counter[Call]:
    """Run the parts that are new, and return the most of each call that one of them makes."""
    calls = Counter[Call]()
    for part in (plan.rehearsal(), plan.slice()):
        if part is not None:
            plan.begin(part)
            ran = run_part(part, answer)
            calls |= Counter(call for call in ran.ahead + ran.waited if call[0] == "get")
    return calls


@pytest.mark.parametrize(
    "code",
    [
        "fs = [get, find]\nfs[0](1)\n",
        "g = get\nx = 1\ng(x)\n",
        "from tools import get as g\nfor n in 'ab':\n    g(n)\nprint()\n",
        "def h(k):\n    return [\n        get(k)\n    ]\nx = [\n    h(n)\n    for n in 'ab'\n]\n",
        "class A:\n    def load(self):\n        return get(1)\na = A()\na.load()\n",
    ],
    ids=["list", "alias", "import", "open brackets", "object"],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_lines_that_call_by_other_names(code: str, size: int) -> None:
    """A line counts that names what holds a tool, and one that ends a statement which does."""
    plan = Plan(TOOLS)
    fed = [plan.feed(code[at : at + size]) for at in range(0, len(code), size)]
    assert any(fed)
    part = plan.rehearsal()
    assert part is not None
    assert run_part(part, lambda call: 1).waited


@DROPPED
def test_most_early_calls_are_made_by_the_program_too() -> None:
    """Of the calls that first slices of random programs make, few are made for nothing, and none after a write."""
    early = wasted = 0
    for seed in range(200):
        code = random_program(seed)
        plan = plan_of(code, tools={"get": True, "pay": False})
        part = plan.slice()
        if part is None:
            continue
        whole = Part(code, frozenset(), part.is_async, True, (), ())
        made = Counter(call for call in run_part(whole, answer).waited if call[0] == "get")
        ahead = run_part(part).ahead
        early += len(ahead)
        wasted += sum((Counter(ahead) - made).values())
    assert early > 300
    assert wasted / early < 0.1


def test_parts_of_every_program_are_python() -> None:
    """At each line of a hundred programs, rehearsals and slices compile, whichever tools only read."""
    seen = 0
    for number, code in enumerate(programs()):
        if number % 4:
            continue
        plan = Plan({tool: (number + at) % 8 > 0 for at, tool in enumerate(_TOOLS)})
        for line in code.splitlines(keepends=True):
            if plan.feed(line):
                for part in (plan.rehearsal(), plan.slice()):
                    if part is not None:
                        plan.begin(part)
                        seen += 1
                        compile_part(part)
    assert seen > 200


_TOOLS = (
    *("get", "post", "ask", "pay", "flaky", "list_users", "get_trips", "finance.get_expenses"),
    *("hr.get_team_members", "finance.get_budget", "search", "send_mail"),
)


def compile_part(part: Part) -> None:
    """Compile a part as the body of a function, where it may return and await."""
    lines = part.source.splitlines(keepends=True)
    body = "".join(
        f"    {re.sub(r'from .* import [*]', 'pass', line)}"
        for line in lines
        if not line.startswith("from __future__")
    )
    compile(f"async def part():\n{body}", "part", "exec")

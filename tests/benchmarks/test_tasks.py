"""The tasks for models: programs that answer them are right, and plausible wrong answers are not."""

import pytest

from benchmarks.tasks import DOMAINS, SHAPES, Effect
from benchmarks.tasks.checks import says_names, says_number, says_order, says_pairs
from langchain_ptc import ProgrammaticToolExecutor

TASKS = [
    pytest.param(domain, task, id=f"{domain.name}-{task.name}")
    for domain in DOMAINS.values()
    for task in domain.tasks
]
NAMES = ["Ann", "Bob", "Cy"]


def test_the_set_is_large_and_varied():
    """Four domains with ten tasks or more each, one of them held out, and every shape in each."""
    assert len(DOMAINS) == 4
    assert [name for name, domain in DOMAINS.items() if domain.held_out] == ["library"]
    assert sum(len(domain.tasks) for domain in DOMAINS.values()) >= 40
    for domain in DOMAINS.values():
        assert len(domain.tasks) >= 10
        assert {task.shape for task in domain.tasks} == set(SHAPES)
        assert len({task.name for task in domain.tasks}) == len(domain.tasks)


@pytest.fixture(scope="module")
def answers():
    """What the program of each task prints and changes, in the real sandbox."""
    told = {}
    for domain in DOMAINS.values():
        world = domain.build()
        executor = ProgrammaticToolExecutor(world.tools)
        for task in domain.tasks:
            world.effects.clear()
            result = executor.execute(task.program).raise_for_status()
            told[domain.name, task.name] = result.output, tuple(world.effects)
    return told


@pytest.mark.parametrize(("domain", "task"), TASKS)
def test_the_program_of_a_task_is_right(domain, task, answers):
    """What a task's program prints and changes answers this task, and no other one of its domain."""
    assert task.judge(*answers[domain.name, task.name]) == ("right", "")
    assert task.judge("", [])[0] != "right"
    for other in domain.tasks:
        verdict, _ = task.judge(*answers[domain.name, other.name])
        assert (verdict == "right") == (other is task), other.name


@pytest.mark.parametrize(("domain", "task"), [p for p in TASKS if p.values[1].effects])
def test_side_effects_are_counted(domain, task):
    """One effect too few, too many or twice is wrong; their order and the text's quotes are not."""
    done = list(task.effects)
    assert task.judge("done", reversed(done))[0] == "right"
    assert task.judge("done", done[1:])[0] == "wrong side effect"
    assert task.judge("done", [*done, done[0]])[0] == "wrong side effect"
    changed = {
        name: f"'{value}.'" if isinstance(value, str) and name == "text" else value
        for name, value in done[0].arguments.items()
    }
    told = [Effect(tool=done[0].tool, arguments=changed), *done[1:]]
    assert task.judge("done", told)[0] == "right"


@pytest.mark.parametrize(("domain", "task"), [p for p in TASKS if not p.values[1].effects])
def test_questions_change_nothing(domain, task, answers):
    """A right answer that was got with a side effect which nobody asked for is wrong."""
    output, _ = answers[domain.name, task.name]
    effect = Effect(tool="send_message", arguments={"text": "hello"})
    assert task.judge(output, [effect])[0] == "wrong side effect"


# --- the checks ---------------------------------------------------------------------------------

NUMBER = says_number(1234.5, beside=[3], words=NAMES)
WHOLE = says_number(3, words=NAMES)
MEAN = says_number(10 / 3, words=NAMES)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (NUMBER, "1234.5"),
        (NUMBER, "The total is **1,234.50 EUR**."),
        (NUMBER, "total: 1_234.5\n"),
        (NUMBER, "{'total': 1234.5, 'members': 3}"),
        (NUMBER, "In Q3 (more than 200): $1234.50"),
        (NUMBER, "Ann 1000.0\nBob 234.5\nTotal 1234.5"),
        (NUMBER, "('total', 1234.4999999999998)"),
        (WHOLE, "3"),
        (WHOLE, "3.0 servers"),
        (WHOLE, "There are 3."),
        (MEAN, "3.3333333333333335"),
        (MEAN, "3.33"),
        (MEAN, "3.3"),
    ],
)
def test_right_numbers_pass(check, text):
    """The number may stand in words, with separators, a unit, fewer digits, or below its parts."""
    assert check(text, "Who has more than 200?") == ""


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (NUMBER, ""),
        (NUMBER, "no idea"),
        (NUMBER, "1234"),
        (NUMBER, "1234.6"),
        (NUMBER, "-1234.5"),
        (NUMBER, "12345"),
        (NUMBER, "200"),
        (NUMBER, "Ann 1000.0\nBob 1234.5\nCy 2.0"),
        (NUMBER, "Ann 1234.5\nBob 1000.0"),
        (NUMBER, "1000.0\n1234.5"),
        (NUMBER, "[1234.5, 17]"),
        (NUMBER, "Total 1234.5\nBut really 99"),
        (WHOLE, "id-3"),
        (WHOLE, "Q3"),
        (WHOLE, "33"),
        (WHOLE, "2\n3"),
        (MEAN, "3"),
        (MEAN, "3.4"),
    ],
)
def test_wrong_numbers_fail(check, text):
    """Other numbers fail, and so does the right one in a list from which nobody chose."""
    assert check(text, "Who has more than 200?") != ""


def test_names():
    """Exactly the right names, in any order and layout; a name within a word is none."""
    check = says_names(["Ann", "Cy"], NAMES)
    for text in ("Ann, Cy", "['Cy', 'Ann']", "The names are: cy and ANN.", "Ann 3\nCy 4"):
        assert check(text, "Who?") == ""
    for text in ("", "Ann", "Ann, Bob, Cy", "Anna, Cy", "ann-1 Cy"):
        assert check(text, "Who?") != ""
    assert check("Unlike Bob: Ann and Cy", "Who is unlike Bob?") == ""
    longer = says_names(["The Road"], ["The Road", "The Road Back"])
    assert longer("The Road", "Which?") == ""
    assert longer("The Road Back", "Which?") != ""


def test_order():
    """Names in another order are wrong only where the order was asked for."""
    check = says_order(["Cy", "Ann"], NAMES)
    assert check("1. Cy\n2. Ann", "?") == ""
    assert check("Ann, Cy", "?") != ""
    assert check("Cy, Ann, Bob", "?") != ""


PAIRS = says_pairs({"Ann": 1250.0, "Cy": 7}, NAMES, beside=[99])


@pytest.mark.parametrize(
    "text",
    [
        "{'Ann': 1250.0, 'Cy': 7}",
        "[('Cy', 7), ('Ann', 1250.0)]",
        "Ann: 1,250.00\nCy: 7",
        "Ann\n  1250\nCy\n  7",
        "1250.0 Ann\n7 Cy",
        "1250.0 Ann, 7 Cy",
        "Of 99: Ann has 1250 EUR and Cy 7 EUR.",
        "For Ann and Cy:\nAnn 1250\nCy 7\nTotal 1257",
        "| Ann | 1250.0 |\n| Cy | 7 |",
    ],
)
def test_right_pairs_pass(text):
    """Names with their numbers pass in any order and layout."""
    assert PAIRS(text, "How much in Q3?") == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ann, Cy",
        "Ann 7\nCy 1250",
        "Ann 1250\nCy 8",
        "Ann 1250",
        "Ann 1250\nCy 7\nBob 0",
        "Ann 1000\nAnn 1250\nCy 7",
        "Ann 1250 7\nCy 7",
        "1250 7",
    ],
)
def test_wrong_pairs_fail(text):
    """A missing, swapped, additional or repeated value fails."""
    assert PAIRS(text, "How much in Q3?") != ""


def test_several_numbers_of_one_name():
    """A name may have several numbers, each exactly once."""
    check = says_pairs({"Ann": [5, 7.25], "Cy": 1}, NAMES)
    assert check("Ann 7.25\nAnn 5\nCy 1", "?") == ""
    assert check("Ann 5 7.25\nCy 1", "?") == ""
    assert check("Ann 5\nCy 1", "?") != ""

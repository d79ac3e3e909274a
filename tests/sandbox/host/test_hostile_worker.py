"""Whatever a worker sends, the host stays free, keeps its memory, and ends the execution as one."""

import datetime
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from decimal import Decimal
from typing import Any
from uuid import UUID

import ormsgpack
import pytest
from langchain_core.tools import StructuredTool, tool

from langchain_ptc import Limits, ProcessSandbox, ProgrammaticToolExecutor
from langchain_ptc.sandbox import Call, Program
from langchain_ptc.sandbox.wire.decoding import read_bounded
from langchain_ptc.sandbox.wire.protocol import (
    MAX_ARGUMENTS,
    HostProtocol,
    ProtocolViolation,
    check_encoded,
    encode_arguments,
    encode_call,
    encode_done,
)
from langchain_ptc.sandbox.wire.values import UnsendableValue, encode_value
from tests.support import ROOT
from tests.support.hostile import SPEAKS, Watch, hostile_sandbox
from tests.support.pictures import SVG, png
from tests.support.wire import frames, pack, receive

MAX_SECONDS = 1.0
"""For what took the host seconds to hours; on a busy machine what is cheap takes a while, too."""

TOO_MANY = """
from collections.abc import Mapping, Set
class Items(Set):
    def __contains__(self, item): return False
    def __len__(self): return 20_000
    def __iter__(self): return ({item} for i in range(20_000))
class Keys(Mapping):
    def __getitem__(self, key): return 1
    def __len__(self): return 20_000
    def __iter__(self): return ({item} for i in range(20_000))
"""
COLLIDING = {
    "int": "i * (2**61 - 1)",
    "float": "float(2**61 * 2**(i % 900))",
    "tuple": "(i * (2**61 - 1), 'x')",
    "decimal": "Decimal(i * (2**61 - 1))",
    "mixed": "(i % 2 and float or int)(2**(61 * (i % 16)))",
}


@tool
def look(key: Any = None) -> str:
    """Look."""
    return "v"


@tool
def count(n: int) -> str:
    """Count."""
    return "c"


@tool
def total(xs: list[int]) -> int:
    """Sum."""
    return len(xs)


@tool
def unique(ids: set[int]) -> int:
    """Count."""
    return len(ids)


@pytest.fixture(scope="module")
def executor():
    with ProcessSandbox() as sandbox:
        yield ProgrammaticToolExecutor([look, count, total, unique], sandbox=sandbox)


@pytest.fixture(scope="module")
def hostile():
    with hostile_sandbox() as sandbox:
        yield ProgrammaticToolExecutor([look, count, total, unique], sandbox=sandbox, check="off")


async def run(executor, code):
    """Run code; return the result and how long the loop was not free."""
    await executor.aexecute("print(1)")
    async with Watch() as watch:
        result = await executor.aexecute(code)
    return result, watch.longest_seconds


@pytest.mark.parametrize("item", COLLIDING.values(), ids=COLLIDING)
async def test_host_blocked_by_hostile_set(executor, item):
    """A set of items of one hash is refused at the call, and the loop stays free."""
    code = f"from decimal import Decimal\n{TOO_MANY.format(item=item)}\nawait look([Items()])"
    result, seconds = await run(executor, code)
    assert result.status == "error"
    assert result.error.kind == "ToolCallError"
    assert "too many items have one hash; send fewer" in result.error.message
    assert seconds < MAX_SECONDS


@pytest.mark.parametrize("item", COLLIDING.values(), ids=COLLIDING)
async def test_host_blocked_by_colliding_keys(executor, item):
    """So is a dict with such keys."""
    code = (
        f"from decimal import Decimal\n{TOO_MANY.format(item=item)}\nawait look(key={{1: Keys()}})"
    )
    result, seconds = await run(executor, code)
    assert result.status == "error"
    assert "too many items have one hash; send fewer" in result.error.message
    assert seconds < MAX_SECONDS


@pytest.mark.parametrize("made", ["Items()", "Keys()", "[frozenset([1]), {1: Items()}]"])
async def test_host_blocked_by_returned_set(executor, made):
    """A value that the host would refuse is returned as text, with a note that says why."""
    result, seconds = await run(
        executor, TOO_MANY.format(item="i * (2**61 - 1)") + f"return {made}"
    )
    assert result.status == "success"
    assert isinstance(result.value, str)
    assert any("too many items have one hash" in note for note in result.notes)
    assert seconds < MAX_SECONDS


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("Decimal('1E+6000000')", "Decimal of more than 4,300 digits"),
        ("Decimal('-1E+4301')", "Decimal of more than 4,300 digits"),
        ("Decimal('1E-6000000')", "Decimal of more than 4,300 digits"),
        ("Decimal((0, (7,) * 100_000, 0))", "Decimal of more than 4,300 digits"),
        ("2 ** 20_000", "integer of more than 4,300 digits"),
        ("-(1 << 8_000_000)", "integer of more than 4,300 digits"),
    ],
)
async def test_host_blocked_by_decimal(executor, made, told):
    """Numbers that a tool's schema would spread out to millions of digits are refused at the call."""
    result, seconds = await run(executor, f"from decimal import Decimal\nawait count({made})")
    assert result.status == "error"
    assert told in result.error.message
    assert seconds < MAX_SECONDS


@pytest.mark.parametrize("made", ["Decimal('1E+4000')", "10 ** 4200", "Decimal('7.50')"])
async def test_numbers_within_the_bounds_reach_the_tool(executor, made):
    """What is within the bounds crosses as it is."""
    result = await executor.aexecute(f"from decimal import Decimal\nprint(await look({made}))")
    assert result.output == "v\n"


@pytest.mark.parametrize(
    "made",
    [
        "range(10_000_000)",
        "range(10 ** 30)",
        "range(0, -10 ** 9, -3)",
        "[range(100_000) for _ in range(6)]",
    ],
)
async def test_host_memory_by_range(executor, made):
    """A range counts as the values that a tool's schema may make of it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result, seconds = await run(executor, f"await total({made})")
    assert result.status == "error"
    assert "ranges of more than 500,000 items" in result.error.message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert seconds < MAX_SECONDS


async def test_ranges_of_all_calls_are_added_up(executor):
    """Ranges that many calls spread out take no more memory than other arguments may."""
    code = "import asyncio\nawait asyncio.gather(*[total(range(400_000)) for _ in range(8)])"
    result = await executor.aexecute(code)
    assert result.status == "error"
    assert "of all calls together are too large" in result.error.message
    result = await executor.aexecute("print(await total(range(1_000)))")
    assert result.output == "1000\n"


# --- a worker that was taken over -----------------------------------------------------------------


BIG = '{"$":["int","0x' + "f" * 6000 + '"]}'
SPREAD_OUT = [
    pytest.param(
        '[{{"$":["set",[{}]]}}]'.format(",".join(str(i * (2**61 - 1)) for i in range(20_000))),
        id="set",
    ),
    pytest.param(
        '[{{"$":["dict",[{}]]}}]'.format(",".join(f"[{i * (2**61 - 1)},1]" for i in range(20_000))),
        id="dict",
    ),
    pytest.param(
        '[{{"$":["set",[{}]]}}]'.format(
            ",".join(["1" + "0" * 4_000, *['{"$":["decimal","1E+4000"]}'] * 20_000])
        ),
        id="equal-items",
    ),
    pytest.param(
        '[{{"$":["set",[{}]]}}]'.format(
            ",".join(f'{{"$":["decimal","1E+{i}"]}}' for i in range(5_000, 9_000))
        ),
        id="decimals",
    ),
    pytest.param('[{"$":["decimal","1E+6000000"]}]', id="decimal"),
    pytest.param('[{"$":["decimal","%s"]}]' % ("7" * 1_000_000), id="decimal-digits"),
    pytest.param('[{"$":["range",[0,10000000,1]]}]', id="range"),
    pytest.param('[{"$":["range",[0,%s,1]]}]' % ("9" * 4_000), id="long-range"),
    pytest.param('[{"$":["range",[0,1,0]]}]', id="no-step"),
    pytest.param("[" + BIG + "]", id="int"),
    pytest.param("[" + ",".join(["1"] * 450_000) + "]", id="arguments"),
    pytest.param('[{"$":["uuid","%s"]}]' % ("a" * 8_000_000), id="uuid"),
    pytest.param('[{"$":["datetime","%s"]}]' % ("1" * 8_000_000), id="datetime"),
    pytest.param('[{"$":["timedelta",[%s,0,0]]}]' % ("9" * 4_000), id="timedelta"),
    pytest.param('[{"$":["complex","1"]}]', id="complex-text"),
    pytest.param('[{"$":["%s",1]}]' % ("k" * 8_000_000), id="form"),
]


def hear(*messages, program=None):
    """Have a conversation hear messages; return the processor time that it took."""
    made = program or Program(code="pass", tools=("look",), limits=Limits())
    conversation, began = HostProtocol(made), time.process_time()
    try:
        calls = receive(conversation, frames(*messages))
    finally:
        conversation.seconds = time.process_time() - began
    return conversation, calls


@pytest.mark.parametrize("args", SPREAD_OUT)
def test_the_host_refuses_what_is_dear(args):
    """What an honest worker refuses by itself, the host refuses, in linear time."""
    began = time.process_time()
    with pytest.raises(ProtocolViolation) as caught:
        hear(f'["c",1,"look",{args},{{}},1]')
    assert time.process_time() - began < MAX_SECONDS
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(
            '["c",1,"look",[],{{{}}},1]'.format(",".join(f'"k{i}":1' for i in range(200_000))),
            id="many",
        ),
        pytest.param('["c",1,"look",[],{"%s":1},1]' % ("n" * 8_000_000), id="long-name"),
        pytest.param('["c",1,"%s",[],{},1]' % ("n" * 8_000_000), id="long-tool"),
        pytest.param('["c",1,"look",[],{},-1]', id="line-below"),
        pytest.param('["c",1,"look",[],{},%s]' % ("9" * 4_000), id="line-of-many-digits"),
        pytest.param(f'["c",1,"look",[],{{}},{BIG}]', id="line-in-hexadecimal"),
        pytest.param(f'["c",{BIG},"look",[],{{}},1]', id="number-in-hexadecimal"),
        pytest.param('["c",1,"look",[],{},true]', id="line-no-number"),
        pytest.param('["c",1,"look",{"$":["tuple",[]]},{},1]', id="tuple-of-arguments"),
    ],
)
def test_calls_are_bounded_in_every_part(message):
    """Names, numbers of arguments and lines of a call are bounded, and what is said of them, too."""
    with pytest.raises(ProtocolViolation) as caught:
        hear(message)
    assert len(str(caught.value)) < 300


HONEST = [
    {*range(50_000)},
    {f"id-{i}" for i in range(20_000)},
    {2**i for i in range(1_000)},
    {(x, y, z) for x in range(-8, 8) for y in range(-8, 8) for z in range(-8, 8)},
    {i / 7 for i in range(20_000)},
    {Decimal(i) / 8 for i in range(5_000)},
    {complex(x, y) for x in range(-50, 50) for y in range(-50, 50)},
    {frozenset({i, i + 1}) for i in range(5_000)},
    {i: str(i) for i in range(20_000)},
    {(-1, -2): "a", (-2, -1): "b", (-1, -1): "c", (-2, -2): "d"},
    {datetime.date(2024, 1, 1) + datetime.timedelta(days=i): i for i in range(2_000)},
    {UUID(int=i) for i in range(5_000)},
    {0, None, False.__class__, "x"} - {bool},
    range(499_999),
    [range(10), {"a": (1, {2: {3}})}],
    10**4299,
    Decimal("1E-4300"),
    {float("inf"), float("-inf"), 314159, -314159},
]


@pytest.mark.parametrize("value", HONEST, ids=lambda value: str(type(value).__name__))
def test_honest_values_cross(value):
    """Sets, dicts, numbers and ranges of honest programs are within the bounds, whatever their size."""
    arguments = encode_arguments([value], {})
    check_encoded(arguments)
    _, calls = hear(encode_call(1, "look", arguments, 1))
    assert calls == [Call(1, "look", (value,), {}, 1)]
    assert type(calls[0].args[0]) is type(value)


NESTS = {
    "list": b"\x91",
    "dict": b"\x81\xa1a",
    "tuple": b"\x92\xc7\x00\x0b",
    "pairs": b"\x93\xc7\x00\x0e\x01",
}
LOOK = b"\x96\xa1c\x01\xa4look\x90\x81\xa3key%s\x01"


@pytest.mark.parametrize("opening", NESTS.values(), ids=NESTS)
def test_values_may_be_nested_as_deeply_as_ever(opening):
    """200 levels of every container are accepted, and more are refused; by the worker, too."""
    for levels in (190, 200):
        nested = opening * levels + b"\x01"
        value = hear(LOOK % nested)[1][0].kwargs["key"]
        assert encode_arguments([], {"key": value})[7:] == nested
        for _ in range(levels):
            value = next(iter(value.values() if isinstance(value, dict) else value))
        assert value == 1
    for levels in (210, 1_000, 1_000_000):
        nested = opening * levels + b"\x01"
        with pytest.raises(ProtocolViolation, match="nested more than 200 levels"):
            hear(LOOK % nested)
        with pytest.raises(UnsendableValue, match="nested more than 200 levels"):
            check_encoded(nested)


def test_depth_is_refused_before_anything_recurses():
    """On a stack of 256 KB, where decoding a thousand levels would end the process."""
    code = """
import threading
from langchain_ptc.sandbox.wire.decoding import read_bounded
def read():
    try: read_bounded(b"\\x91" * 1_000 + b"\\x01")
    except ValueError as error: print(error)
threading.stack_size(256 * 1024)
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
    assert b"nested more than 200 levels" in ran.stdout


def test_the_worker_is_told_in_terms_of_the_call():
    """Too many arguments, or a set that nobody can build, are errors of the call."""
    with pytest.raises(UnsendableValue, match="malformed set: TypeError"):
        check_encoded(pack('[[{"$":["set",[[1]]]}],{}]'))


@pytest.mark.parametrize(
    "claims",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdc\xff\xff" * 200,
        b"\xde\xff\xff\xa1k" * 200,
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
    ],
)
def test_what_says_that_it_is_huge_takes_no_memory(claims):
    """A length that a few bytes claim is not believed, whatever follows."""
    for rest in (b"", b"\xc0" * 1_000, b"\x90" * 100_000):
        tracemalloc.start()
        with pytest.raises(ProtocolViolation):
            hear(claims + rest)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("item", [b"\x90", b"\x80", b"\xc0", b"\x91\x90", b"\x81\xa0\x01"])
def test_values_of_a_byte_are_counted_before_they_are_built(item):
    """A byte may become sixty bytes of memory: more than 500,000 values are refused."""
    count = 500_001 if len(item) == 1 else 250_001
    many = b"\x92\xa1x\xdd" + count.to_bytes(4, "big") + item * count
    with pytest.raises(ProtocolViolation, match="more than 500,000 values"):
        hear(many)


def test_large_data_is_the_same_in_slices():
    """Wherever a slice ends, large data is what was encoded."""
    row = {"id": 1, "n": "x" * 40, "é" * 20: [1.5, None, {"a": (1, {2: 3})}], "b": b"\0" * 50}
    for value in (
        [row] * 3_000,
        {"rows": [row] * 2_000, "more": {"rows": [[row]] * 2_000}},
        {f"k{number}": row for number in range(2_000)},
        [[[[[row] * 2_000]]], "x" * 100_000, {"a": {"b": {"c": "y" * 200_000, "d": [row] * 999}}}],
        (row, ((row,) * 2_000,)),
        "x" * 1_000_000,
        [b"x" * 100_000] * 5,
    ):
        assert read_bounded(encode_value(value)).value == value


async def test_too_many_arguments_are_an_error_of_the_call(executor):
    """The code is told, and not the machine."""
    for given in ("*range(1_001)", "**{f'k{i}': i for i in range(1_001)}"):
        result = await executor.aexecute(f"await look({given})")
        assert result.status == "error"
        assert f"a call takes at most {MAX_ARGUMENTS:,}" in result.error.message
    result = await executor.aexecute("await look(**{'n' * 1_001: 1})")
    assert "name of an argument has more than 1,000 characters" in result.error.message


async def test_more_values_than_a_frame_may_hold_are_told_at_the_call(executor):
    """Values between what a call and what a frame may hold are no failure of the sandbox."""
    result = await executor.aexecute("await total([1] * 600_000)")
    assert result.status == "error"
    assert "more than 499,900 values" in result.error.message
    code = "import asyncio\nprint(await asyncio.gather(total([1] * 300_000), total([1] * 300_000)))"
    assert (await executor.aexecute(code)).output == "[300000, 300000]\n"
    result = await executor.aexecute("print(',' * 3_000_000)")
    assert len(result.output) == 3_000_001
    result = await executor.aexecute("return [1] * 600_000")
    assert result.status == "success"
    assert any("more than 499,900 values" in note for note in result.notes)


# --- ends -----------------------------------------------------------------------------------------


LIMIT = "limit='\"cpu_seconds\"', allowed='10', used='null'"
FORGED_ENDS = {
    "violation-line": "end('refused', failure=failure(violations='[[%s,\"x\"]]' % BIG))",
    "violation-below": "end('refused', failure=failure(violations='[[-1,\"x\"]]'))",
    "no-violation": "end('refused', failure=failure())",
    "violation-of-an-error": "end('error', failure=failure(violations='[[1,\"x\"]]'))",
    "line": "end('error', failure=failure(line=BIG))",
    "line-true": "end('error', failure=failure(line='true'))",
    "line-beyond": "end('error', failure=failure(line='1000000000'))",
    "line-of-4000-digits": "end('error', failure=failure(line='9' * 4000))",
    "allowed": "end('limit', failure=failure(limit='\"wall_seconds\"', allowed=BIG))",
    "allowed-otherwise": "end('limit', failure=failure(limit='\"wall_seconds\"', allowed='31'))",
    "used": f"end('limit', failure=failure({LIMIT.replace('null', '1e400')}))",
    "used-below": f"end('limit', failure=failure({LIMIT.replace('null', '-1')}))",
    "used-nan": f"end('limit', failure=failure({LIMIT.replace('null', 'NaN')}))",
    "limit-surrogate": "end('limit', failure=failure(limit='\"\\\\ud800\"', allowed='1'))",
    "limit-of-8-MB": "end('limit', failure=failure(limit='\"' + 'x' * 8_000_000 + '\"', allowed='1'))",
    "no-limit": "end('limit', failure=failure())",
    "limit-of-an-error": f"end('error', failure=failure({LIMIT}))",
    "value-of-an-error": "end('error', value='1', failure=failure())",
    "sandbox": "end('sandbox', failure=failure())",
    "denied": "end('denied', failure=failure())",
    "success-with-failure": "end('success', failure=failure())",
    "value": "end(value=BIG)",
    "value-set": "end(value='{\"$\":[\"set\",[' + ','.join(str(i * (2**61 - 1)) for i in range(20_000)) + ']]}')",
}


@pytest.mark.parametrize("forged", FORGED_ENDS.values(), ids=FORGED_ENDS)
async def test_forged_endings(hostile, forged):
    """An end that the host itself could not have given is a failure of the sandbox, told in full."""
    result, seconds = await run(hostile, f"{SPEAKS}\nBIG = {BIG!r}\n{forged}")
    assert result.status == "sandbox"
    assert "broke the protocol" in result.error.message
    assert_tellable(result)
    assert seconds < MAX_SECONDS


def assert_tellable(result):
    """A result can be written, and nothing in its error harms a terminal, a log or a dashboard."""
    told = json.dumps(result.to_dict(), ensure_ascii=False).encode()
    assert len(told) < 1_000_000
    report = result.report()
    assert len(report) < 50_000
    if result.error is not None:
        for text in (result.error.message, result.error.kind, result.error.hint):
            assert not set(text) & set("\x00\x1b\x7f\x9b\u202e\ud800\r")


async def test_the_texts_of_an_end_are_printable(hostile):
    """Control characters, marks of direction and surrogates in an error come as escapes."""
    bad = r'"\u001b[2J\u0000\r\u202e\ud800 ok\n\tgo"'
    code = f"{SPEAKS}\nBAD = r'''{bad}'''\n"
    result, _ = await run(
        hostile,
        code + "end('error', failure=failure(kind=BAD, message=BAD, hint=BAD, traceback=BAD), "
        "notes='[' + BAD + ']')",
    )
    assert result.status == "error"
    assert result.error.message == "\\x1b[2J\\x00\\x0d\\u202e\\ud800 ok\n\tgo"
    assert result.notes == (result.error.message,)
    assert_tellable(result)


@pytest.mark.parametrize(
    "shown",
    [[SVG], [b"\x89PNG\r\n\x1a\n"], [png(1_000_000)], [png()] * 9],
    ids=["a-script", "a-part", "a-bomb", "a-flood"],
)
async def test_what_a_worker_shows_is_read_by_the_host(hostile, shown):
    """What a worker that was taken over shows against the rules reaches neither a model nor a page."""
    send = f"for data in {shown!r}: write(frames(ormsgpack.packb(['s', data])))"
    result, seconds = await run(hostile, f"{SPEAKS}\n{send}\nwhile True: pass")
    assert result.status == "sandbox"
    assert len(result.shown) in (0, 8)
    assert "the worker broke the protocol" in result.error.message
    assert seconds < MAX_SECONDS


async def test_an_end_by_a_limit_that_a_call_has_hit_is_believed(executor):
    """A call that hit a limit, uncaught, ends the execution by it, with the host's own figures."""

    def big():
        return "x" * 2_000

    limited = ProgrammaticToolExecutor(
        [StructuredTool.from_function(big, description="Big.")], limits=Limits(result_bytes=1_000)
    )
    result = await limited.aexecute("await big()")
    assert (result.status, result.error.limit, result.error.allowed) == (
        "limit",
        "result_bytes",
        1_000,
    )
    forged = "raise ToolCallError('no', tool='t', limit='result_bytes', allowed=7)"
    result = await limited.aexecute(forged)
    assert (result.status, result.error.kind, result.error.limit) == (
        "error",
        "ToolCallError",
        None,
    )


# --- memory ---------------------------------------------------------------------------------------


DRIBBLE = """
import resource, struct
from langchain_ptc.sandbox.wire.protocol import FrameReader
reader = FrameReader(10_000_000)
reader.feed(struct.pack('<I', 4_000_000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(1_999_999):
    reader.feed(b'ab')
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is the system's")
def test_a_frame_that_comes_in_crumbs_takes_its_own_length():
    """Two bytes at a time take no more memory than all at once."""
    told = subprocess.run(
        [sys.executable, "-c", DRIBBLE],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    assert int(told.stdout) < 30_000


def test_an_end_as_an_honest_worker_tells_it():
    """What the worker's own code writes is read back whole."""
    conversation, _ = hear(encode_done("success", encode_value((1,)), None, ["n"]))
    assert conversation.done.value == (1,)
    assert conversation.done.notes == ("n",)


async def test_many_wrong_names_are_told_in_short(executor):
    """A call with a thousand names that the tool does not know, each long, costs next to nothing."""
    code = "await count(**{('n' * 900) + str(i): 1 for i in range(1_000)})"
    result, seconds = await run(executor, code)
    assert result.status == "error"
    assert "and more" in result.error.message
    assert len(result.error.message) < 2_000
    assert seconds < MAX_SECONDS


@pytest.mark.parametrize("text", ["\ud800" * 50_001, "a\udfffé😀" * 9_001, "é" * 70_000])
def test_lone_surrogates_are_read_as_they_were_sent(text):
    """Text with lone surrogates is read in slices, whatever a slice cuts in two."""
    _, calls = hear(encode_call(1, "look", encode_arguments([text], {}), 1))
    assert calls[0].args == (text,)


def test_surrogates_that_are_cut_short_are_no_text():
    """Half of a surrogate at the end of a frame is a violation, and no endless wait for the rest."""
    with pytest.raises(ProtocolViolation, match="UnicodeDecodeError"):
        hear(ormsgpack.packb(["o", ormsgpack.Ext(2, b"\xed\xa0")]))


async def test_large_arguments_leave_the_loop_free(executor):
    """Everything that is done with large arguments, before and after the tool, is done in threads."""
    for made in ("list(range(200_000))", "[{'a': i, 'b': 'x', 'c': None} for i in range(30_000)]"):
        began, all_began = time.thread_time(), time.process_time()
        result, _ = await run(executor, f"print(await look({made}))")
        assert result.output == "v\n"
        on_the_loop, everywhere = time.thread_time() - began, time.process_time() - all_began
        assert on_the_loop < everywhere / 2
        assert len(next(iter(result.tool_calls[0].arguments.values()))) >= 30_000


LISTS_OF_NUMBERS = {
    "ints": "[i * (2**61 - 1) for i in range(20_000)]",
    "rows": "[{'id': i * (2**61 - 1)} for i in range(20_000)]",
}


def rows_of_one_hash(count):
    """Return pairs of integers whose tuples have one hash: that of a tuple can be computed backwards."""
    first, second, third = 11400714785074694791, 14029467366897019727, 2870177450012600261
    size = 2**64

    def turn(lane, by):
        return (lane << by | lane >> (64 - by)) % size

    rows, wanted = [], (1 - (2 ^ third ^ 3527539)) % size
    for left in range(1, 20 * count):
        lane = turn(wanted * pow(first, -1, size) % size, 33)
        begun = turn((third + left * second) % size, 31) * first % size
        right = (lane - begun) * pow(second, -1, size) % size
        if right < MODULUS:
            rows.append([left, right])
    return rows[:count]


MODULUS = 2**61 - 1
MULTIPLES = [number * MODULUS for number in range(10**20, 10**20 + 2_000)]
OTHER_SPELLINGS = {
    "UUIDs": [{"$": ["uuid", str(UUID(int=i * MODULUS))]} for i in range(2_000)],
    "decimals": [{"$": ["decimal", str(number)]} for number in MULTIPLES],
    "complex": [{"$": ["complex", [1e13 - 1_000_003 * i, float(i)]]} for i in range(2_000)],
    "rows": rows_of_one_hash(2_000),
    "tuples": [{"$": ["tuple", row]} for row in rows_of_one_hash(2_000)],
}


@pytest.mark.parametrize("items", OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS)
def test_values_of_one_hash_of_every_kind(items):
    """UUIDs, decimals, pairs of integers: a tool may make a set of those too."""
    assert isinstance(items[0], str | dict) or len({hash(tuple(row)) for row in items}) == 1
    args = json.dumps([items], ensure_ascii=False, separators=(",", ":"))
    for message in (f'["c",1,"look",{args},{{}},1]', f'["c",1,"look",[],{{"k":{args}}},1]'):
        with pytest.raises(ProtocolViolation, match="too many items have one hash"):
            hear(message)


@pytest.mark.parametrize("made", LISTS_OF_NUMBERS.values(), ids=LISTS_OF_NUMBERS)
async def test_lists_that_a_tool_makes_into_a_set(executor, hostile, made):
    """Numbers of one hash in a list are refused, too: a tool may make a set of them as they are."""
    result, seconds = await run(executor, f"await look({made})")
    assert result.status == "error"
    assert "too many items have one hash" in result.error.message
    assert seconds < MAX_SECONDS
    args = f"'[' + json.dumps({made}) + ']'"
    result, seconds = await run(
        hostile, f"{SPEAKS}\ncall(1, {args}, tool='unique')\nwhile True: pass"
    )
    assert result.status == "sandbox"
    assert seconds < MAX_SECONDS


@pytest.mark.parametrize(
    "made",
    [
        "[2**64 - 1] * 20_000",
        "[(i * 6364136223846793005 + 1442695040888963407) % 2**64 for i in range(20_000)]",
        "[str((i * 6364136223846793005) % 2**64).zfill(20) for i in range(20_000)]",
        "['12.50000000000000000', '12.5000000000000000000'] * 5_000",
        "[f'{(i * 6364136223846793005) % 2**64:032x}' for i in range(10_000)]",
        "[i / 7e30 for i in range(10_000)]",
        "[[i % 50, i % 3] for i in range(10_000)]",
        "[(i, i * 2.5) for i in range(10_000)]",
        "[1_700_000_000_000_000_000 + i for i in range(10_000)]",
        "[str(1_700_000_000_000_000_000 + i) for i in range(10_000)]",
        "['NaN' + '1' * 20, ' ' * 20, '-' * 32, '{' + '-' * 36 + '}'] * 1_000",
    ],
)
async def test_long_numbers_of_honest_code_cross(executor, made):
    """Ids of 64 bits, prices and UUIDs, some of them many times, are within the bounds."""
    result = await executor.aexecute(f"print(await look({made}))")
    assert result.output == "v\n"

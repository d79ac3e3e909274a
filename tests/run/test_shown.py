"""What code shows: out of walled workers, in the record, in messages, after a pause, and where it ends early."""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from PIL import Image

from langchain_ptc import (
    ExecutionLog,
    ExecutionResult,
    InProcessSandbox,
    Limits,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import CONFIG, REQUEST, World, agent, artifact, middleware, node
from tests.support.pictures import JPEG, PDF, SVG, png

WHITE = png()
BASE64 = base64.b64encode(WHITE).decode()
LINE = f"[shown 1: image/png, 2 x 3 pixels, {len(WHITE)} bytes]\n"
needs_workers = pytest.mark.skipif(sys.platform == "win32", reason="workers are forked")


@pytest.fixture(scope="module", params=["worker", "in-process"])
def executor(request: Any) -> ProgrammaticToolExecutor:
    """An executor without libraries, of either kind, with limits that are soon reached."""
    in_process = InProcessSandbox() if request.param == "in-process" else None
    if in_process is None and sys.platform == "win32":
        pytest.skip("workers are forked")
    return ProgrammaticToolExecutor(
        [], sandbox=in_process, limits=Limits(max_shown=3, shown_bytes=1_000)
    )


def kinds(result: ExecutionResult) -> list[str]:
    """Return what was shown, by kind."""
    return [shown.media_type for shown in result.shown]


# --- which values are shown -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        f"{WHITE!r}",
        f"bytearray({WHITE!r})",
        f"memoryview({WHITE!r})",
        f"io.BytesIO({WHITE!r})",
        f"{{'type': 'image', 'base64': '{BASE64}', 'mime_type': 'image/png'}}",
        f"{{'type': 'image', 'data': {WHITE!r}, 'mime_type': 'text/html'}}",
        f"{{'type': 'image', 'source_type': 'base64', 'data': '{BASE64}'}}",
        f"{{'type': 'image', 'source': {{'type': 'base64', 'data': '{BASE64}'}}}}",
        f"{{'type': 'image_url', 'image_url': {{'url': 'data:image/png;base64,{BASE64}'}}}}",
        f"[{{'type': 'image', 'base64': '{BASE64}'}}]",
    ],
)
def test_what_is_shown(executor: ProgrammaticToolExecutor, value: str) -> None:
    """Bytes, files in memory and content blocks are shown, by `show` or as the last expression."""
    by_call = executor.execute(f"import io\nshow({value})")
    by_value = executor.execute(f"import io\n{value}")
    for result in (by_call, by_value):
        assert (result.output, result.value, kinds(result)) == (LINE, None, ["image/png"])
        assert result.shown[0].data == WHITE


def test_what_draws_itself(executor: ProgrammaticToolExecutor) -> None:
    """Objects that notebooks draw are shown; the first form that fits is taken."""
    code = f"""
class Picture:
    def savefig(self, file, format, bbox_inches):
        assert format == "png"
        file.write({WHITE!r})

class Axes:
    figure = Picture()

show(Picture(), Axes())
Picture
"""
    result = executor.execute(code)
    assert kinds(result) == ["image/png"] * 2, result.report()
    assert "Picture" in str(result.value)


def test_the_repr_of_a_result_has_no_bytes(executor: ProgrammaticToolExecutor) -> None:
    """What a terminal shows of a result names its pictures, and not their content."""
    result = executor.execute(f"show({WHITE!r})")
    assert "size=" in repr(result)
    assert "PNG" not in repr(result.shown)


def test_forms_of_notebooks(executor: ProgrammaticToolExecutor) -> None:
    """With metadata it is a picture all the same; what cannot be drawn is named, and stays the value."""
    code = f"""
class Drawn:
    def _repr_png_(self):
        return {WHITE!r}, {{"width": 2}}

class Blank:
    def _repr_png_(self):
        return None

show(Drawn())
Blank()
"""
    result = executor.execute(code)
    assert result.output == f"{LINE}[not shown: it cannot be drawn as PNG or JPEG]\n"
    assert "Blank" in str(result.value)


@pytest.mark.parametrize("body", ["return self.data[name]", "raise ValueError(name)"])
def test_objects_with_any_attribute(executor: ProgrammaticToolExecutor, body: str) -> None:
    """A value whose `__getattr__` fails for names that it does not have stays the value."""
    code = f"class Bag:\n    data = {{}}\n    def __getattr__(self, name):\n        {body}\nBag()"
    result = executor.execute(code)
    assert (result.status, result.output) == ("success", ""), result.report()
    assert "Bag" in str(result.value)


@pytest.mark.parametrize("value", ["b'abc'", "[b'abc']", "'text'", "[]", "{'type': 'image'}", "7"])
def test_what_stays_a_value(executor: ProgrammaticToolExecutor, value: str) -> None:
    """Other values are what the code returned, as before."""
    result = executor.execute(value)
    assert (result.output, repr(result.value), result.shown) == ("", value, ())


def test_links_are_text(executor: ProgrammaticToolExecutor) -> None:
    """Nothing is fetched for the code: a block with a link is printed."""
    result = executor.execute("show({'type': 'image', 'url': 'https://example.org/?secret'})")
    assert result.shown == ()
    assert "https://example.org" in result.output


def test_text_and_pictures_of_a_tool(executor: ProgrammaticToolExecutor) -> None:
    """The content of a tool's message is shown in its order, its texts as printed text."""
    code = f"[{{'type': 'text', 'text': 'a'}}, {{'type': 'image', 'base64': '{BASE64}'}}, {{'type': 'text', 'text': 'b'}}]"
    result = executor.execute(code)
    assert result.output == f"a\n{LINE}b\n"
    assert [block["type"] for block in result.content_blocks()] == ["text", "image", "text"]


# --- what is not shown ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("b'abc'", "3 bytes, no whole PNG, JPEG, GIF, WebP, PDF, WAV or MP3"),
        ("bytearray(b'abc')", "3 bytes, no whole PNG"),
        (f"{WHITE[:-1]!r}", f"{len(WHITE) - 1} bytes, no whole PNG"),
        (f"{{'type': 'image', 'mime_type': 'image/svg+xml', 'data': {SVG!r}}}", "no whole PNG"),
        (f"{png(8_001)!r}", "image/png, 8,001 x 3 pixels, "),
        (f"{png(filler=1_000)!r}", "1,000 of 1,000 bytes are left (Limits.shown_bytes)"),
    ],
)
def test_why_not(executor: ProgrammaticToolExecutor, value: str, why: str) -> None:
    """A line of the output says what was left out, and why; the code goes on."""
    result = executor.execute(f"show({value})\nprint('on')")
    first, last = result.output.splitlines()
    assert first.startswith("[not shown: ")
    assert why in first
    assert (last, result.shown) == ("on", ())


def test_what_a_provider_takes() -> None:
    """By default no picture is larger than Anthropic takes: 5 MiB of base64."""
    assert len(base64.b64encode(bytes(Limits().shown_bytes))) <= 5 * 2**20


def test_too_many(executor: ProgrammaticToolExecutor) -> None:
    """Beyond the number a line says so for each."""
    result = executor.execute(f"for n in range(4): show({WHITE!r})")
    assert len(result.shown) == 3
    assert result.output.splitlines()[3].endswith(
        "[not shown: 3 are shown already, the most (Limits.max_shown)]"
    )


def test_what_is_too_large_stays_the_value(executor: ProgrammaticToolExecutor) -> None:
    """Who runs code without a model gets it all the same."""
    large = png(filler=2_000)
    assert executor.execute(f"{large!r}").value == large


def test_a_tool_of_the_same_name() -> None:
    """A tool that is called `show` is the one that the code gets."""

    @tool
    def show(x: str) -> str:
        """Show."""
        return f"the tool: {x}"

    result = ProgrammaticToolExecutor([show], sandbox=InProcessSandbox()).execute(
        "print(show('a'))"
    )
    assert result.output == "the tool: a\n"


# --- the record -------------------------------------------------------------------------------------


def test_blocks_are_in_the_order_of_the_output(executor: ProgrammaticToolExecutor) -> None:
    """Each picture comes after its line, between the texts before and after it; the error comes last."""
    code = f"print('a')\nshow({WHITE!r})\nprint('b')\nshow({JPEG!r}, {PDF!r})\n1 / 0"
    blocks = executor.execute(code).content_blocks()
    assert [block.get("mime_type", "text") for block in blocks] == [
        *("text", "image/png", "text", "image/jpeg", "text", "application/pdf", "text")
    ]
    assert [block["type"] for block in blocks][-2:] == ["file", "text"]
    assert blocks[0]["text"] == f"a\n{LINE}".strip()
    assert blocks[2]["text"].startswith("b\n[shown 2: image/jpeg, 2 x 3 pixels, ")
    assert "ZeroDivisionError" in blocks[-1]["text"]
    assert HumanMessage(content_blocks=blocks).content_blocks == blocks


def test_blocks_of_output_that_is_cut() -> None:
    """What is in the middle comes after the cut; nothing of the report is lost or doubled."""
    executor = ProgrammaticToolExecutor(
        [], sandbox=InProcessSandbox(), limits=Limits(output_chars=300)
    )
    show = f"show({WHITE!r})\n"
    code = f"print('a' * 100)\n{show}print('b' * 900)\n{show}print('c' * 900)\n{show}print('d')"
    result = executor.execute(code)
    blocks = result.content_blocks()
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert [block["type"] for block in blocks] == ["text", "image"] * 3 + ["text"]
    assert "".join(texts).replace("\n", "") == result.report().replace("\n", "")
    assert texts[0].endswith("bytes]")
    assert "characters cut" in texts[1]
    assert texts[-1] == "d"


def test_the_record_as_data(executor: ProgrammaticToolExecutor) -> None:
    """It is JSON, and gives the same back."""
    result = executor.execute(f"show({WHITE!r})")
    assert ExecutionResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_log_has_no_pictures(executor: ProgrammaticToolExecutor) -> None:
    """It says what was shown, without the content."""
    with ExecutionLog() as log:
        ProgrammaticToolExecutor([], sandbox=executor.sandbox, log=log).execute(f"show({WHITE!r})")
        [stored] = log.find()
    assert [(shown.media_type, shown.data) for shown in stored.shown] == [("image/png", None)]
    assert stored.content_blocks() == [{"type": "text", "text": LINE.strip()}]


@needs_workers
def test_what_was_shown_before_a_limit() -> None:
    """Code that is stopped keeps what it has shown, as it keeps what it has printed."""
    limits = Limits(wall_seconds=1.0)
    result = ProgrammaticToolExecutor([], limits=limits).execute(
        f"show({WHITE!r})\nwhile True: pass"
    )
    assert (result.status, kinds(result)) == ("limit", ["image/png"])


# --- libraries in walled workers --------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawing() -> ProgrammaticToolExecutor:
    """An executor whose code may draw."""
    return ProgrammaticToolExecutor([], imports=["matplotlib", "PIL", "pandas"])


FIGURE = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 20], [3, 4])\n"


@needs_workers
@pytest.mark.parametrize(
    ("code", "pictures"),
    [
        (f"{FIGURE}fig", 1),
        (f"{FIGURE}ax", 1),
        (f"{FIGURE}show(fig, plt)", 2),
        (f"{FIGURE}plt.figure()\nplt.show()\nplt.show()", 2),
        (
            f"{FIGURE}ax.set_title('Größe $\\\\frac{{x_1}}{{2}}$', family='serif')\nax.set_xscale('log')\nfig",
            1,
        ),
        (
            f"{FIGURE}ax.legend(['a', 'b'])\nfig.text(0, 0, 'x', style='italic', weight='bold')\nfig",
            1,
        ),
        (f"{FIGURE}import io\nfile = io.BytesIO()\nfig.savefig(file)\nfile", 1),
        (f"{FIGURE}import io\nfile = io.BytesIO()\nfig.savefig(file, format='jpeg')\nfile", 1),
        ("import pandas as pd\npd.DataFrame({'a': [1, 2]}).plot(kind='bar')", 1),
        ("from PIL import Image\nImage.new('RGB', (20, 10), 'red')", 1),
        ("from PIL import Image\nImage.new('RGB', (20, 10), 'red').show()", 1),
        (  # a picture that was read knows its file, and is saved in another way
            "import io\nfrom PIL import Image\nfile = io.BytesIO()\nImage.new('RGB', (20, 10)).save(file, 'PNG')\nImage.open(file)",
            1,
        ),
        (
            "from PIL import Image, ImageDraw\ni = Image.new('L', (90, 20))\nImageDraw.Draw(i).text((0, 0), 'hi')\ni",
            1,
        ),
    ],
)
def test_libraries_draw(drawing: ProgrammaticToolExecutor, code: str, pictures: int) -> None:
    """matplotlib, pandas and PIL draw in a worker without files, in every font of theirs, silently."""
    result = drawing.execute(code)
    assert result.status == "success", result.report()
    lines = result.output.splitlines()
    assert len(lines) == len(result.shown) == pictures, result.output
    for shown in result.shown:
        assert Image.open(io.BytesIO(shown.data or b"")).width > 10


@needs_workers
def test_a_large_picture_as_jpeg(drawing: ProgrammaticToolExecutor) -> None:
    """A photo that is too large as a PNG is shown as a JPEG."""
    code = "from PIL import Image\nImage.effect_noise((2400, 2400), 90)"
    result = drawing.execute(code)
    assert kinds(result) == ["image/jpeg"], result.report()


@needs_workers
def test_a_figure_that_cannot_be_drawn(drawing: ProgrammaticToolExecutor) -> None:
    """It is an error of the code."""
    result = drawing.execute(f"{FIGURE}ax.set_title('$\\\\nothing$')\nfig")
    assert (result.status, result.shown) == ("error", ())
    assert "nothing" in result.report()


@needs_workers
@pytest.mark.skipif(sys.platform != "linux", reason="the folder is the kernel's")
def test_a_picture_in_a_file() -> None:
    """A path is shown as what is in the file."""
    executor = ProgrammaticToolExecutor([], files=True)
    code = f"from pathlib import Path\nPath('a.png').write_bytes({WHITE!r})\nshow(Path('a.png'))"
    result = executor.execute(code)
    assert (result.output, [file.name for file in result.files]) == (LINE, ["a.png"])


# --- in a graph -------------------------------------------------------------------------------------

SHOW = f"print('a')\nshow({WHITE!r})\nprint('b')"


WAYS_IN = {
    "as_programmatic": agent,
    "node": node("tool"),
    "text": node("text"),
    "middleware": middleware,
}


def answer_of(state: Any) -> ToolMessage:
    """Return the last message of a tool."""
    return next(m for m in reversed(state["messages"]) if isinstance(m, ToolMessage))


@pytest.mark.parametrize("build", WAYS_IN.values(), ids=WAYS_IN)
@pytest.mark.parametrize("sync", [True, False])
async def test_each_way_in(build: Any, *, sync: bool) -> None:
    """With `multimodal` the message has the blocks and the artifact no second copy; else text and artifact."""
    tools = World().tools()
    for multimodal in (True, False):
        saver = InMemorySaver()
        graph = build(tools, SHOW, saver, sandbox=InProcessSandbox(), multimodal=multimodal)
        state = graph.invoke(REQUEST, CONFIG) if sync else await graph.ainvoke(REQUEST, CONFIG)
        message, [shown] = answer_of(state), artifact(state).shown
        if multimodal:
            assert [block["type"] for block in message.content_blocks] == ["text", "image", "text"]
            assert message.content[1] == {
                "type": "image",
                "base64": BASE64,
                "mime_type": "image/png",
            }
            assert BASE64 not in json.dumps(message.artifact)
        else:
            assert message.content == f"a\n{LINE}b"
            assert shown.data == WHITE


def test_the_model_reads_of_it_where_it_can_look() -> None:
    """The description tells of `show` only with `multimodal`."""
    (on,), (off,) = as_programmatic([], multimodal=True), as_programmatic([])
    assert "`show(x)` lets you see a picture" in on.description
    assert "show" not in off.description
    middleware = ProgrammaticToolCallingMiddleware(multimodal=True)
    assert "`show(x)` lets you see a picture" in middleware.tools[0].description


@pytest.mark.parametrize("protocol", ["text", "tool"])
async def test_the_model_corrects_a_program_that_has_shown_something(protocol: str) -> None:
    """The feedback has the picture: in a message of the user for a model that answers in text."""
    seen: list[Any] = []

    def reply(messages: list[Any]) -> Any:
        seen.append(messages[-1])
        code = f"{SHOW}\n1 / 0" if len(seen) == 1 else "print('done')"
        return (
            f"```python\n{code}\n```"
            if protocol == "text"
            else tool_call_message("run_code", {"code": code})
        )

    graph = node(protocol)(
        [], "", model=ScriptedChatModel(script=reply), sandbox=InProcessSandbox(), multimodal=True
    )
    state = await graph.ainvoke(REQUEST)
    assert answer_of(state).content == "done"
    [*_, feedback] = seen
    assert feedback.type == ("human" if protocol == "text" else "tool")
    blocks = feedback.content
    assert [block["type"] for block in blocks] == ["text", "text", "image", "text", "text"]
    assert blocks[0]["text"].startswith("The program failed:")
    assert "Write a corrected" in blocks[-1]["text"]


async def test_earlier_pictures_for_a_model_that_answers_in_text() -> None:
    """In the conversation of a next turn they are in messages of the user, too."""
    seen: list[Any] = []

    def reply(messages: list[Any]) -> Any:
        seen.append(messages)
        return f"```python\n{SHOW}\n```"

    options: Any = {"sandbox": InProcessSandbox(), "multimodal": True}
    graph = node("text")([], "", InMemorySaver(), model=ScriptedChatModel(script=reply), **options)
    for _ in range(2):
        await graph.ainvoke(REQUEST, CONFIG)
    [output] = [m for m in seen[-1] if isinstance(m.content, list)]
    assert (output.type, [block["type"] for block in output.content]) == (
        "human",
        ["text", "text", "image", "text"],
    )


async def test_a_pause_in_the_middle() -> None:
    """What was shown before a pause is shown once, in its place."""
    code = f"show({WHITE!r})\nanswer = await ask('go on?')\nprint(answer)\nshow({JPEG!r})"
    saver = InMemorySaver()
    graph = agent(World().tools(), code, saver, multimodal=True)
    state = await graph.ainvoke(REQUEST, CONFIG)
    assert "__interrupt__" in state
    state = await graph.ainvoke(Command(resume="yes"), CONFIG)
    kinds_of = [block.get("mime_type", "text") for block in answer_of(state).content]
    assert kinds_of == ["text", "image/png", "text", "image/jpeg"]
    assert answer_of(state).content[2]["text"].startswith("yes\n[shown 2: image/jpeg")
    assert len(artifact(state).shown) == 2


def test_pictures_that_tools_return() -> None:
    """Content blocks are plain data for the code, which shows what the model should see."""

    @tool
    def chart(name: str) -> list[dict[str, Any]]:
        """Draw a chart."""
        image = {"type": "image", "base64": BASE64, "mime_type": "image/png"}
        return [{"type": "text", "text": name}, image]

    executor = ProgrammaticToolExecutor([chart], sandbox=InProcessSandbox())
    result = executor.execute("parts = chart('a')\nprint(len(parts))\nshow(parts[1])")
    assert (result.output, kinds(result)) == (f"2\n{LINE}", ["image/png"])
    result = executor.execute("chart('a')")
    assert (result.output, kinds(result)) == (f"a\n{LINE}", ["image/png"])


async def test_direct_return() -> None:
    """A picture is an answer: no further inference is made."""
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": SHOW})])
    tools = as_programmatic([], sandbox=InProcessSandbox(), multimodal=True, return_direct=True)
    state = await create_agent(model, tools).ainvoke(REQUEST)
    assert state["messages"][-1].content_blocks[1]["type"] == "image"

"""Find the programs in a model's reply: tool calls, fenced blocks, or calls that are written as text.

Small models cannot call tools, but write fenced blocks; some write the call itself as text, in the markup
that they were trained on. A call that cannot be parsed is reported to the model: it is never guessed, and
never left without an answer.

Fences follow CommonMark 0.31 (https://spec.commonmark.org/0.31.2/#fenced-code-blocks): CRLF, indentation,
lists and quotations, fences of more than three characters, a block that the end of the text closes. Two
more rules apply where the content may be Python: a fence inside a triple-quoted string belongs to the
string, and a line of Python never starts with a backtick, so such a line always ends the block.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from langchain_core.messages import AIMessage

from langchain_ptc.prompts import EMPTY_CALL, NO_SUCH_TOOL, NOT_DIRECTLY, NOT_JSON
from langchain_ptc.sandbox.language.scopes import MAX_CHARS, parse_quietly

Protocol = Literal["auto", "tool", "text"]

_PYTHON_TOOLS = re.compile(
    r"(?:run|execute|exec)?(?:code|python|ipython|jupyter)\d?(?:code|repl|tool|interpreter|runner)*"
    r"|toolcode|repl|interpreter|exec|execute|py"
)
"""Names that models use for a tool that runs Python, in lower case and without punctuation."""
_CODE_KEYS = ("code", "program", "source", "script", "python", "input")
_SIDE_KEYS = frozenset({"language", "lang", "timeout", "description", "title", "explanation"})
"""Arguments that models add to a program and that are not part of it."""
_MAX_NESTING = 3
_MAX_NAME_PARTS = 10
_MAX_JSON_STARTS = 50  # places in a text where the JSON of a call is searched for; bounds the work

_CALL_KEYS = frozenset({"tool_calls", "function_call"})
_CALL_BLOCKS = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call"}
)

_BEFORE_ARGUMENTS = (
    r"(?::\d+)?\"?(?:\s*(?:<\|[^|<>\s]{1,40}\|>(?:json)?|\[CALL_ID\]\w{1,40}|\[ARGS\]|[>\]]))*"
    r"\s*(?=\{\s*\")"
)
"""Markup that Kimi, Mistral and gpt-oss write between the name of a tool and its JSON arguments."""
_DOES_SOMETHING = re.compile(r"\b(?:print|await|import)\b|\(")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCall:
    """One call of a model's reply."""

    id: str
    code: str = ""  # the program to run; empty if there is a problem
    problem: str = ""  # why there is nothing to run, for the model; empty if there is a program


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReply:
    """A parsed reply of a model."""

    calls: tuple[CodeCall, ...]  # its calls, each of which needs an answer; empty if it is prose
    message: AIMessage  # the reply as a message whose tool calls are exactly these

    @property
    def problems(self) -> dict[str, str]:
        """What to report instead of running a program, by the id of the call."""
        return {call.id: call.problem for call in self.calls if call.problem}


def extract_code(
    reply: AIMessage, *, tool_name: str, protocol: Protocol, tools: Collection[str] = ()
) -> ParsedReply:
    """Parse a model's reply; `tools` are the names of those that the code may call, with and without their domains."""
    reader = _Reader(tool_name, tools)
    written = [
        *(WrittenCall(call["name"], call["args"], call["id"]) for call in reply.tool_calls),
        *(
            WrittenCall(call["name"] or tool_name, read_arguments(call["args"] or ""), call["id"])
            for call in reply.invalid_tool_calls
        ),
    ]
    if written:
        return _build(reply, [(call, *reader.read(call)) for call in written], tool_name)
    if protocol != "tool":
        found, prose = reader.read_text(reply.text)
        if found:
            reply = reply.model_copy(update={"content": _with_text(reply.content, prose)})
            return _build(reply, found, tool_name)
    return _build(reply, [], tool_name)


def unwrap_program(code: str) -> str:
    """Return the program in the argument of a call, without a fence or JSON around it."""
    for _ in range(_MAX_NESTING):
        inner = _only_program(load_json(code)) if code.lstrip().startswith("{") else None
        if inner is None:
            break
        code = inner
    return unfence(code)


# --- the message ------------------------------------------------------------------------------------


def _build(
    reply: AIMessage, found: Sequence[tuple[WrittenCall, str, str]], tool_name: str
) -> ParsedReply:
    """Give each call a unique id, and put exactly these calls wherever the message contains calls."""
    calls: list[CodeCall] = []
    shown: dict[str, dict[str, Any]] = {}
    for written, code, problem in found:
        call_id = written.id
        if not call_id or call_id in shown:
            call_id = f"call_{uuid4().hex[:24]}"
        calls.append(CodeCall(id=call_id, code=code, problem=problem))
        arguments = written.arguments
        if isinstance(arguments, str):
            arguments = {"arguments": arguments}
        shown[call_id] = {
            "name": written.name if problem else tool_name,
            "args": dict(arguments) if problem else {"code": code},
            "id": call_id,
            "type": "tool_call",
        }
    update: dict[str, Any] = {"tool_calls": list(shown.values()), "invalid_tool_calls": []}
    if isinstance(reply.content, list):
        update["content"] = list(_with_calls(reply.content, shown))
    if _CALL_KEYS & reply.additional_kwargs.keys():
        kept = {k: v for k, v in reply.additional_kwargs.items() if k not in _CALL_KEYS}
        update["additional_kwargs"] = kept
    return ParsedReply(calls=tuple(calls), message=reply.model_copy(update=update))


def _with_calls(content: Sequence[Any], calls: Mapping[str, dict[str, Any]]) -> Iterator[Any]:
    """Return blocks of content with the calls of the message in place of their own."""
    for block in content:
        if not isinstance(block, dict) or block.get("type") not in _CALL_BLOCKS:
            yield block
            continue
        call = calls.get(block.get("call_id") or block.get("id") or "")
        if call is None:
            continue
        arguments = call["args"]
        match block["type"]:
            case "tool_use":
                kept = {key: value for key, value in block.items() if key != "partial_json"}
                yield {**kept, "name": call["name"], "input": arguments}
            case "function_call":
                yield {**block, "name": call["name"], "arguments": json.dumps(arguments)}
            case _:
                yield {**call, "extras": block["extras"]} if "extras" in block else call


def _with_text(content: str | list[Any], prose: str) -> str | list[Any]:
    if isinstance(content, str):
        return prose
    parts: list[Any] = []
    for block in content:
        if isinstance(block, str) or block.get("type") == "text":
            if prose:
                parts.append({"type": "text", "text": prose})
            prose = ""
        else:
            parts.append(block)
    return parts


# --- calls ------------------------------------------------------------------------------------------


class _Reader:
    """Reads calls and text for one tool that runs code."""

    def __init__(self, tool_name: str, tools: Collection[str]) -> None:
        self._tool_name = tool_name
        self._tools = frozenset(tools)
        self._labels = PYTHON_LABELS | {tool_name.lower()}

    def read(self, call: WrittenCall) -> tuple[str, str]:
        """Return the program of a call, and why there is none: one of them is empty."""
        name = call.name
        if isinstance(call.arguments, str):
            return "", NOT_JSON.replace("{NAME}", name)
        if _bare(name) in self._tools and not self._is_ours(name):
            return "", NOT_DIRECTLY.replace("{NAME}", name).replace("{TOOL_NAME}", self._tool_name)
        code = _find_program(call.arguments)
        if self._is_ours(name):
            return (code, "") if code else ("", EMPTY_CALL.replace("{NAME}", name))
        language = str(call.arguments.get("language", "python")).lower()
        runs_python = _runs_python(name) and language in PYTHON_LABELS
        if code and (runs_python or self.is_program(_only_program(call.arguments) or "")):
            return code, ""
        problem = NO_SUCH_TOOL.replace("{NAME}", name).replace("{TOOL_NAME}", self._tool_name)
        return "", problem

    def _is_ours(self, name: str) -> bool:
        return _squash(name) == _squash(self._tool_name)

    # --- text ---------------------------------------------------------------------------------------

    def read_text(self, text: str) -> tuple[list[tuple[WrittenCall, str, str]], str]:
        """Return the calls in a text, with their programs or problems, and the prose around them."""
        visible, blocks = read_text(text, python_labels=self._labels)
        markup = list(markup_calls(visible))
        first = markup[0].position if markup else len(text)
        programs = self._programs(blocks)
        if programs and programs[0].start < first:
            prose = _without(text, programs)
            return [self._as_call("\n\n".join(b.content.strip("\n") for b in programs))], prose
        if markup:
            return [(call, *self.read(call)) for call in markup], text[:first].strip()
        for candidate in [visible, *(block.content for block in blocks)]:
            if calls := self._json_calls(candidate):
                return [(call, *self.read(call)) for call in calls], ""
        if not blocks and self._is_certain(visible.strip()):
            return [self._as_call(visible.strip())], ""
        return [], text

    def _as_call(self, code: str) -> tuple[WrittenCall, str, str]:
        return WrittenCall(self._tool_name, {}), self._called_with(code) or code, ""

    def _is_certain(self, text: str) -> bool:
        return self.is_program(text) or self._called_with(text) is not None

    def _called_with(self, text: str) -> str | None:
        """Return the programs of a text that calls our tool in Python, alone or in a list of calls."""
        tree = _parse(text) if self._tool_name in text else None
        if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
            return None
        shown = tree.body[0].value
        if isinstance(shown, ast.Call) and _dotted(shown.func) == "print" and len(shown.args) == 1:
            shown = shown.args[0]
        programs: list[str] = []
        for call in shown.elts if isinstance(shown, ast.List) else [shown]:
            if not isinstance(call, ast.Call) or not self._is_ours(_dotted(call.func)):
                return None
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            program = given[0] if len(given) == 1 else None
            if not isinstance(program, ast.Constant) or not isinstance(program.value, str):
                return None
            programs.append(program.value)
        return "\n\n".join(programs) or None

    def _programs(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks labelled as Python; if none is, those without a label that are programs."""
        labelled = [block for block in blocks if block.label in self._labels]
        labelled = [block for block in labelled if not self._json_calls(block.content)]
        return labelled or [b for b in blocks if not b.label and self._is_certain(b.content)]

    def is_program(self, text: str) -> bool:
        """Whether a text is Python that prints, imports or calls a tool, and not data or prose."""
        tree = _parse(text) if _DOES_SOMETHING.search(text) else None
        return tree is not None and any(map(self._does_something, ast.walk(tree)))

    def _does_something(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            return name == "print" or name.removeprefix("tools.") in self._tools
        return isinstance(node, ast.Import | ast.ImportFrom | ast.Await)

    def _json_calls(self, text: str) -> list[WrittenCall]:
        """Return the calls in the JSON of a text: of our tool, of one of the code's tools, or a program."""
        whole = load_json(text.strip()) if text.strip()[:1] in ("{", "[") else None
        if whole is not None:
            calls = list(calls_in(whole))
            if any(self._is_known(call) for call in calls):
                return calls
            code = _only_program(whole)
            return [WrittenCall(self._tool_name, {"code": code})] if self._may_be(code) else []
        return list(self._calls_within(text))

    def _is_known(self, call: WrittenCall) -> bool:
        if self._is_ours(call.name) or _bare(call.name) in self._tools:
            return True
        if isinstance(call.arguments, str) or not _runs_python(call.name):
            return False
        return self._may_be(_find_program(call.arguments))

    def _may_be(self, code: str | None) -> bool:
        """Whether text in a field for code is a program, which may contain a syntax error."""
        if not code:
            return False
        return self.is_program(code) or bool(
            re.search(r"\bprint\(|\bawait\s|^import\s", code, re.MULTILINE)
        )

    def _calls_within(self, text: str) -> Iterator[WrittenCall]:
        """Find our tool's name before JSON, or in it, within other text."""
        name = re.escape(self._tool_name)
        if (found := re.search(rf"\b{name}{_BEFORE_ARGUMENTS}", text)) is not None:
            arguments = decode_prefix(text[found.end() :])
            yield WrittenCall(self._tool_name, arguments if isinstance(arguments, dict) else text)
            return
        if not re.search(rf"\"(?:\w+\.)?{name}\"", text):
            return
        for start in [m.start() for m in re.finditer(r"[\[{]", text)][:_MAX_JSON_STARTS]:
            calls = [c for c in calls_in(decode_prefix(text[start:])) if self._is_ours(c.name)]
            if calls:
                yield from calls
                return
        if text.lstrip().startswith(("{", "[")):  # a call of our tool in invalid JSON
            yield WrittenCall(self._tool_name, text)


def _parse(text: str) -> ast.Module | None:
    try:
        return parse_quietly(text) if len(text) <= MAX_CHARS else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _dotted(node: ast.expr) -> str:
    """Return the dotted name of an expression; empty if it is something else, or too long."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < _MAX_NAME_PARTS:
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _squash(name: str) -> str:
    """Return a tool's name without prefixes, suffixes and punctuation that models add."""
    return re.sub(r"[^a-z0-9]", "", _bare(name).rpartition(".")[2].lower())


def _runs_python(name: str) -> bool:
    return _PYTHON_TOOLS.fullmatch(_squash(name)) is not None


def _bare(name: str) -> str:
    """Return a name without the prefix `functions.` or `tools.` and without an index at its end."""
    return re.sub(r":\d+$", "", name.strip()).removeprefix("functions.").removeprefix("tools.")


def _find_program(arguments: Mapping[str, Any], depth: int = 0) -> str | None:
    """Return the program among the arguments of a call, unless several of them may be it."""
    texts = {
        key: text
        for key, value in arguments.items()
        if key not in _SIDE_KEYS and (text := _as_text(value, depth))
    }
    if len(texts) == 1:
        return unwrap_program(next(iter(texts.values())))
    return next((unwrap_program(texts[key]) for key in _CODE_KEYS if key in texts), None)


def _as_text(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(line.rstrip("\r\n") for line in value)
    if isinstance(value, dict) and depth < _MAX_NESTING:
        return _find_program(value, depth + 1)
    return None


def _only_program(data: Any) -> str | None:
    """Return the program in data that contains nothing else."""
    if not isinstance(data, Mapping) or len(keys := data.keys() - _SIDE_KEYS) != 1:
        return None
    (key,) = keys
    return _as_text(data[key], _MAX_NESTING) if key in _CODE_KEYS else None


def _without(text: str, blocks: Sequence[Block]) -> str:
    parts, at = [], 0
    for block in blocks:
        parts.append(text[at : block.start])
        at = block.end
    return "".join([*parts, text[at:]]).strip()


# --- calls that models write as text: JSON, and the markup that families of models were trained on ----

_NAME_KEYS = ("name", "tool", "tool_name", "function_name", "action", "recipient_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "tool_input", "action_input")
_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([^<>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_FUNCTION_ARGUMENT = re.compile(
    r"<parameter=([^<>\n]+)>\n?(.*?)\n?(?:</parameter>\s*(?=<parameter=|\Z)|(?=<parameter=)|\Z)",
    re.DOTALL,
)
_SPACE = "(?:\\w+:|\uff5cDSML\uff5c)?"  # of Anthropic's models at times, of DeepSeek's always
_INVOKE = re.compile(
    rf"<{_SPACE}invoke\s+name=\"([^\"\n]+)\"\s*>(.*?)(?:</{_SPACE}invoke>|\Z)", re.DOTALL
)
_INVOKE_ARGUMENT = re.compile(
    rf"<{_SPACE}parameter\s+name=\"([^\"\n]+)\"[^<>\n]*>\n?(.*?)\n?"
    rf"(?:</{_SPACE}parameter>\s*(?=<{_SPACE}parameter\s|\Z)|\Z)",
    re.DOTALL,
)
_KEY_VALUE = re.compile(
    r"<arg_key>([^<>]*)</arg_key>\s*<arg_value>\n?(.*?)\n?(?:</arg_value>|\Z)", re.DOTALL
)
_DEEPSEEK = re.compile(
    "<\uff5ctool\u2581call\u2581begin\uff5c>(?:function<\uff5ctool\u2581sep\uff5c>)?([^\\s<>]+)"
    "(?:<\uff5ctool\u2581sep\uff5c>)?(.*?)(?:<\uff5ctool\u2581call\u2581end\uff5c>|\\Z)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as the model wrote it; its arguments are a text if they are not valid JSON."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None
    position: int = 0


def read_arguments(arguments: str) -> Mapping[str, Any] | str:
    """Return the arguments in the JSON of a text; the text itself if it is not a JSON object."""
    parsed = load_json(arguments)
    return parsed if isinstance(parsed, dict) else arguments


def calls_in(data: Any) -> Iterator[WrittenCall]:
    """Return the calls in JSON data, in any of the shapes that models write."""
    if isinstance(data, list):
        for item in data:
            yield from calls_in(item)
    if not isinstance(data, dict):
        return
    if isinstance(data.get("tool_calls"), list):
        yield from calls_in(data["tool_calls"])
        return
    inner = data["function"] if isinstance(data.get("function"), dict) else data
    name = next((inner[key] for key in _NAME_KEYS if isinstance(inner.get(key), str)), None)
    if name is None and isinstance(inner.get("function"), str):
        name = inner["function"]
    if name is None:
        return
    given = next((inner[key] for key in _ARGUMENT_KEYS if key in inner), None)
    if given is None and "code" in inner:
        given = {"code": inner["code"]}
    if given is None:  # it has a name, but is not a call
        return
    if isinstance(given, str):
        parsed = load_json(given)
        given = parsed if isinstance(parsed, dict) else {"code": given}
    yield WrittenCall(name, given if isinstance(given, dict) else {})


def markup_calls(text: str) -> Iterator[WrittenCall]:
    """Find the calls that are written in the markup of a family of models, in order."""
    found: list[WrittenCall] = []
    for pattern, argument in ((_FUNCTION, _FUNCTION_ARGUMENT), (_INVOKE, _INVOKE_ARGUMENT)):
        for match in pattern.finditer(text):
            body = match[2].strip()
            arguments: Mapping[str, Any] | str = {
                m[1].strip(): m[2] for m in argument.finditer(body)
            }
            if not arguments and body:
                arguments = read_arguments(body)
            found.append(WrittenCall(match[1].strip(), arguments, None, match.start()))
    for match in _DEEPSEEK.finditer(text):
        body = re.sub(r"\A```\w*\n|\n?```\Z", "", match[2].strip())
        found.append(WrittenCall(match[1], read_arguments(body), None, match.start()))
    if not found:
        for match in _HERMES.finditer(text):
            found += _hermes_calls(match[1].strip(), match.start())
    yield from sorted(found, key=lambda call: call.position)


def _hermes_calls(body: str, position: int) -> Iterator[WrittenCall]:
    """Read the content of `<tool_call>`: JSON, or GLM's name and pairs of tags."""
    pairs = {m[1].strip(): m[2] for m in _KEY_VALUE.finditer(body)}
    if pairs:
        yield WrittenCall(body.partition("<")[0].strip(), pairs, None, position)
        return
    data = load_json(body)
    for call in calls_in(data):
        yield WrittenCall(call.name, call.arguments, None, position)
    if data is None and (named := re.search(r"\"name\"\s*:\s*\"([^\"\n]+)\"", body)):
        yield WrittenCall(named[1], body, None, position)


def load_json(text: str) -> Any:
    """Return the value of a JSON text; None if it is not valid JSON."""
    try:
        return json.loads(text, strict=False)  # models write raw line breaks in strings
    except (ValueError, RecursionError):
        return None


def decode_prefix(text: str) -> Any:
    """Return the JSON value at the start of a text; None if there is none."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


PYTHON_LABELS = frozenset({"python", "py", "python3", "ipython", "tool_code", "repl"})
"""Info strings of blocks that contain a program."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_OPENING = re.compile(
    r"(?P<prefix>(?:[ \t]|>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))*)"
    r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>.*)$"
)
_OPENING_BEHIND_TEXT = re.compile(
    r".*[\s:](?P<fence>`{3,})(?P<info>python3?|py|tool_code)[ \t]*$", re.IGNORECASE
)
_CLOSING = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<rest>.*)$")
_QUOTED = re.compile(r"[ \t]{0,3}>[ ]?")
_LABEL = re.compile(r"(?<=py)[\d.]*+(?=[:,{]|\Z)|(?<=python)[\d.]*+(?=[:,{]|\Z)|[:,{].*")
"""What may follow the name of a language: its version, the name of a file, attributes."""
_INFO_WORD = re.compile(r"[\w+#.{}-]+$")
_STRING_TOKEN = re.compile(r"\\.|#|\"\"\"|'''|\"|'", re.DOTALL)

_MAX_UNCLOSED_STRINGS = 20  # blocks that are read again because a string is not closed

_REASONING = r"think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad"
_REASONING_BEGIN = (
    rf"<(?:\w+:)?(?:{_REASONING})(?:\s[^<>\n]*)?>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
    r"|<\|START_THINKING\|>|<\|channel\|>analysis<\|message\|>|<\|channel>thought\b"
)
_TEMPLATE_END = r"</think(?:ing)?\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>"
_REASONING_END = re.compile(
    rf"(?<!`)(?:{_TEMPLATE_END}|</(?:\w+:)?(?:{_REASONING})\s*>|<\|end\|>|<channel\|>)",
    re.IGNORECASE,
)
_UNBEGUN_END = re.compile(rf"(?<!`)(?:{_TEMPLATE_END})", re.IGNORECASE)
"""An end tag whose start tag may be missing: the chat template of the model has written that."""
_OUTSIDE_TAG = re.compile(rf"(?<!`)(?:{_REASONING_BEGIN}|{_TEMPLATE_END})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    label: str  # first word of the info string in lower case; empty if there is none
    content: str  # its content, with lines ended by `\n`, without the indentation of its fence
    start: int  # where its opening fence starts in the text
    end: int  # where the text after it starts


def read_text(
    text: str, *, python_labels: frozenset[str] = PYTHON_LABELS
) -> tuple[str, list[Block]]:
    """Return a text with spaces in place of its reasoning, and the fenced blocks outside it, in linear time."""
    scan = Scan(python_labels)
    for line in _LINE.finditer(text):
        scan.add_line(line[0])
    scan.finish()
    parts, at = [], 0
    for start, end in scan.reasoning:
        parts += [text[at:start], re.sub(r"[^\n]", " ", text[start:end])]
        at = end
    return "".join([*parts, text[at:]]), scan.blocks


def unfence(code: str) -> str:
    """Return the program in a text that starts with a fence; any other text unchanged."""
    if not code.lstrip().startswith(("```", "~~~")):
        return code
    programs = [b.content for b in read_text(code)[1] if b.label in PYTHON_LABELS | {""}]
    return "\n\n".join(p.strip("\n") for p in programs) or code


@dataclass(slots=True)
class OpenBlock:
    """A block whose closing fence has not been read."""

    fence: str
    label: str
    start: int
    width: int
    quotes: int
    is_python: bool
    lines: list[str] = field(default_factory=list)
    string: str = ""  # the quotes of a string that is open at the end of the last line
    passed: tuple[int, int, int] | None = None  # the first fence in it: line, lines, end


class Scan:
    """One pass over the lines of a text, which may still be growing."""

    def __init__(self, python_labels: frozenset[str]) -> None:
        self._lines: list[tuple[int, int, str]] = []
        self._at = 0
        self._python_labels = python_labels
        self.open_block: OpenBlock | None = None  # the block that the last line is in
        self._unclosed = 0
        self.blocks: list[Block] = []
        self.reasoning: list[tuple[int, int]] = []
        self._reasoning_since: int | None = None

    def add_line(self, line: str) -> None:
        """Read the next line, with its line break."""
        start = self._lines[-1][1] if self._lines else 0
        self._lines.append((start, start + len(line), line.rstrip("\r\n")))
        self._read()

    def finish(self) -> None:
        """Close what the end of the text closes."""
        while (at := self._end_of_text()) < len(self._lines):
            self._at = at
            self._read()
        if self._reasoning_since is not None:
            self.reasoning.append((self._reasoning_since, self._lines[-1][1]))

    def _read(self) -> None:
        while self._at < len(self._lines):
            self._at = self._read_line(self._at)

    def _read_line(self, at: int) -> int:
        start, _, line = self._lines[at]
        if self.open_block is not None:
            if self.open_block.string or not _UNBEGUN_END.fullmatch(line.strip()):
                return self._read_in_block(self.open_block, at)
            self.open_block = None  # a draft whose fence was not closed
        line_at = self._skip_reasoning(start, line)
        if self._reasoning_since is None:
            self.open_block = self._opening(line[line_at:], start + line_at)
        return at + 1

    def _skip_reasoning(self, start: int, line: str) -> int:
        """Read the tags of a line outside blocks; return where its visible part starts."""
        at = 0
        while True:
            if self._reasoning_since is not None:
                if (found := _REASONING_END.search(line, at)) is None:
                    return len(line)
                self.reasoning.append((self._reasoning_since, start + found.end()))
                self._reasoning_since = None
            elif (found := _OUTSIDE_TAG.search(line, at)) is None:
                return at
            elif _UNBEGUN_END.fullmatch(found[0]):
                self.blocks.clear()
                self.reasoning[:] = [(0, start + found.end())]
            else:
                self._reasoning_since = start + found.start()
            at = found.end()

    def _opening(self, line: str, start: int) -> OpenBlock | None:
        found = _OPENING.match(line) or _OPENING_BEHIND_TEXT.match(line)
        if found is None:
            return None
        prefix = found.groupdict().get("prefix") or ""
        info = found["info"].strip().strip("{}.").split()
        label = _LABEL.sub("", info[0].lower()) if info else ""
        return OpenBlock(
            fence=found["fence"],
            label=label,
            start=start + found.start("fence"),
            width=len(prefix),
            quotes=prefix.count(">"),
            is_python=label in self._python_labels or not label,
        )

    def _read_in_block(self, block: OpenBlock, at: int) -> int:
        start, end, whole = self._lines[at]
        line = _strip_prefix(whole, block)
        found = _CLOSING.match(line)
        if found is None or not found["fence"].startswith(block.fence):
            self._add(block, line)
        elif block.string:
            if block.passed is None and not found["rest"]:
                block.passed = (at, len(block.lines), end)
            self._add(block, line)
        elif not found["rest"] and (block.is_python or len(found["indent"]) <= 3):
            self._close(block, end)
        elif block.is_python and found["fence"][0] == "`":
            if _INFO_WORD.match(found["rest"]):  # the fence that closes it is missing
                self._close(block, start)
                return at
            self._close(block, start + whole.index(found["fence"]) + len(found["fence"]))
        else:
            self._add(block, line)
        return at + 1

    def _add(self, block: OpenBlock, line: str) -> None:
        block.lines.append(line)
        if block.is_python and self._unclosed < _MAX_UNCLOSED_STRINGS:
            block.string = _string_open_after(line, block.string)

    def _close(self, block: OpenBlock, end: int) -> None:
        content = "".join(f"{line}\n" for line in block.lines)
        self.blocks.append(Block(block.label, content, block.start, end))
        self.open_block = None

    def _end_of_text(self) -> int:
        """Close the open block; return the line to continue with."""
        block = self.open_block
        if block is None:
            return len(self._lines)
        if (
            block.string and block.passed is not None
        ):  # the string is not terminated: the fence counts
            at, length, end = block.passed
            self._unclosed += 1
            del block.lines[length:]
            self._close(block, end)
            return at + 1
        self._close(block, self._lines[-1][1])
        return len(self._lines)


def _strip_prefix(line: str, block: OpenBlock) -> str:
    """Remove what the container of a block puts before each of its lines."""
    if block.quotes:
        at = 0
        for _ in range(block.quotes):
            if (found := _QUOTED.match(line, at)) is None:
                break
            at = found.end()
        return line[at:]
    indent = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, block.width) :]


def _string_open_after(line: str, string: str) -> str:
    """Return the triple quotes of the string that is open at the end of a line of Python."""
    tokens = (m[0] for m in _STRING_TOKEN.finditer(line) if not m[0].startswith("\\"))
    for quote in tokens:
        if string:
            string = "" if quote == string else string
        elif quote == "#":
            break
        elif len(quote) == 3:
            string = quote
        else:  # a string on one line, which may contain other quotes
            for closing in tokens:
                if closing == quote or (len(closing) == 3 and closing[0] == quote):
                    break
    return string

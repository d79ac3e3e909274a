# ruff: noqa: SIM905  # lists of names are read better as text
"""Which names the code may use: one set of rules for the compiler and for the run-time guards.

- `_ptc_...` belongs to the sandbox: the code can neither read nor bind it, in any form.
- `__dunder__` attributes are refused unless they are listed here: most of the others lead from any
  object to the interpreter (`__globals__`, `__subclasses__`, `__reduce__`).
- `_private` attributes are the code's own business where the code made them, and nobody else's.
- Frames, code objects and what leads to them are refused by name, whoever owns them.
- A few public names are harmless on most objects and a way out on some (`"".format`, `task.get_coro`):
  reading them goes through a guard that looks at the object.

The module is pure: sets and functions of names.
"""

from __future__ import annotations

from RestrictedPython.transformer import INSPECT_ATTRIBUTES

RESERVED = "_ptc_"
"""Names that begin so are the sandbox's. No name in use has a double underscore, so that a mangled
`__private` name of a class `ptc` cannot spell one."""

FORMAT_NAMES = frozenset({"format", "format_map"})
"""Methods of `str` that read attributes by names in the text."""

GUARDED_NAMES = FORMAT_NAMES | {
    "obj",  # AttributeError.obj: the object a library function was working on (CVE-2024-47532)
    "mro",  # the classes behind a facade's class
    "register",  # of an abstract class that other code uses too
    "get_stack",
    "print_stack",
    "get_coro",
    "get_loop",
    "get_context",
    *("parser", "ntpath"),  # of a path: modules, since Python 3.13
    "evaluate",  # ForwardRef.evaluate: Python 3.14 runs the text of an annotation
}
"""Public names whose reading goes through a guard that looks at the object."""

FRAME_NAMES = frozenset(
    INSPECT_ATTRIBUTES
    | set(
        "tb_lasti tb_lineno f_lasti f_lineno f_trace_lines f_trace_opcodes gi_frame gi_code "
        "gi_yieldfrom cr_frame cr_code cr_await cr_origin ag_frame ag_code ag_await co_code "
        "co_consts co_names co_varnames co_freevars co_cellvars co_filename co_positions "
        "co_lines co_linetable co_exceptiontable from_callable".split()
    )
)
"""What the code must not read from any object: the way to frames, code and their globals.

`Signature.from_callable` evaluates the text of annotations."""

_OPERATORS = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or".split()

DEFINABLE = frozenset(
    {f"__{side}{name}__" for name in _OPERATORS for side in ("", "r", "i")}
    | {
        f"__{name}__"
        for name in (
            "init new del repr str bytes format eq ne lt le gt ge hash bool int float complex index "
            "round trunc floor ceil neg pos abs invert len length_hint iter next reversed contains "
            "getitem setitem delitem missing call enter exit aenter aexit aiter anext await "
            "post_init getattr setattr delattr get set delete set_name init_subclass class_getitem "
            "mro_entries subclasshook copy deepcopy replace dir sizeof slots match_args "
            "html json fields"
        ).split()
    }
)
"""Special names that the code may define, in a class or elsewhere.

Left out on purpose: `__getattribute__`, `__reduce__` and its kin (`copy` would set any attribute),
`__class__`, `__instancecheck__`, `__subclasscheck__`, `__prepare__`, `__annotations__` (dataclasses
compile its keys)."""

READABLE = (
    DEFINABLE
    | {
        f"__{name}__"
        for name in (
            "name qualname doc module class dict members traceback cause context suppress_context notes "
            "type_params value all version author"
        ).split()
    }
) - {"__idivmod__"}
"""Special attributes that the code may read; those of `GUARDED_SPECIAL` go through a guard."""

GUARDED_SPECIAL = frozenset(
    f"__{name}__" for name in "class dict getattr init setattr delattr traceback".split()
)

WRITABLE = frozenset(
    f"__{name}__"
    for name in "name qualname doc module wrapped cause context suppress_context notes".split()
)
"""Special attributes that the code may set; `__match_args__` and operators only in a class body."""

SETTABLE_IN_CLASS = DEFINABLE - {"__match_args__", "__slots__", "__subclasshook__"}
"""Special methods that the code may set on a class of its own, as a class decorator does."""

SPECIAL_VARIABLES = (
    DEFINABLE - {"__match_args__"}
    | {f"__{name}__" for name in "name doc class debug all version author".split()}
    | {f"__{name}__" for name in "date email license copyright credits status".split()}
)
"""Special names that may be variables; `__class__` may only be read, and
`__match_args__` is checked where it is assigned."""

DOCUMENTED_PRIVATE = frozenset(
    "_asdict _replace _fields _field_defaults _make _value_ _name_ _missing_ _generate_next_value_ "
    "_ignore_ _order_ _member_map_ _member_names_ _value2member_map_ _numeric_repr_ _boundary_ "
    "_add_alias_ _add_value_alias_ _".split()
)
"""The public interface of namedtuple and Enum, which begins with an underscore."""

FORBIDDEN_PRIVATE = frozenset(
    "_loop _coro _selector _globals _builtins _os _sys _io _thread _evaluate _getframe "
    "_current_frames _get_loop _get_running_loop _run_once _convert_ _create_ _fut_waiter "
    "_source_traceback _default_executor _must_cancel _posixsubprocess _bootstrap _wrap_close "
    "_real _proxied _inst".split()
)
"""Private names that stay refused even where the code binds them: on objects of the standard
library they are the event loop, a coroutine or a live module, or let `typing.Type[...]` make classes."""

INSTEAD = {
    "__getattribute__": "use `getattr(obj, name)`, or define `__getattr__`",
    "__annotations__": "use `dataclasses.fields()` or `_fields`",
    "__dataclass_fields__": "use `dataclasses.fields()`",
    "__mro__": "use `isinstance()` or `issubclass()`",
    "__bases__": "use `isinstance()` or `issubclass()`",
    "__base__": "use `isinstance()` or `issubclass()`",
    "__wrapped__": "keep a reference to the function that you wrap",
    "__func__": "keep a reference to the function",
    "__self__": "keep a reference to the object",
    "__import__": "use an `import` statement",
    "__file__": "there are no files in the sandbox",
    "__reduce__": "define `__copy__` or `__deepcopy__`",
    "__getstate__": "define `__copy__` or `__deepcopy__`",
    "_loop": "use the functions of `asyncio`",
}
"""What to write instead of a refused name."""


def is_dunder(name: str) -> bool:
    """Whether `name` has the form `__x__`."""
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def is_private(name: str) -> bool:
    """Whether `name` begins with an underscore and is not a `__dunder__`."""
    return name.startswith("_") and not is_dunder(name)


def mangle(name: str, cls: str) -> str:
    """Return what Python makes of `name` in the body of class `cls`; "" for none."""
    stripped = cls.lstrip("_")
    if stripped and name.startswith("__") and not is_dunder(name):
        return f"_{stripped}{name}"
    return name


def is_refused(name: str, *, special: frozenset[str] = READABLE) -> bool:
    """Whether an attribute of this name is refused on every object, unless it is one of these `special` names."""
    if not name.startswith("_"):
        return name in FRAME_NAMES
    if is_dunder(name):
        return name not in special
    return name.startswith(RESERVED) or name in FORBIDDEN_PRIVATE


def instead_of(name: str) -> str:
    """Render what to write instead of `name`, with a leading `: `, or an empty string."""
    hint = INSTEAD.get(name)
    return f": {hint}" if hint else ""


def checked_identifier(name: object) -> str:
    """Return `name` if a class may have an attribute of this name."""
    if type(name) is not str:
        raise TypeError(f"a name must be a plain str, not {type(name).__name__!r}")
    if not name.isidentifier() or is_dunder(name) or is_refused(name):
        raise ValueError(f"{name!r} cannot be the name of a field or member in the sandbox")
    return name


REFUSED_BUILTINS = {
    "open": "there are no files in the sandbox; call a tool or print the data",
    "input": "there is nobody to ask in the sandbox; use a value in the code or call a tool",
    "eval": "write the expression as code; to read data use `json.loads` or `ast.literal_eval`",
    "exec": "write the statements as code",
    "compile": "write the statements as code; for patterns use `re.compile`",
    "globals": "use a dict of your own",
    "locals": "use a dict of your own",
    "breakpoint": "there is no debugger in the sandbox; use `print`",
    "help": "there is no pager in the sandbox",
    "__import__": "use an `import` statement",
}
"""Builtins that the code does not get, each with what to do instead."""

"""What programs need of the file system, loaded before the parent of workers gives it up."""

from __future__ import annotations

import contextlib
import dis
import gc
import importlib
import importlib.util
import io
import marshal
import os
import pkgutil
import sys
import warnings
import zoneinfo
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple, Self
from zoneinfo import _common  # private: tests/sandbox/host/test_process.py holds it

from langchain_ptc.sandbox.allowed_modules import FILE_PRELOAD, PRELOAD, list_codecs

_MAX_PROBLEM_CHARS = 1_000
_LAST_STANDARD_FD, _MAX_FDS = 2, 4096


def load_all(imports: Sequence[str], *, files: bool = False) -> list[str]:
    """Import the standard modules, those for `files`, and the developer's; return which of these failed, and why."""
    _import_all(PRELOAD)  # a program that needs what this Python was built without gets the error
    known = set(sys.modules)
    _import_all(FILE_PRELOAD if files else ())
    problems = _import_all(imports)
    _import_parts(imports)
    _import_what_functions_import(known)
    hold_fonts()
    return problems


def _import_all(names: Sequence[str]) -> list[str]:
    problems = []
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001  # a foreign module may fail, or exit, in any way
            problem = f"import {name}: {type(error).__name__}: {error}"
            problems.append(problem[:_MAX_PROBLEM_CHARS])
    return problems


_NOT_FOR_PROGRAMS = frozenset(
    {
        *("conftest", "distutils", "f2py", "mypy_plugin", "setup", "testing", "testutils"),
        *("backend_nbagg", "backend_webagg"),  # of matplotlib: for a notebook, and a server
    }
)


def _import_parts(names: Sequence[str]) -> None:
    """Import every public submodule of the developer's modules.

    A part that cannot be imported needs a package that is not installed: the code that uses it gets the error.
    """
    pending = [sys.modules[name] for name in names if name in sys.modules]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while pending:
            package = pending.pop()
            for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
                if found.name.startswith(("_", "test")) or found.name in _NOT_FOR_PROGRAMS:
                    continue
                with contextlib.suppress(BaseException):
                    pending.append(importlib.import_module(f"{package.__name__}.{found.name}"))


def _import_what_functions_import(known: set[str]) -> None:
    """Run the imports inside functions of all modules but `known`.

    numpy imports parts of itself so, pandas those of numpy, jinja2 what renders its errors. Packages
    that are not loaded by now are optional, and left alone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while added := {name for name in sys.modules.keys() - known if _is_for_programs(name)}:
            known |= added
            for function in gc.get_objects():
                if type(function) is FunctionType and function.__globals__.get("__name__") in added:
                    for name, parts, level in _find_imports(function.__code__):
                        with contextlib.suppress(BaseException):
                            __import__(name, function.__globals__, None, parts, level)


def _is_for_programs(name: str) -> bool:
    return _NOT_FOR_PROGRAMS.isdisjoint(name.split("."))


def _find_imports(code: CodeType) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Yield the imports that a function can run: module, names, level of a relative one."""
    if dis.opmap["IMPORT_NAME"] in code.co_code[::2]:
        steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
        for level, parts, step in zip(steps, steps[1:], steps[2:], strict=False):
            if step.opname == "IMPORT_NAME":
                first = step.argval.partition(".")[0]
                here = level.argval or first in sys.modules or first in sys.stdlib_module_names
                if here and _is_for_programs(step.argval):
                    yield step.argval, parts.argval or (), level.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _find_imports(inner)


def hold_fonts() -> None:
    """Hold the fonts of matplotlib in memory, if it is imported: it reads them while it draws.

    It looks for files in two of its modules, and opens them with one function; tests hold that.
    """
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    manager: Any = sys.modules.get("matplotlib.font_manager")
    if pyplot is None or manager is None:
        return
    if "pandas" in sys.modules:
        _import_all(("pandas.plotting._matplotlib",))  # by its name alone, at the first plot
    pyplot.switch_backend("agg")
    folder = os.path.join(manager.mpl.get_data_path(), "fonts", "ttf")  # noqa: PTH118
    fonts = {os.path.realpath(entry): _read(entry.path) for entry in os.scandir(folder)}
    found = manager.fontManager.ttflist
    manager.fontManager.ttflist = [e for e in found if os.path.realpath(e.fname) in fonts]

    def is_font(path: str) -> bool:
        return os.path.realpath(path) in fonts

    paths = SimpleNamespace(**{**vars(os.path), "exists": is_font, "isfile": is_font})
    names: Any = SimpleNamespace(**{**vars(os), "path": paths})
    manager.os = sys.modules["matplotlib._mathtext"].os = names  # type: ignore[attr-defined]
    open_font = manager.ft2font.FT2Font

    def open_held(path: str, *args: Any, **kwargs: Any) -> Any:
        return open_font(io.BytesIO(fonts[os.path.realpath(path)]), *args, **kwargs)

    manager.ft2font.FT2Font = open_held
    with contextlib.suppress(Exception):  # the first figure takes a quarter of a second longer
        pyplot.figure().add_subplot(xscale="log", title="$x$").plot([1, 2])
        pyplot.savefig(io.BytesIO())
    pyplot.close("all")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


class _Importer:
    """Imports modules from their code. No subclass of `importlib.abc.Loader`, which takes long to import."""

    def __init__(self, code: dict[str, CodeType]) -> None:
        self._code = code

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Find a module."""
        return ModuleSpec(name, self) if name in self._code else None  # type: ignore[arg-type]  # see above

    def create_module(self, _: ModuleSpec) -> None:
        """Have the usual module made."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the code of a module."""
        exec(self._code[module.__name__], vars(module))  # noqa: S102  # as an import does


class StoredFiles(NamedTuple):
    """Many small files that few programs need: codecs and time zones, held in memory."""

    codecs: dict[str, CodeType]
    zones: dict[str, bytes]

    @classmethod
    def read(cls) -> Self:
        """Read them."""
        codecs = {name: code for name in list_codecs() if (code := _read_code(name))}
        package = importlib.util.find_spec("tzdata")
        folders = [
            f"{place}/zoneinfo" for place in getattr(package, "submodule_search_locations", ())
        ]
        folders += reversed(zoneinfo.TZPATH)
        return cls(codecs, {key: data for folder in folders for key, data in _read_zones(folder)})

    def install(self) -> None:
        """Import codecs and load time zones from them, where there are no files."""
        zones = self.zones

        def load_tzdata(key: str) -> io.BytesIO:
            if key not in zones:
                raise zoneinfo.ZoneInfoNotFoundError(f"no time zone found with key {key}")
            return io.BytesIO(zones[key])

        sys.meta_path.append(_Importer(self.codecs))
        zoneinfo.reset_tzpath(to=())
        zoneinfo.available_timezones = lambda: set(zones)
        setattr(_common, "load_tzdata", load_tzdata)  # noqa: B010  # typed otherwise


class FileReader:
    """Reads `StoredFiles` in a child process, while this one imports."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.closerange(_LAST_STANDARD_FD + 1, writer)  # the host must see its parent's end
                os.closerange(writer + 1, _MAX_FDS)
                with open(writer, "wb") as pipe:  # noqa: PTH123
                    pipe.write(marshal.dumps((*StoredFiles.read(),)))
            finally:
                os._exit(0)
        os.close(writer)
        self._reader = reader

    def result(self) -> StoredFiles:
        """Wait for them."""
        try:
            with open(self._reader, "rb") as pipe:  # noqa: PTH123
                return StoredFiles(*marshal.loads(pipe.read()))  # noqa: S302  # of our own child
        except (EOFError, ValueError, TypeError):  # it was killed
            return StoredFiles.read()
        finally:
            with contextlib.suppress(ChildProcessError):  # the host ignores the end of its children
                os.waitpid(self._pid, 0)


def _read_code(module: str) -> CodeType | None:
    spec = importlib.util.find_spec(module)
    get_code = getattr(spec and spec.loader, "get_code", None)
    return get_code(module) if get_code else None


_NOT_ZONES = frozenset({"right", "posix", "posixrules"})
"""Beside the time zones, as `zoneinfo.available_timezones` leaves them out."""


def _read_zones(folder: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield key and content of the time zones in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _NOT_ZONES:
                    yield from _read_zones(entry.path, f"{prefix}{entry.name}/")
            elif entry.name not in _NOT_ZONES:
                with contextlib.suppress(OSError), open(entry.path, "rb") as file:  # noqa: PTH123
                    data = file.read()
                    if data.startswith(b"TZif"):
                        yield prefix + entry.name, data

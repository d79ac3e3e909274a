"""`module:attribute` or `file.py:attribute` -> the object that is meant; and `CommandError`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from langchain_ptc.wording import closest, did_you_mean

_OWN_FRAMES = (f"{Path(__file__).parents[1]}{os.sep}", "<frozen ")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class CommandError(Exception):
    """What was typed cannot be used, or this machine lacks something; the message says what to do."""


def load_object(reference: str, *, option: str) -> object:
    """Return the object that `package.module:attribute` or `path/to/file.py:attribute` names.

    The attribute may be dotted. The current folder can be imported from, and so can the folder of a
    file. `option` names the option in messages: `--tools`.

    Raises:
        CommandError: There is no such module, file or attribute, or its import failed.
    """
    where, colon, attribute = reference.rpartition(":")
    if not colon or not where or not attribute:
        example = f"{reference.rstrip(':') or 'my_tools.py'}:tools"
        raise CommandError(
            f"{option} {reference!r} must be module:attribute or file.py:attribute, "
            f"for example {example!r}"
        )
    is_file = where.endswith(".py")
    module = _load_file(where, option) if is_file else _load_module(where, option)
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise CommandError(
                f"{option} {reference!r}: {where} has no attribute {name!r}"
                f"{did_you_mean(closest(name, _names_of(found)))}"
            ) from error
    return found


def can_load(module: str) -> bool:
    """Whether there is a module of that name to be imported from here, without importing it."""
    _make_importable(Path.cwd())
    top = module.partition(".")[0]
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _load_module(name: str, option: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise CommandError(
            f"{option} {name!r} is not the name of a module; write package.module:attribute, or "
            "path/to/file.py:attribute"
        )
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CommandError(_not_found(name, error.name, option)) from error
        raise CommandError(_failed(name, error, option)) from error
    except (Exception, SystemExit) as error:
        raise CommandError(_failed(name, error, option)) from error


def _not_found(name: str, missing: str, option: str) -> str:
    parent, _, child = missing.rpartition(".")
    folder = Path(*parent.split(".")) if parent else Path()
    here = [path.stem for path in folder.glob("*.py")]
    here += [path.parent.name for path in folder.glob("*/__init__.py")]
    close = did_you_mean(closest(child, sorted(here)))
    return (
        f"{option} {name!r}: there is no module {missing!r}, neither installed nor in the current "
        f"folder{close}"
    )


def _load_file(path: str, option: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        near = [str(other) for other in file.parent.glob("*.py")] if file.parent.is_dir() else []
        raise CommandError(
            f"{option}: there is no file {path!r}{did_you_mean(closest(path, sorted(near)))}"
        )
    file = file.resolve()
    loaded = sys.modules.get(file.stem)
    if loaded is not None and _file_of(loaded) == file:
        return loaded
    _make_importable(Path.cwd())
    _make_importable(file.parent)
    # Under its own name, so that what is defined in it can be looked up again; unless that is taken.
    name = file.stem
    if loaded is not None or not name.isidentifier() or name in sys.stdlib_module_names:
        name = f"_file_{abs(hash(file)):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CommandError(_failed(path, error, option)) from error
    return module


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()


def _make_importable(folder: Path) -> None:
    text = str(folder)
    if text not in sys.path:
        sys.path.insert(0, text)


def _failed(name: str, error: BaseException, option: str) -> str:
    return f"{option} {name!r} cannot be imported:\n{render_error(error)}"


def render_error(error: BaseException) -> str:
    """Render an exception of the user's code: its own frames and the last line, and none of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if not frame.filename.startswith(_OWN_FRAMES)]
    own = [f for f in foreign if not any(folder in f.filename for folder in _INSTALLED)]
    lines = traceback.format_list(own or foreign) + traceback.format_exception_only(error)
    return "".join(f"  {line}\n" for text in lines for line in text.splitlines()).rstrip("\n")


def _names_of(found: object) -> list[str]:
    names = found.__dict__ if inspect.ismodule(found) else dir(found)
    return [name for name in names if not name.startswith("_")]

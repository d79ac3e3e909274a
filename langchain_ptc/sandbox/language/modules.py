"""The modules that the code imports: facades with listed names, never live modules.

A live module is a way to every other one (`json.codecs.sys.modules["os"]`). A facade is a fresh
module object, made for one program, that holds functions, classes and constants, and no module but
other facades.
"""

from __future__ import annotations

import importlib
import io
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_ptc.locks import cached_property
from langchain_ptc.sandbox.allowed_modules import (
    ALIASES,
    ONLY_OVERRIDDEN,
    check_importable,
    reason_to_refuse,
    standard_modules,
)
from langchain_ptc.sandbox.language.facades import build_random_names, build_safe_names, deepcopy
from langchain_ptc.wording import closest, did_you_mean

ModuleNames: TypeAlias = Mapping[str, object]

_PARTS_OF_MODULE = ("__loader__", "__spec__", "__package__")


class ModuleLoader:
    """Gives one program its modules, each built at its first import.

    Args:
        extra: Modules of the developer's choice, with all their submodules: `["numpy"]`.
        overrides: Builds names that replace or extend those of a module, or a function that builds those of one,
            made for this program, at its first
            import; a module that is not listed anywhere exists if it is among them.
        files: Whether the code has files, and so the modules for them.
        stdout: Where modules of the standard library print to; None for the process's own stream.

    Raises:
        ValueError: `extra` names a module that is never available.
    """

    def __init__(
        self,
        *,
        extra: Sequence[str] = (),
        overrides: Callable[[], Mapping[str, ModuleNames | Callable[[], ModuleNames]]] = dict,
        files: bool = False,
        stdout: io.TextIOBase | None = None,
    ) -> None:
        check_importable(extra)
        self._extra = tuple(extra)
        self._standard = standard_modules(files=files)
        self._build_overrides = overrides
        self._stdout = stdout
        self._safe: dict[str, dict[str, object]] | None = None
        self._built: dict[str, types.ModuleType] = {}

    @cached_property
    def _overrides(self) -> Mapping[str, ModuleNames | Callable[[], ModuleNames]]:
        return self._build_overrides()

    @property
    def built(self) -> Mapping[str, types.ModuleType]:
        """The modules that the program has imported until now, by dotted name."""
        return self._built

    def load(self, name: str) -> types.ModuleType:
        """Return the module of a dotted name.

        Raises:
            ModuleNotFoundError: There is none, or it is not available.
        """
        built = self._built.get(name)
        if built is not None:
            return self._attach(name, built)
        parent = name.rpartition(".")[0]
        if parent:
            self.load(parent)
        if name in self._overrides or (name in self._standard and name not in ONLY_OVERRIDDEN):
            module = self._build_listed(name)
        elif self._is_extra(name):
            module = self._build_extra(name)
        elif self._leads_to_extra(name):
            module = _new_module(name, {})
        else:
            raise ModuleNotFoundError(self._why_not(name), name=name)
        self._built[name] = module
        self._attach_parts(name)
        return self._attach(name, module)

    def find(self, path: str) -> object:
        """Return the module of a dotted name, or the member of a module that it names.

        Raises:
            ImportError: There is none, or it is not available.
        """
        try:
            return self.load(path)
        except ModuleNotFoundError:
            module, _, member = path.rpartition(".")
            if not module:
                raise
            return getattr(self.load(module), member)

    def _attach(self, name: str, module: types.ModuleType) -> types.ModuleType:
        parent, _, last = name.rpartition(".")
        if parent and vars(self._built[parent]).get(last) is not module:
            setattr(self._built[parent], last, module)
        return module

    def _attach_parts(self, name: str) -> None:
        """Make the listed submodules attributes, as they are once Python has imported them."""
        prefix = name + "."
        for other in {*self._standard, *self._overrides}:
            if other.startswith(prefix) and "." not in other[len(prefix) :]:
                self.load(other)

    # --- listed modules ---

    def _build_listed(self, name: str) -> types.ModuleType:
        if self._safe is None:
            self._safe = build_safe_names()
        source = ALIASES.get(name, name)
        entries: dict[str, object] = {}
        if listed := self._standard.get(name):
            real = importlib.import_module(source)
            entries = {n: _own_copy(getattr(real, n)) for n in listed if hasattr(real, n)}
        # `random` has every name of its generator; what is not listed stays out. A generator is
        # made for those programs only that import it: to seed one takes longer than the rest.
        safe = build_random_names() if source == "random" else self._safe.get(source, {})
        entries.update({n: value for n, value in safe.items() if n in entries})
        made = self._overrides.get(name, {})
        for entry, value in (made() if callable(made) else made).items():
            if not isinstance(value, types.ModuleType) and not entry.startswith("__"):
                entries[entry] = value
        module = _new_module(name, entries)
        vars(module)["__getattr__"] = self._explain_missing(name)
        return self._route_output(name, module)

    def _route_output(self, name: str, module: types.ModuleType) -> types.ModuleType:
        """Make `pprint` and `calendar` print where the program prints."""
        stdout = self._stdout
        if stdout is not None and name == "pprint":
            vars(module).update(_build_pprint_names(stdout))
        elif stdout is not None and name == "calendar":
            vars(module).update(_build_calendar_names(stdout))
        return module

    def _explain_missing(self, name: str) -> Callable[[str], object]:
        def missing(attribute: str) -> object:
            """Say why a name is not there."""
            real = sys.modules.get(ALIASES.get(name, name))
            if attribute.startswith("_") or real is None or attribute not in vars(real):
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            raise AttributeError(f"{name}.{attribute} is not available in the sandbox")

        return missing

    # --- modules of the developer's choice ---

    def _is_extra(self, name: str) -> bool:
        return any(name == root or name.startswith(root + ".") for root in self._extra)

    def _leads_to_extra(self, name: str) -> bool:
        return any(root.startswith(name + ".") for root in self._extra)

    def _build_extra(self, name: str) -> types.ModuleType:
        real = importlib.import_module(name)
        names = getattr(real, "__all__", None) or dir(real)
        public = [
            n
            for n in names
            if not n.startswith("_") and not isinstance(getattr(real, n, None), types.ModuleType)
        ]
        entries = {"__version__": getattr(real, "__version__", "")}
        module = _new_module(name, entries, public)

        def get(attribute: str) -> object:
            """Fetch a name at its first use: numpy has thousands."""
            if attribute.startswith("_"):
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            value = getattr(real, attribute)
            if isinstance(value, types.ModuleType):
                if not self._is_extra(value.__name__) or "._" in value.__name__:
                    raise AttributeError(f"{name}.{attribute} is not available in the sandbox")
                return self.load(value.__name__)
            setattr(module, attribute, value)
            return value

        vars(module)["__getattr__"] = get
        return module

    # --- what is not there ---

    def _why_not(self, name: str) -> str:
        if reason := reason_to_refuse(name):
            return f"module {name!r} is not available: {reason}"
        known = [*self._standard, *self._overrides, *self._extra]
        hint = did_you_mean(closest(name, known, cutoff=0.8))
        return (
            f"module {name!r} is not available in the sandbox{hint}: use the standard library of "
            f"computing, or a tool (the developer can allow it with imports=[{name!r}])"
        )


def _build_pprint_names(stdout: io.TextIOBase) -> dict[str, object]:
    import pprint as real

    class PrettyPrinter(real.PrettyPrinter):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if len(args) < 4 and kwargs.get("stream") is None:
                kwargs["stream"] = stdout
            super().__init__(*args, **kwargs)

    def pprint(obj: object, stream: object = None, *args: object, **kwargs: object) -> None:
        kwargs["stream"] = stream
        PrettyPrinter(*args, **kwargs).pprint(obj)

    def pp(obj: object, *args: object, **kwargs: object) -> None:
        pprint(obj, *args, **{"sort_dicts": False, **kwargs})

    return {"PrettyPrinter": PrettyPrinter, "pprint": pprint, "pp": pp}


def _build_calendar_names(stdout: io.TextIOBase) -> dict[str, object]:
    import calendar as real

    class TextCalendar(real.TextCalendar):
        def prweek(self, *args: Any, **kwargs: Any) -> None:
            stdout.write(self.formatweek(*args, **kwargs))

        def prmonth(self, *args: Any, **kwargs: Any) -> None:
            stdout.write(self.formatmonth(*args, **kwargs))

        def pryear(self, *args: Any, **kwargs: Any) -> None:
            stdout.write(self.formatyear(*args, **kwargs) + "\n")

    text = TextCalendar()
    printers = {"prcal": text.pryear, "prmonth": text.prmonth, "prweek": text.prweek}
    return {"TextCalendar": TextCalendar, **printers}


def _own_copy(value: object) -> object:
    """Return `value`, or a copy if the program could change the host's."""
    return deepcopy(value) if type(value) in (list, dict, set) else value


def _new_module(
    name: str, entries: Mapping[str, object], public: Sequence[str] | None = None
) -> types.ModuleType:
    module = types.ModuleType(name)
    for part in _PARTS_OF_MODULE:
        vars(module).pop(part, None)
    vars(module).update(entries)
    vars(module)["__all__"] = list(entries if public is None else public)
    return module

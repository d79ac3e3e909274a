"""What the code has from modules and builtins is kept by name, and looked up again by the next one."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from langchain_ptc.errors import ToolCallError
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.modules import ModuleLoader
from langchain_ptc.sandbox.wire.values import Record

BUILTINS = "builtins"
_SPECIAL: Mapping[str, object] = {"Record": Record, "ToolCallError": ToolCallError}
_SPECIAL_MODULE = "tools"
"""What the code has without importing it, and what stands for the record types of the stubs."""
_ALWAYS = ("typing", "collections.abc", "types", "dataclasses", "enum", "abc")
"""Modules whose names turn up in classes whose code has not imported them."""


class Names:
    """Finds what a facade or the builtins hold, both ways.

    Args:
        loader: Gives the program its modules.
        builtins: The `__builtins__` of the code.
        tools: The modules of the tools, which the code has without importing them.
    """

    def __init__(
        self,
        loader: ModuleLoader,
        builtins: Mapping[str, object],
        tools: Mapping[str, ModuleType],
    ) -> None:
        self._loader = loader
        self._tools = tools
        self._builtins = builtins
        self._index: dict[int, tuple[str, str]] | None = None

    def find(self, value: object) -> tuple[str, str] | None:
        """Return the module and the name of `value`; None if the code has it from nowhere."""
        if self._index is None:
            self._index = self._build_index()
        return self._index.get(id(value))

    def _build_index(self) -> dict[int, tuple[str, str]]:
        for name in _ALWAYS:
            self._loader.load(name)
        index = {id(value): (_SPECIAL_MODULE, name) for name, value in _SPECIAL.items()}
        places = {BUILTINS: self._builtins}
        places.update((name, vars(module)) for name, module in self._tools.items())
        places.update((name, vars(module)) for name, module in sorted(self._loader.built.items()))
        for module, entries in places.items():
            for name, value in entries.items():
                if not name.startswith("_") and not isinstance(value, ModuleType):
                    index.setdefault(id(value), (module, name))
        return index

    def name_of_module(self, module: ModuleType) -> str | None:
        """Return the name under which the code can import `module`; None if it cannot."""
        name = module.__name__
        known = self._loader.built.get(name), self._tools.get(name)
        return name if any(module is other for other in known) else None

    def load(self, module: str) -> ModuleType:
        """Return a module, as an import statement of the code does.

        Raises:
            ImportError: It is not available.
        """
        if type(module) is not str:
            raise ImportError(f"no module has the name {module!r}")
        return self._loader.load(module)

    def get(self, module: str, name: str) -> object:
        """Return a name of a module, as an import statement of the code does.

        Raises:
            ImportError: It is not available.
        """
        if type(name) is not str or name.startswith("_") or names.is_refused(name):
            raise ImportError(f"{name!r} is not available in the sandbox")
        if module == BUILTINS:
            if name in self._builtins:
                return self._builtins[name]
            raise ImportError(f"there is no builtin {name!r}")
        if module == _SPECIAL_MODULE and name in _SPECIAL:
            return _SPECIAL[name]
        try:
            return getattr(self.load(module), name)
        except AttributeError as error:
            raise ImportError(f"cannot import {name!r} from {module!r}: {error}") from None

"""Definitions -> a Python package that editors and type checkers read, and the package on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.stubs import (
    DomainStubs,
    Names,
    StubParameter,
    definition_imports,
    render_facts,
    render_imports,
    render_signature,
    stub_parameters,
)
from langchain_ptc.catalog.text import docstring, one_line, paragraphs
from langchain_ptc.catalog.types import references

HEADER = '"""Stubs written by langchain-ptc: for editors and type checkers, not to be run."""'
"""The first line of every file of the package; distinguishes our files from others."""
MAX_STEM_BYTES = 120
"""Length of a file's name before its ending, in UTF-8; file systems take 255."""
_OMITTED = "# The tool has a default of its own.\n_OMITTED: Any = ..."


def render_package(domains: Sequence[DomainStubs]) -> dict[str, str]:
    """Return the files of the package `tools`: their source, by path with `/`."""
    files: dict[str, str] = {}
    folders = [domain.domain for domain in domains if domain.domain is not None]
    exported = [(".", name) for name in folders]
    for domain in domains:
        if domain.domain is None:
            exported += _render_domain(domain, "tools", files, taken=folders)
        else:
            folder = f"tools/{domain.domain}"
            files[f"{folder}/__init__.py"] = _render_init(_render_domain(domain, folder, files))
    files["tools/__init__.py"] = _render_init(exported)
    return dict(sorted(files.items()))


def _render_domain(
    domain: DomainStubs, folder: str, files: dict[str, str], *, taken: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Add the modules of a domain to `files` and return what it exports: modules and names."""
    exported: list[tuple[str, str]] = []
    if domain.records:
        imports = "\n".join(render_imports(domain.record_imports()))
        parts = [HEADER, imports, *domain.render_records(describe=one_line)]
        files[f"{folder}/_types.py"] = "\n\n".join(parts) + "\n"
        exported.extend(("._types", name) for name in domain.records)
    stems = {name.casefold() for name in taken}
    for definition in domain.definitions:
        stem = definition.name.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
        while stem.casefold() in stems:  # some file systems do not distinguish `Get` from `get`
            stem += "_"
        stems.add(stem.casefold())
        files[f"{folder}/{stem}.py"] = _render_module(definition, domain.names[definition.name])
        exported.append((f".{stem}", definition.name))
    return exported


def _render_init(exported: Sequence[tuple[str, str]]) -> str:
    ordered = sorted(exported)
    lines = "\n".join(f"from {module} import {name} as {name}" for module, name in ordered)
    listed = "".join(f"    {name!r},\n" for _, name in ordered)
    return "\n\n".join([HEADER, lines, f"__all__ = [\n{listed}]"] if ordered else [HEADER]) + "\n"


def _render_module(definition: ToolDefinition, names: Names) -> str:
    parameters = stub_parameters(definition, names)
    records = {names[key] for tree in definition.types for key in references(tree)}
    hidden = any(parameter.default == "..." for parameter in parameters)
    imports = render_imports(definition_imports(definition) | ({"Any"} if hidden else set()))
    local = f"from ._types import {', '.join(sorted(records))}" if records else ""
    head = render_signature(definition, names, parameters, omitted="_OMITTED")
    about = _render_docstring(definition, parameters)
    doc = f"    {docstring(about, indent='    ')}\n" if about else ""
    # A body of `...` would claim to return None, which a type checker refuses for other types.
    body = f'    raise NotImplementedError("{definition.qualified_name} runs in the sandbox")'
    parts = [HEADER, "\n".join(imports), local, _OMITTED if hidden else "", f"{head}\n{doc}{body}"]
    return "\n\n".join(filter(None, parts)) + "\n"


def _render_docstring(definition: ToolDefinition, parameters: Sequence[StubParameter]) -> str:
    rows = []
    for parameter in parameters:
        about = parameter.comment(one_line).removeprefix("  # ")
        if about:
            rows.append(f"    {parameter.name}: {about}")
    blocks = [
        paragraphs(definition.description),
        "\n".join(["Args:", *rows]) if rows else "",
        *render_facts(definition),
    ]
    return "\n\n".join(filter(None, blocks))


def write_package(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write the files of the package `tools` into `directory` and return their paths.

    Files that an earlier call wrote there and that are no longer of the package are deleted; files
    of others are left alone.

    Raises:
        OSError: A file cannot be written or deleted.
    """
    written = []
    for name, source in files.items():
        path = directory.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        written.append(path)
    for path in [*directory.glob("tools/*.py"), *directory.glob("tools/*/*.py")]:
        if path not in written and _is_ours(path):
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    return written


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER) + 2).split(b"\n")[0].rstrip() == HEADER.encode()

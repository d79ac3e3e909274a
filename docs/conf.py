"""How the site is made of these pages, the notebooks and the docstrings. Build it with `make docs`."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from docutils.utils import unescape
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import langchain_ptc
import langchain_ptc.display
import langchain_ptc.testing

project = "langchain-ptc"
author = "The langchain-ptc authors"
project_copyright = "2026, MIT licence"
version = release = version_of(project)

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_extra_path = ["llms.txt"]
nitpicky = True
nitpick_ignore_regex = [
    # Names of other packages. Their inventories would have to be fetched, and a build fetches nothing.
    ("py:.*", r"(?!langchain_ptc\b).*"),
]
nitpick_ignore = [
    # Types of our own that signatures name and nobody constructs.
    ("py:class", "langchain_ptc.catalog.agents.AgentTool"),
    ("py:class", "langchain_ptc.catalog.definition.T"),
    ("py:class", "langchain_ptc.display.html.RunView"),
    ("py:class", "langchain_ptc.run.approvals.ApprovalMiddleware"),
    ("py:class", "langchain_ptc.run.budgets.CallLimit"),
    ("py:class", "langchain_ptc.run.budgets.Usage"),
    ("py:class", "langchain_ptc.executor.Execution"),
    ("py:class", "langchain_ptc.run.policy_state.Clock"),
    ("py:class", "langchain_ptc.run.budgets.Budgets"),
    ("py:class", "langchain_ptc.sandbox.host.inprocess.InProcessSession"),
    ("py:class", "langchain_ptc.sandbox.host.process.WorkerSession"),
    ("py:class", "langchain_ptc.sandbox.host.workers.Worker"),
    ("py:class", "langchain_ptc.sandbox.remote.sockets.Connector"),
    ("py:class", "langchain_ptc.sandbox.remote.pool.RemoteWorker"),
    ("py:class", "langchain_ptc.sandbox.remote.sandbox.ReplayingSession"),
]

# --- pages and notebooks ------------------------------------------------------

_HERE = Path(__file__).parent


def copy_notebooks(source: Path, copies: Path) -> None:
    """Copy the notebooks to where Sphinx reads, which is one folder, and drop those that have gone.

    A symbolic link would do, but a build of the package that follows it leaves out the notebooks.
    """
    copies.mkdir(exist_ok=True)
    wanted = {path.name: path.read_bytes() for path in source.glob("*.ipynb")}
    for copy in copies.glob("*.ipynb"):
        if copy.name not in wanted:
            copy.unlink()
        elif copy.read_bytes() == wanted[copy.name]:
            del wanted[copy.name]
    for name, content in wanted.items():
        (copies / name).write_bytes(content)


copy_notebooks(_HERE.parent / "notebooks", _HERE / "notebooks")
myst_heading_anchors = 3
nb_execution_mode = "off"  # what they show is what they printed when the tests ran them
nb_merge_streams = True
highlight_language = "none"
pygments_dark_style = "a11y-high-contrast-dark"  # the light one is Furo's own choice

# --- docstrings ---------------------------------------------------------------

autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_type_aliases = {"TypeTree": "langchain_ptc.catalog.types.TypeTree"}
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Source", "notes_style")]
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# --- the look -----------------------------------------------------------------

html_theme = "furo"
html_title = "langchain-ptc"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

# --- what Sphinx does not do by itself ----------------------------------------

_HOMES = {
    name: f"{module.__name__}.{name}"
    for module in (langchain_ptc, langchain_ptc.display, langchain_ptc.testing)
    for name in module.__all__
}
"""Where a public name is documented, whatever file it is defined in."""

_FENCE = re.compile(r"^(\s*)```(\w*)\s*$")
_CODE_WITH_ENDING = re.compile(r"(?<!`)(`[^`\n]+`)(?=\w)")
_LINK_UP = re.compile(r"\[([^\[\]]*)\]\(\.\./([^()\s#]+)(#[^()\s]*)?\)")
_TOP_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def mend_links(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Let links that hold in the repository hold in the site.

    Notebooks are a folder of the pages here, and the pages at the top of the repository are among
    the others. Other files (a benchmark, a test) are not on the site: those are named and not linked.
    """
    in_folder, _, _ = docname.rpartition("/")
    if in_folder not in ("", "notebooks"):
        return
    up = "../" if in_folder else ""

    def mend(link: re.Match[str]) -> str:
        text, file, place = link[1], link[2], link[3] or ""
        if file.startswith("docs/"):
            return f"[{text}]({up}{file.removeprefix('docs/')}{place})"
        if file.startswith("notebooks/"):
            return f"[{text}]({up}{file}{place})"
        return f"[{text}]({up}{_TOP_PAGES[file]}{place})" if file in _TOP_PAGES else text

    source[0] = _LINK_UP.sub(mend, source[0])


def read_markdown(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Turn what is Markdown in a docstring into reStructuredText: fenced blocks, code with an s."""
    written: list[str] = []
    margin: str | None = None
    for line in lines:
        fence = _FENCE.match(line)
        if fence and margin is None:
            margin = fence[1]
            written += [f"{margin}.. code-block:: {fence[2] or 'none'}", ""]
        elif fence:
            margin = None
            written.append("")
        elif margin is None:
            written.append(_CODE_WITH_ENDING.sub(r"\1\\ ", line))
        else:
            written.append(f"   {line}")
    if written and what in ("attribute", "data", "property"):
        written[0] = f": {written[0]}"  # or napoleon takes what is before a colon for a type
    lines[:] = written


def code_role(
    _role: str, rawtext: str, text: str, _line: int, inliner: Inliner, *_: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Show single backticks as code, with a link if it is a name of this package."""
    code = unescape(text)
    shown = nodes.literal(rawtext, code, classes=["code"])
    name, _, attribute = code.partition(".")
    if name not in _HOMES:
        return [shown], []
    env = inliner.document.settings.env
    target = f"{_HOMES[name]}.{attribute}" if attribute else _HOMES[name]
    reference = pending_xref(
        rawtext,
        shown,
        refdoc=env.docname,
        refdomain="py",
        reftype="obj",
        reftarget=target,
        refexplicit=False,
        refwarn=True,
    )
    return [reference], []


def find_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.reference | None:
    """Find a class by the place where it is documented, not by the file it is defined in."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    if name not in _HOMES or node["reftarget"] == _HOMES[name]:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", _HOMES[name], node, shown)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the above."""
    app.add_role("docstring-code", code_role)
    app.connect("source-read", mend_links)
    app.connect("autodoc-process-docstring", read_markdown, priority=100)  # before napoleon
    app.connect("missing-reference", find_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


default_role = "docstring-code"

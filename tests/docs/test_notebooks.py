"""Every notebook runs from its first cell to its last in a clean kernel, and shows what it stores."""

import contextlib
import io
import os
import re
import shutil

import pytest

from tests.support import ROOT
from tests.support.waiting import SECONDS

nbformat = pytest.importorskip("nbformat", reason="needs the extra `notebook`")
nbclient = pytest.importorskip("nbclient", reason="needs the extra `notebook`")

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDED = ("ipykernel", "langchain", "langgraph.checkpoint.sqlite", "mcp", "networkx", "pandas")
HOMES = (
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "XDG_CACHE_HOME",
)


def seen(output):
    """What a reader sees of an output and must see again.

    Of a record that shows itself that is how it ended, its code and its output: how long its calls
    took, and which of them overlapped, is another in each run. With another version of a library, a picture
    has another size.
    """
    return re.sub(r"(\[(?:not )?shown(?: \d+)?: [\w/]+)[^\]]*", r"\1", _seen(output))


def _seen(output):
    if "text" in output:
        return output.text
    if "text/html" not in output.data:
        return output.data["text/plain"]
    html = re.sub(r"<style>.*?</style>", "", output.data["text/html"], flags=re.DOTALL)
    stable = re.findall(r'<pre.*?</pre>|<span class="ptc-status.*?</span>', html, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", "", "\n".join(stable) or html)


def texts(notebook):
    """What each code cell shows."""
    return ["".join(map(seen, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    """One of the notebooks, as it is stored."""
    return nbformat.read(request.param, as_version=4)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("default")  # of the Jupyter packages in this process, not of ours
def test_a_notebook_runs_in_a_clean_kernel_and_shows_what_it_stores(
    notebook, tmp_path, monkeypatch
):
    """A reader who runs the notebook sees what the page shows; the home folder is not touched."""
    for module in NEEDED:
        pytest.importorskip(module, reason="needs the extra `notebook`")
    if "mcp_server_git" in str(notebook) and shutil.which("git") is None:
        pytest.skip("needs git")
    for name in HOMES:
        monkeypatch.setenv(name, str(tmp_path / name))
    # A reader who has a model file sees that model answer; what is stored is without one.
    monkeypatch.delenv("LANGCHAIN_PTC_GGUF", raising=False)
    # As in a checkout: the kernel starts in the folder of the notebooks, and leaves nothing there.
    checkout = tmp_path / "checkout"
    (checkout / "notebooks").mkdir(parents=True)
    for name in ("examples", "benchmarks"):
        (checkout / name).symlink_to(ROOT / name)
    stored = texts(notebook)
    client = nbclient.NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(checkout / "notebooks")}},
    )
    # ipykernel has no descriptor for stderr under pytest, which processes of its own need.
    client.execute(env={n: v for n, v in os.environ.items() if n != "PYTEST_CURRENT_TEST"})
    assert texts(notebook) == stored


def test_a_notebook_is_stored_as_it_ran(notebook):
    """Cells were run in order, none failed or wrote to stderr, and no path of a machine is shown."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert all(output.output_type != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    assert not re.search(r"/(home|root|tmp|Users|work)/", str(notebook))


def test_a_notebook_says_how_to_use_a_hosted_model_and_that_none_is_needed(notebook):
    """A reader without a key may run it as it is; one with a key finds what to change."""
    told = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    first = " ".join(cell.source for cell in notebook.cells[:2])
    assert "API key" in first
    assert "pip install 'langchain-ptc[notebook]'" in first
    assert "hosted model" in " ".join(told.split()).lower()
    assert re.search(r"anthropic:|openai:", str(notebook))


def test_what_a_notebook_names_is_there(notebook):
    """Links to other notebooks, pages of the docs and modules of the benchmarks lead somewhere."""
    told = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = [ROOT / "notebooks" / name for name in re.findall(r"\]\(([^)]+\.ipynb)\)", told)]
    pages = [ROOT / name for name in re.findall(r"\bdocs/[\w-]+\.md", told)]
    modules = [
        ROOT / f"{name.replace('.', '/')}.py" for name in re.findall(r"-m (benchmarks\.\w+)", told)
    ]
    assert links + pages + modules
    assert all(path.is_file() for path in links + pages + modules)


def test_records_show_themselves_in_the_first_notebook():
    """What a person sees first is a picture of what the code did, not only its text."""
    first = nbformat.read(NOTEBOOKS[0], as_version=4)
    outputs = [output for cell in first.cells for output in cell.get("outputs", ())]
    assert any("ptc" in output.get("data", {}).get("text/html", "") for output in outputs)


def test_the_quickstart_page_runs_and_shows_what_it_says():
    """The blocks of docs/quickstart.md run one after another; each `#>` line is what is printed."""
    pytest.importorskip("langchain", reason="needs the extra `langchain`")
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    # Tools read their types from the module that they are defined in.
    namespace = {"__name__": "quickstart"}

    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "quickstart.md", "exec"), namespace)
        told = [line[2:].removeprefix(" ") for line in block.splitlines() if line[:2] == "#>"]
        assert printed.getvalue().splitlines() == told, block

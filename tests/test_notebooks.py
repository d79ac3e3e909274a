"""Every notebook runs from its first cell to its last in a clean kernel, and shows what it stores."""

import contextlib
import io
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra `notebook`")
nbclient = pytest.importorskip("nbclient", reason="needs the extra `notebook`")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def texts(notebook):
    """What each code cell shows, as text."""
    return [
        "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


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
    pytest.importorskip("langchain", reason="needs the extra `langchain`")
    pytest.importorskip("ipykernel", reason="needs the extra `notebook`")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    stored = texts(notebook)
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
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

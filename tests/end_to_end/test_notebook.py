"""The notebook runs as it stands: results show themselves, and progress is seen in one place of the cell."""

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from children import HANG_S

from tstitch_search import LookupTable

ROOT = Path(__file__).parents[2]
# Those of the client's event loop.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def run(notebook: Any, folder: Path) -> list[Any]:
    """The code cells after a kernel ran them in this folder."""
    settings = {"resources": {"metadata": {"path": str(folder)}}, "timeout": HANG_S, "kernel_name": "python3"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        nbclient.NotebookClient(notebook, **settings).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def html_of(cell: Any) -> str:
    return "".join(output["data"].get("text/html", "") for output in cell.outputs if "data" in output)


def test_the_notebook_shows_its_run_and_its_table(tmp_path: Path) -> None:
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    cells = run(nbformat.read(ROOT / "examples" / "front.ipynb", as_version=4), tmp_path)
    *_, done, shown, pick, rows = cells
    table = LookupTable.read(tmp_path / "front-of-ldm" / "lookup.json")
    for cell in (done, shown):
        assert all(str(entry.allocation) in html_of(cell) for entry in table.entries)
    assert "Plotly.newPlot" in html_of(done)
    assert table.provenance["headline"].split(",")[0] in html_of(shown)
    assert str(table.pick(budget_s=4).allocation.segments[0].denoiser) in pick.outputs[0]["data"]["text/plain"]
    assert str(table.entries[0].allocation) in rows.outputs[0]["data"]["text/plain"]
    assert "<pre>" not in html_of(done)  # progress has gone when the run is over


PROGRESS = """
from tstitch_search.display import shown
block = shown(True)
progress = block.__enter__()
progress.stage("search")
for _ in range(100):
    progress.tick()
"""


def test_progress_is_one_place_that_changes_and_goes(tmp_path: Path) -> None:
    sources = [PROGRESS, "progress.note('worth keeping')", "block.__exit__(None, None, None)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources[:2]])
    meanwhile, note = run(notebook, tmp_path)
    (output,) = meanwhile.outputs
    assert "searching" in output["data"]["text/html"]
    assert note.outputs[0]["text"] == "worth keeping\n"
    whole = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    (output,) = run(whole, tmp_path)[0].outputs
    assert output["data"]["text/html"] == ""

"""One self-contained HTML page about one study, from its lookup table, ledger and sample images alone."""

from pathlib import Path

from tstitch_search.files import write_whole
from tstitch_search.report.page import page
from tstitch_search.report.reading import read_record


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path; it opens without a network.

    Raises ConfigError when `lookup.json` or `ledger.jsonl` is missing or damaged.
    """
    path = run_folder / "report.html"
    write_whole(path, page(read_record(run_folder), run_folder / "images").encode())
    return path

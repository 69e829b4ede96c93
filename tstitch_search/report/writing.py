"""Writes the page: the whole one where there is a table, else how far the run is."""

from pathlib import Path

from tstitch_search.files import write_whole
from tstitch_search.report.page import page
from tstitch_search.report.reading import read_record
from tstitch_search.report.sections.unfinished import unfinished_page


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path; it opens without a network.

    Of a run that has no table yet it tells how far that is. Raises ConfigError when `lookup.json` of a finished run or
    `ledger.jsonl` is missing or damaged.
    """
    path = run_folder / "report.html"
    if (run_folder / "lookup.json").exists():
        content = page(read_record(run_folder), run_folder / "images")
    else:
        content = unfinished_page(run_folder)
    write_whole(path, content.encode())
    return path

"""CSV: a row for each step. Readers: spreadsheets, and samplers that are told which denoiser takes which step."""

import csv
import io

from tstitch_search.tasks.export.source import Source

COLUMNS = ("allocation", "step", "denoiser", "timestep", "sigma")


def as_csv(source: Source) -> str:
    """A row for each step of each entry."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry in source.entries:
        for i, (name, step) in enumerate(zip(entry.allocation.by_step, source.steps(entry), strict=True)):
            rows.writerow((str(entry.allocation), i, name, step.timestep, step.sigma))
    return written.getvalue()

"""The CSV files of `analyze` in a run folder: written by `tasks/analysis/`, read by the report and by people."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tstitch_search.errors import ConfigError
from tstitch_search.files import write_whole

Value: TypeAlias = str | int | float

FOLDER = "analysis"
SIMILARITY = ("first", "second", "step", "cosine", "cosine_sd", "n_images")
FREQUENCY = ("denoiser", "of", "step", "band_from", "band_to", "energy", "energy_sd", "n_images")
# Of every analysis that measures allocations: `setting` is what was varied.
MEASURED = (
    "setting",
    "allocation",
    "n_steps",
    "small_share",
    "latency_s_predicted",
    "metric",
    "n_images",
    "quality",
    "quality_se",
    "difference",
    "difference_se",
)
# In the order in which they are measured and shown.
COLUMNS = {
    "similarity": SIMILARITY,
    "frequency": FREQUENCY,
    "members": MEASURED,
    "baselines": MEASURED,
    "steps": MEASURED,
    "step-reduction": MEASURED,
    "solvers": MEASURED,
    "guidance": MEASURED,
    "growing-n": MEASURED,
}
# The columns that hold no numbers.
TEXT = ("first", "second", "denoiser", "of", "setting", "allocation", "metric")
PROBES = ("similarity", "frequency")


@dataclass(frozen=True)
class AnalysisTable:
    """One analysis: rows of as many values as `COLUMNS[name]`."""

    name: str
    rows: tuple[tuple[Value, ...], ...]

    def records(self) -> list[dict[str, Value]]:
        """The rows by the names of their columns."""
        return [dict(zip(COLUMNS[self.name], row, strict=True)) for row in self.rows]

    def file_in(self, run_folder: Path) -> Path:
        """Where it lies: `analysis/NAME.csv`."""
        return run_folder / FOLDER / f"{self.name}.csv"

    def write(self, run_folder: Path) -> None:
        """Write it into the run folder."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([COLUMNS[self.name], *self.rows])
        write_whole(self.file_in(run_folder), text.getvalue().encode())


def read_tables(run_folder: Path) -> dict[str, AnalysisTable]:
    """The analyses that the run folder holds, by name. Raises ConfigError for a damaged file."""
    paths = {name: AnalysisTable(name, ()).file_in(run_folder) for name in COLUMNS}
    return {name: _read(name, path) for name, path in paths.items() if path.exists()}


def _read(name: str, path: Path) -> AnalysisTable:
    hint = "delete it, or run `tstitch-search analyze` again"
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint=hint) from error
    if tuple(header) != COLUMNS[name] or any(len(row) != len(header) for row in rows):
        raise ConfigError(f"{path}: expected the columns {', '.join(COLUMNS[name])}", hint=hint)
    try:
        return AnalysisTable(name, tuple(tuple(map(_value, header, row)) for row in rows))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", hint=hint) from error


def _value(column: str, text: str) -> Value:
    """What is in a cell: a number, unless the column is one of text. Raises ValueError for no number."""
    if column in TEXT:
        return text
    return int(text) if text.isdecimal() else float(text)

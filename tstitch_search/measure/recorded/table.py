"""Past measurements as a CSV: one row per allocation, checked at the door. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import allocation_in
from tstitch_search.config.csv_rows import number, read_rows
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.latency_model import Parts
from tstitch_search.quality.metrics import METRICS
from tstitch_search.quality.reference import file_sha256

NEEDED = ("allocation", "latency_s", "fid")
# Other columns a table may have: errors of the FID, and what is kept for people.
FURTHER = ("fid_se", "n_images", "note", *(name for name in METRICS if name != "fid"))
# Step costs are refused when times are off by more than this share of them, root mean square.
MAX_RESIDUAL = 0.1


@dataclass(frozen=True)
class Row:
    """What was recorded of one allocation: seconds for a batch, FID, and its standard error over `n_images` images."""

    latency_s: float
    fid: float
    fid_se: float | None = None
    n_images: int | None = None


@dataclass(frozen=True)
class RecordedTable:
    """The rows of the CSV at `path` by allocation, `sha256` that of the file."""

    path: Path
    sha256: str
    rows: Mapping[Allocation, Row]

    def require(self, allocations: Sequence[Allocation]) -> None:
        """Nothing, when all of them are recorded. Raises ConfigError naming those that are not."""
        if missing := [str(a) for a in allocations if a not in self.rows]:
            raise ConfigError(
                f"{self.path} lacks {', '.join(missing)}, which every study measures: each denoiser alone",
                hint="add the rows, or take a search space without them",
            )

    def noise_per_image(self) -> float:
        """The variance of FID that one image brings, as a share of FID squared: fid_se^2 n_images / fid^2.

        The median over the rows that say so, 0 when none does.
        """
        known = [r for r in self.rows.values() if r.fid_se is not None and r.n_images is not None]
        found = [(r.fid_se / r.fid) ** 2 * r.n_images for r in known if r.fid_se is not None and r.n_images is not None]
        return float(np.median(found)) if found else 0.0

    def parts(self, denoisers: Sequence[str]) -> Parts:
        """Seconds per step of each denoiser, c_k of Eq. 7, by least squares on shares of the recorded times.

        Where all allocations have the same number of steps, time outside the steps (c_0) cannot be told from time that
        every step takes: it is part of the step costs, and the predictions are the same. Otherwise c_0 is fitted too,
        unless it comes out negative. Raises ConfigError saying the residual when the parts do not explain the times.
        """
        seconds = np.array([row.latency_s for row in self.rows.values()])
        steps = np.array([[a.steps.get(name, 0) for name in denoisers] for a in self.rows], dtype=float)
        fixed_s = 0.0
        if len({a.n_steps for a in self.rows}) > 1:
            fixed_s = max(0.0, float(_relative_fit(np.column_stack([steps, np.ones(len(seconds))]), seconds)[-1]))
        costs = _relative_fit(steps, seconds, fixed_s)
        off = (steps @ costs + fixed_s) / seconds - 1
        residual = float(np.sqrt((off**2).mean()))
        if residual > MAX_RESIDUAL or (costs <= 0).any():
            worst = list(self.rows)[int(np.abs(off).argmax())]
            found = ", ".join(f"{name} {cost:.3g} s" for name, cost in zip(denoisers, costs, strict=True))
            raise ConfigError(
                f"{self.path}: step times do not explain the recorded times: the best ones ({found}) are off by "
                f"{residual:.0%} (root mean square), most for {worst}; expected at most {MAX_RESIDUAL:.0%}",
                hint="check latency_s: seconds for one batch, all on one device and with the same batch size",
            )
        step_s = dict(zip(denoisers, map(float, costs), strict=True))
        return Parts(step_s, switch_s=dict.fromkeys(denoisers, 0.0), fixed_s=fixed_s)


def _relative_fit(parts: np.ndarray, seconds: np.ndarray, fixed_s: float = 0.0) -> np.ndarray:
    """Costs (d,) of `parts` (n, d) that with `fixed_s` explain `seconds` (n,), least squares of the relative errors."""
    costs: np.ndarray = np.linalg.lstsq(parts / seconds[:, None], 1 - fixed_s / seconds, rcond=None)[0]
    return costs


def read_table(path: Path, space: SpaceConfig) -> RecordedTable:
    """The table at `path` of allocations of the space's denoisers.

    Raises EnvironmentProblem when it cannot be read, ConfigError naming file and line for what is no measurement.
    """
    rows: dict[Allocation, Row] = {}

    def parse(fields: Mapping[str, str]) -> None:
        allocation = allocation_in(space, fields["allocation"])
        if allocation in rows:
            raise ConfigError(f"{allocation} is there twice, expected each allocation once")
        rows[allocation] = _row(fields)

    read_rows(path, "measure.recorded", NEEDED, FURTHER, parse)
    return RecordedTable(path, file_sha256(str(path), path), rows)


def _row(fields: Mapping[str, str]) -> Row:
    n_images = number(fields, "n_images", lowest=1) if fields.get("n_images") else None
    return Row(
        latency_s=number(fields, "latency_s"),
        fid=number(fields, "fid"),
        fid_se=number(fields, "fid_se", lowest=0) if fields.get("fid_se") else None,
        n_images=None if n_images is None else round(n_images),
    )

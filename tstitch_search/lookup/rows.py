"""A table as flat rows, for data frames."""

from collections.abc import Sequence
from typing import Any

from tstitch_search.lookup.entry import Candidate
from tstitch_search.lookup.objective import Objective

_NESTED = ("steps", "fractions", "metrics", "latency_by_point", "by_group", "quantiles", "timesteps", "sigmas")


def rows_of(entries: Sequence[Candidate], others: Sequence[Candidate], objective: Objective) -> list[dict[str, Any]]:
    """A row for each entry and then for each of the others; all have the same keys, in the same order."""
    rows = [
        {**_row(candidate, objective), "on_front": is_on_front}
        for measured, is_on_front in ((entries, True), (others, False))
        for candidate in measured
    ]
    empty = {key: 0 if key.startswith("steps_") else None for row in rows for key in row}
    return [{**empty, **row} for row in rows]


def _row(candidate: Candidate, objective: Objective) -> dict[str, Any]:
    row = {key: value for key, value in candidate.to_json(objective).items() if key not in _NESTED}
    row |= {f"steps_{name}": n for name, n in candidate.allocation.steps.items()}
    row |= {f"{objective.name}_quantile_{share}": value for share, value in candidate.quantiles.items()}
    for name, metric in candidate.metrics.items():
        row |= {name: metric.value, f"{name}_se": metric.se, f"{name}_difference": metric.difference}
    return row | {f"latency_s_{point}": time.latency_s for point, time in candidate.latency_by_point.items()}

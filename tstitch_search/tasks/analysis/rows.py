"""A row of an analysis that measures allocations, as `report/analysis_tables.py` lists its columns."""

from tstitch_search.allocation import Allocation
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.report.analysis_tables import Value


def row_of(
    setting: str, allocation: Allocation, largest: str, latency_s: float, metric: str, found: QualityEstimate
) -> tuple[Value, ...]:
    """A row of the columns MEASURED; `difference` is to the largest denoiser alone at the same setting."""
    small_share = 1 - allocation.fractions.get(largest, 0.0)
    about = (setting, str(allocation), allocation.n_steps, short(small_share), short(latency_s), metric)
    values = (found.value, found.se, found.difference, found.difference_se)
    return (*about, found.n_images, *map(short, values))


def short(value: float) -> float:
    """Six significant digits, which is more than is known."""
    return float(f"{value:.6g}")

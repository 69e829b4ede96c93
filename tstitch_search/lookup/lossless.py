"""Where no faster entry is shown to lose nothing: which one could be, and what showing it would take."""

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist
from typing import TYPE_CHECKING

from tstitch_search.allocation import Allocation

if TYPE_CHECKING:
    from tstitch_search.lookup.table import LookupTable

# Blocks of the jackknife; and what was not shown takes so many times its images at least.
N_BLOCKS, LEAST = 20, 1.1


@dataclass(frozen=True)
class Promising:
    """An entry whose loss, as measured, is below the margin. `n_more`: so many more images could show it.

    `seconds`: that they and the anchor's take on one device of the table's; None where that is not known.
    """

    allocation: Allocation
    n_more: int
    seconds: float | None

    def __str__(self) -> str:
        time = "" if self.seconds is None else f" ({_duration(self.seconds)})"
        return f"about {self.n_more:,} more images{time} could show it of {self.allocation}"


def promising(table: "LookupTable") -> Promising | None:
    """The entry, faster than the anchor, of which the fewest further images could show that it loses nothing.

    None where none could be, or one is shown already.
    """
    anchor_s, batch = table.provenance.get("largest_latency_s"), table.operating_points[0].batch_size
    faster = [e for e in table.entries if e.allocation != table.anchor and not (anchor_s and e.latency_s >= anchor_s)]
    if any(e.lossless for e in faster):
        return None
    surest = _student(1 - 0.05 / max(len(faster), 1))
    found = []
    for entry in faster:
        loss, se = table.objective.loss(entry.quality_difference or 0.0), entry.quality_difference_se
        room = _margin(table, entry.quality - (entry.quality_difference or 0.0)) - loss
        if se and room > 0 and not entry.guard_lost:
            n_needed = max(entry.n_images * (surest * se / room) ** 2, LEAST * entry.n_images)
            n_more = _round_up(ceil(n_needed) - entry.n_images)
            seconds = n_more / batch * (entry.latency_s + anchor_s) if anchor_s else None
            found.append(Promising(entry.allocation, n_more, seconds))
    return min(found, key=lambda p: p.n_more, default=None)


def _student(level: float) -> float:
    """The quantile of Student's t of the jackknife's blocks (Abramowitz and Stegun, 26.7.5, its first term)."""
    z, freedom = NormalDist().inv_cdf(level), N_BLOCKS - 1
    return z + (z**3 + z) / (4 * freedom)


def _margin(table: "LookupTable", anchor: float) -> float:
    """The loss that counts as none, in the objective's own unit; 0 where the table does not say."""
    own, share = table.provenance.get("margin"), table.provenance.get("lossless_margin", 0.0)
    return float(share * anchor if own is None else own)


def _round_up(n: int) -> int:
    """In two digits."""
    unit: int = 10 ** max(len(str(n)) - 2, 0)
    return -(-n // unit) * unit


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""Where no faster entry is shown to lose nothing: which one could be, and what showing it would take."""

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist
from typing import TYPE_CHECKING

from tstitch_search.allocation import Allocation

if TYPE_CHECKING:
    from tstitch_search.lookup.table import LookupTable


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
    """The fastest entry, faster than the anchor, that more images could show to lose nothing; None without one."""
    surest = NormalDist().inv_cdf(1 - 0.05 / len(table.entries))
    anchor_s = table.provenance.get("largest_latency_s")
    for entry in table.entries:
        if entry.allocation == table.anchor or entry.guard_lost or (anchor_s and entry.latency_s >= anchor_s):
            continue
        loss, se = table.objective.loss(entry.quality_difference or 0.0), entry.quality_difference_se
        room = _margin(table, entry.quality - (entry.quality_difference or 0.0)) - loss
        n_needed = ceil(entry.n_images * (surest * se / room) ** 2) if se and room > 0 else 0
        if n_needed > entry.n_images:
            n_more, batch = _round_up(n_needed - entry.n_images), table.operating_points[0].batch_size
            seconds = n_more / batch * (entry.latency_s + anchor_s) if anchor_s else None
            return Promising(entry.allocation, n_more, seconds)
    return None


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

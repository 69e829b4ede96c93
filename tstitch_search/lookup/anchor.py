"""What a table says of its anchor, the allocation that all others are held against."""

from typing import TYPE_CHECKING

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError

if TYPE_CHECKING:
    from tstitch_search.lookup.table import LookupTable


def anchor_of(table: "LookupTable") -> Allocation | None:
    """The anchor; of an older table the largest denoiser alone. None where it does not say which."""
    if isinstance(named := table.provenance.get("anchor"), str):
        try:
            return Allocation.parse(named)
        except (ConfigError, ValueError):
            return None
    measured = [c.allocation for c in (*table.entries, *table.candidates)]
    largest, n_steps = table.provenance.get("largest"), table.provenance.get("n_steps")
    if not any(largest in allocation.steps for allocation in measured):
        return None
    if not isinstance(n_steps, int) or n_steps < 1:
        n_steps = max(a.n_steps for a in measured)
    return Allocation.of([(str(largest), n_steps)])


def name_of_anchor(table: "LookupTable") -> str:
    """What the anchor is called beside a number: `XL`, or `S*4-XL*16`."""
    anchor, largest = table.anchor, table.provenance.get("largest")
    if anchor is None:
        return "the anchor" if largest is None else str(largest)
    is_alone = anchor == Allocation.of([(str(largest), anchor.n_steps)])
    has_all_steps = table.provenance.get("n_steps", anchor.n_steps) == anchor.n_steps
    return str(largest) if is_alone and has_all_steps else str(anchor)


def quality_of_anchor(table: "LookupTable") -> float | None:
    """How good the anchor is, if it is known: by the entry that is most like it."""
    known = [(abs(e.quality_difference), e) for e in table.entries if e.quality_difference is not None]
    if not known:
        return None
    _, nearest = min(known, key=lambda pair: pair[0])
    return nearest.quality - (nearest.quality_difference or 0.0)


def value_at_loss(table: "LookupTable", share: float) -> float:
    """The quality that is worse than the anchor's by this share. Raises ConfigError where there is no such share."""
    if (value := table.anchor_quality) is None:
        raise ConfigError("the table does not say how good the anchor is", hint="give --limit")
    if value <= 0:
        raise ConfigError(
            f"the {table.objective.label} of the anchor is {value:g}, of which there is no share", hint="give --limit"
        )
    return value - share * abs(value) if table.objective.higher_is_better else value + share * abs(value)

"""What the numbers say at a glance: the headline, the figures at the top, the verdict on an entry."""

from tstitch_search.lookup import Candidate, LookupEntry
from tstitch_search.report.headline import bend
from tstitch_search.report.notes import guard_name
from tstitch_search.report.record import Record
from tstitch_search.report.wording import DASH, duration, named, quality_text, times_faster

YES = "yes"


def headline(record: Record) -> str:
    """The run's own sentence to act on; a table made elsewhere may have none."""
    written = record.table.provenance.get("headline")
    n = len(record.table.entries)
    return written if isinstance(written, str) and written else f"{n} allocations are on the confirmed front."


def fastest_lossless(record: Record) -> LookupEntry | None:
    """The fastest entry, other than the anchor itself, that was shown to be as good."""
    return next(
        (e for e in record.table.entries if e.lossless and not e.guard_lost and e.allocation != record.anchor),
        None,
    )


def tiles(record: Record) -> list[tuple[str, str]]:
    """The figures at the top of the page as (label, value)."""
    space = record.table.provenance.get("space_size")
    best = record.table.entries[-1]
    of_all = f" of {space}" if isinstance(space, int) else ""
    found = [
        ("entries on the front", str(len(record.table.entries))),
        ("allocations measured", f"{len(record.trials)}{of_all}"),
        (f"best {named(record.label, best.n_images)}", quality_text(best)),
        ("device time in all", duration(sum(cost.seconds for cost in record.costs))),
    ]
    fastest = fastest_lossless(record)
    speed_up = record.speed_up(fastest) if fastest else None
    if speed_up:
        return [("speed-up at no loss", times_faster(speed_up)), *found]
    trade = bend(record.table)
    best_trade = record.speed_up(trade) if trade else None
    return [(f"speed-up with {trade.allocation}", times_faster(best_trade)), *found] if trade and best_trade else found


def verdict(record: Record, entry: Candidate) -> str:
    """`yes`, `not shown`, `loses IS`; a dash for the anchor, which the others are held against."""
    if entry.allocation == record.anchor:
        return DASH
    if entry.guard_lost:
        return f"loses {guard_name(record.table)}"
    return YES if entry.lossless else "not shown"

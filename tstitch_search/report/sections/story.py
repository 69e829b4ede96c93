"""What the numbers say at a glance: the headline, the figures at the top, the verdict on an entry."""

from tstitch_search.lookup import Candidate, LookupEntry
from tstitch_search.report.headline import bend
from tstitch_search.report.notes import guard_name, speed_up_error
from tstitch_search.report.record import Record
from tstitch_search.report.wording import DASH, TIMES, duration, named, quality_text

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
    of_all = f" of {space}" if isinstance(space, int) else ""
    return [
        *_answer(record),
        ("entries on the front", str(len(record.table.entries))),
        ("allocations measured", f"{len(record.trials)}{of_all}"),
        ("device time in all", duration(sum(cost.seconds for cost in record.costs))),
    ]


def _answer(record: Record) -> list[tuple[str, str]]:
    """How much faster the entry to choose is, and its quality beside the anchor's; else the best quality."""
    fastest = fastest_lossless(record)
    chosen = fastest or bend(record.table)
    speed_up = record.speed_up(chosen) if chosen else None
    if chosen is None or not speed_up:
        best = record.table.entries[-1]
        return [(f"best {named(record.label, best.n_images)}", quality_text(best))]
    anchor = next((c for c in record.confirmed if c.allocation == record.anchor), None)
    beside = f"; {record.table.anchor_name} has {anchor.quality:.3g}" if anchor else ""
    times = f"{speed_up:.2f} ± {speed_up * speed_up_error(record.table, chosen):.2f}{TIMES}"
    return [
        ("speed-up at no loss" if fastest else f"speed-up with {chosen.allocation}", times),
        (f"its {named(record.label, chosen.n_images)}{beside}", quality_text(chosen)),
    ]


def verdict(record: Record, entry: Candidate) -> str:
    """`yes`, `not shown`, `loses IS`; a dash for the anchor, which the others are held against."""
    if entry.allocation == record.anchor:
        return DASH
    if entry.guard_lost:
        return f"loses {guard_name(record.table)}"
    return YES if entry.lossless else "not shown"

"""The front as a table: how the steps are divided, their cost and quality; and what was confirmed but beaten."""

from collections.abc import Sequence

from tstitch_search.lookup import Candidate
from tstitch_search.report.markup import Html, join, table, tag
from tstitch_search.report.notes import alike, baseline_name, front_notes, further_metrics, guard_key
from tstitch_search.report.plots.bars import bar, chip
from tstitch_search.report.record import Record
from tstitch_search.report.sections.story import YES, verdict
from tstitch_search.report.wording import (
    DASH,
    WORST,
    difference_text,
    extra_weights_text,
    latency_text,
    memory_text,
    metric_difference_text,
    metric_text,
    named,
    quality_text,
    times_faster,
    worst_text,
)


def front(record: Record) -> Html:
    """Every entry with its bar, time, quality, memory and what was shown about it; then what the entries beat."""
    chips = [piece for name in record.denoisers for piece in (chip(record, name), " ")]
    notes = [tag("p", text, kind="note") for text in front_notes(record.table)]
    kind = "cards front tied" if alike(record.table) else "cards front"
    said = f"Each entry: seconds, speed-up; {record.label}, its difference to {record.table.anchor_name}."
    return join(
        tag("p", "Denoisers: ", *chips, kind="note"),
        tag("p", said, kind="note narrow"),  # where the columns have no heads
        _table(record, record.table.entries, kind),
        *notes,
        _beaten(record),
    )


def _beaten(record: Record) -> Html:
    """The confirmed allocations that an entry dominates."""
    if not record.beaten:
        return Html()
    note = "Confirmed and timed like the front, but an entry of the front is no slower and at least as good."
    rows = _table(record, record.beaten, "cards front")
    return join(tag("h3", "Confirmed, but not on the front"), tag("p", note, kind="note"), rows)


def _table(record: Record, measured: Sequence[Candidate], kind: str) -> Html:
    """One row for each of `measured`; memory and further metrics only where the front has them."""
    n, against = measured[0].n_images, f"against {record.table.anchor_name}"
    metrics = further_metrics(record.table)
    head = ["noise → image", "time (SE)\nspeed-up", f"{named(record.label, n)} (SE)\n{against}", "lossless"]
    head += [WORST] if _knows_images(record) else []
    head += [f"peak memory\n{against}"] if _knows_memory(record) else []
    head += [f"{named(name, n)} (SE)\n{against}" for name in metrics.values()]
    rows = [_row(record, candidate, list(metrics)) for candidate in measured]
    return tag("div", table(head, rows, kind=kind), kind="wide")


def _knows_memory(record: Record) -> bool:
    return any(e.peak_memory_mb is not None for e in record.table.entries)


def _knows_images(record: Record) -> bool:
    return any(e.quantiles for e in record.table.entries)


def _row(record: Record, measured: Candidate, metrics: list[str]) -> list[str]:
    speed_up, said = record.speed_up(measured), verdict(record, measured)
    cells = [
        _who(record, measured),
        _two(latency_text(measured), times_faster(speed_up) if speed_up else DASH),
        _two(quality_text(measured), difference_text(measured)),
        tag("span", said, kind="yes" if said == YES else "lost" if measured.guard_lost else "open"),
    ]
    if _knows_images(record):
        cells.append(tag("span", worst_text(record.table.objective, measured)))
    if _knows_memory(record):
        cells.append(_two(memory_text(measured), extra_weights_text(measured)))
    return [*cells, *(_metric(record, measured, key) for key in metrics)]


def _who(record: Record, measured: Candidate) -> Html:
    """The allocation as bar and text, with its group or with what beats it."""
    label = _label(record, measured)
    if measured in record.beaten:
        better = record.beaten_by(measured)
        return join(
            bar(record, measured.allocation),
            label,
            tag("span", f"beaten by {better.allocation}" if better else "", kind="below"),
        )
    group = alike(record.table).get(measured.group or 0)
    if group is None:
        return join(bar(record, measured.allocation), label)
    place = "first" if measured == group[0] else "last" if measured == group[-1] else "inner"
    mark = tag("span", f"≈ tie {measured.group}", kind=f"tie {place}")
    return join(bar(record, measured.allocation), label, " ", mark)


def _label(record: Record, measured: Candidate) -> Html:
    """The allocation as text, with its name if it is a rule that needs no search."""
    text, name = tag("code", str(measured.allocation)), baseline_name(record.table, measured.allocation)
    return join(text, " ", tag("span", name, kind="rule")) if name else text


def _metric(record: Record, measured: Candidate, key: str) -> str:
    metric = measured.metrics.get(key)
    if metric is None:
        return DASH
    cell = _two(metric_text(metric), "" if metric.difference is None else metric_difference_text(metric))
    return tag("div", cell, kind="lost") if measured.guard_lost and key == guard_key(record.table) else cell


def _two(main: str, below: str) -> Html:
    """A cell of two lines, the second one fainter."""
    return tag("div", main, *([tag("span", below, kind="below")] if below else []))

"""One confirmed allocation on a card: its steps, times, quality with interval, memory, verdict."""

from tstitch_search.lookup import Candidate, OperatingPoint
from tstitch_search.report.markup import Html, tag
from tstitch_search.report.notes import alike, baseline_name
from tstitch_search.report.plots.bars import bar
from tstitch_search.report.record import SINGLE, Intervals, Record
from tstitch_search.report.sections.story import YES, verdict
from tstitch_search.report.wording import (
    DASH,
    difference_text,
    extra_weights_text,
    interval_text,
    latency_text,
    memory_text,
    named,
    point_text,
    quality_text,
    times_faster,
)


def card(record: Record, measured: Candidate, shown: bool) -> Html:
    """The card of `measured`; the script shows and hides it, and fills its slot with the strip of the sample grid."""
    text, name = str(measured.allocation), baseline_name(record.table, measured.allocation)
    title = tag("p", tag("code", text), *([" ", tag("span", name, kind="rule")] if name else []), kind="who")
    slot = tag("div", kind="slot", attributes={"data-strip": measured.allocation.file_name})
    facts = tag("dl", *(tag("div", tag("dt", label), tag("dd", *said)) for label, said in _facts(record, measured)))
    hidden = {} if shown else {"hidden": ""}
    return tag(
        "article",
        *(bar(record, measured.allocation), title, slot, facts),
        kind="card",
        attributes={"data-allocation": text, **hidden},
    )


def _facts(record: Record, measured: Candidate) -> list[tuple[str, list[str]]]:
    """Label, and value with what is said below it."""
    n, anchor = measured.n_images, record.table.anchor_name
    held = record.intervals if measured.confirmed else SINGLE
    between = f"{interval_text(measured.quality, measured.quality_se, held.errors)} ({held})"
    alone = measured.allocation == record.anchor
    facts: list[tuple[str, list[str]]] = [
        *_times(record, measured, anchor),
        (named(record.label, n), _two(quality_text(measured), between)),
        (f"difference to {anchor}", [DASH] if alone else _two(difference_text(measured), _paired(measured, held))),
        ("lossless", [_verdict(record, measured)]),
    ]
    if measured.peak_memory_mb is not None:
        facts.append(("peak memory", _two(memory_text(measured), extra_weights_text(measured))))
    group = alike(record.table).get(measured.group or 0, [])
    if measured.group is not None and measured in group:
        others = ", ".join(str(e.allocation) for e in group if e != measured)
        facts.append((f"tie {measured.group}", _two("cannot be told apart", f"from {others}")))
    return facts


def _paired(measured: Candidate, held: Intervals) -> str:
    difference, se = measured.quality_difference, measured.quality_difference_se
    between = f"{interval_text(difference, se, held.errors, sign=True)} ({held}), " if difference and se else ""
    return f"{between}paired, same images"


def _verdict(record: Record, measured: Candidate) -> Html:
    said = verdict(record, measured)
    return tag("span", said, kind="yes" if said == YES else "lost" if measured.guard_lost else "open")


def _times(record: Record, measured: Candidate, anchor: str) -> list[tuple[str, list[str]]]:
    """Seconds and speed-up at each operating point that the allocation has a time for."""
    first, *others = record.table.operating_points
    speed_up = record.speed_up(measured)
    said = [(_label(first, bool(others)), _two(latency_text(measured), _faster(speed_up, anchor)))]
    alone = next((c for c in record.confirmed if c.allocation == record.anchor), None)
    for point in others:
        if time := measured.latency_by_point.get(point.id):
            against = alone.latency_by_point.get(point.id) if alone else None
            ratio = against.latency_s / time.latency_s if against and time.latency_s else None
            said.append((_label(point, several=True), _two(f"{point_text(time)} (predicted)", _faster(ratio, anchor))))
    return said


def _label(point: OperatingPoint, several: bool) -> str:
    return f"time at {point.id}, batch of {point.batch_size}" if several else f"time, batch of {point.batch_size}"


def _faster(ratio: float | None, anchor: str) -> str:
    return f"{times_faster(ratio)} as fast as {anchor}" if ratio else ""


def _two(main: str, below: str) -> list[str]:
    return [main, tag("span", below, kind="below")] if below else [main]

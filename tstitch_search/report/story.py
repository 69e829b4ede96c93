"""What the numbers say in sentences: the headline, the figures at the top, the limits."""

from collections.abc import Mapping
from typing import Any

from tstitch_search.lookup import LookupEntry
from tstitch_search.report.record import Record
from tstitch_search.report.wording import DASH, NBSP, duration, named, percent, quality_text, times_faster

YES = "yes"


def headline(record: Record) -> str:
    """The run's own sentence to act on; a table made elsewhere may have none."""
    written = record.table.provenance.get("headline")
    n = len(record.table.entries)
    return written if isinstance(written, str) and written else f"{n} allocations are on the confirmed front."


def fastest_lossless(record: Record) -> LookupEntry | None:
    """The fastest entry, other than the largest denoiser itself, that was shown to be as good."""
    return next(
        (
            e
            for e in record.table.entries
            if e.lossless and not e.guard_lost and e.allocation != record.largest_allocation
        ),
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
    return [("fastest shown lossless", times_faster(speed_up)), *found] if speed_up else found


def limits(record: Record) -> list[str]:
    """What may and may not be concluded, in plain words."""
    point, n = record.table.operating_points[0], record.table.entries[0].n_images
    extractor, reference = (
        record.table.provenance.get(key, f"the study's {key}") for key in ("extractor", "reference")
    )
    recorded = record.table.provenance.get("recorded")
    search = sorted({named(record.label, t.n_images) for t in record.trials})
    return [
        *([_on_record(recorded)] if isinstance(recorded, dict) else []),
        f"Seconds are for one batch of {point.batch_size} images, from noise to decoded images, on {point.device}. "
        "Another device needs its own times; the quality stays.",
        f"Quality is {record.label} with the features of {extractor} against {reference}. "
        "It compares allocations of this study, not papers.",
        f"{record.label} depends on the number of images. The search used {', '.join(search) or 'none'}, the front was "
        f"confirmed with {named(record.label, n)} on images the search never saw. Values at different n "
        "are never compared with each other.",
        f"± is one standard error; bars in the plot are 95 % intervals, each for itself. Differences to "
        f"{_largest(record)} are paired over the same images, so they are surer than the two values apart.",
        f"Lossless means: the upper end of the one-sided 95 % interval of that paired difference lies below "
        f"{_margin(record)} of the {record.label} of {_largest(record)}. “Not shown at n = {n}” does not mean worse: "
        "more images may show it.",
        "Every entry was measured as it stands. Nothing between two entries is interpolated.",
    ]


def _on_record(recorded: Mapping[str, Any]) -> str:
    """That nothing here was measured by this run."""
    return (
        f"Nothing was measured by this run: times and qualities were recorded in {recorded.get('table')} "
        f"({recorded.get('source') or 'no source given'}). Images are {recorded.get('images')}; what the sample grid "
        "shows are grey tiles. An error of 0 means that none was recorded, not that there is none. Device time is what "
        "the recorded times add up to."
    )


def time_sentence(record: Record) -> str:
    """How far the calibration's prediction was off, over the entries."""
    errors = [abs(e.latency_s_predicted / e.latency_s - 1) for e in record.table.entries if e.latency_s > 0]
    return (
        f"The prediction from single steps was off by at most {percent(max(errors, default=0))} of the measured time."
    )


def front_notes(record: Record) -> list[str]:
    """What the front's table cannot say in its columns: who cannot be told apart, and who loses the guard metric."""
    groups: dict[int, list[str]] = {}
    for entry in record.table.entries:
        if entry.group is not None:
            groups.setdefault(entry.group, []).append(str(entry.allocation))
    alike = [
        f"Cannot be told apart at this n: {', '.join(names)}. Deploy the fastest, {names[0]}."
        for names in groups.values()
        if len(names) > 1
    ]
    lost = [str(e.allocation) for e in record.table.entries if e.guard_lost]
    guard = record.table.provenance.get("guard")
    name = guard.get("metric") if isinstance(guard, dict) else "guard metric"
    return [*alike, *[f"Lose more of the {name} than the study tolerates: {', '.join(lost)}."][: len(lost)]]


def verdict(record: Record, entry: LookupEntry) -> str:
    """`yes`, `not shown at n = 500`, or a dash for the largest denoiser, which the others are held against."""
    if entry.allocation == record.largest_allocation:
        return DASH
    if entry.guard_lost:
        return "guard lost"
    return YES if entry.lossless else f"not shown at n{NBSP}={NBSP}{entry.n_images}"


def _largest(record: Record) -> str:
    return f"{record.largest} alone" if record.largest else "the largest denoiser alone"


def _margin(record: Record) -> str:
    margin = record.table.provenance.get("lossless_margin")
    return percent(margin) if isinstance(margin, int | float) else "the study's margin"

"""The worst pictures of each entry by a metric per pair, each beside the anchor's of the same seed."""

from pathlib import Path

from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.record import Record
from tstitch_search.report.sections.samples import strip


def worst(record: Record, images: Path) -> Html:
    """For each entry how bad its worst twentieth is, and its five worst pairs; empty for metrics of other kinds."""
    rows = []
    for entry in record.table.entries:
        event, path = record.worst.get(str(entry.allocation)), images / f"worst_{entry.allocation.file_name}.png"
        if event is None or not path.is_file():
            continue
        better = "at most" if record.table.objective.higher_is_better else "at least"
        numbers = ", ".join(f"{value:.3g}" for value in event["values"])
        said = (
            f"{entry.allocation}: the worst 5 % of {event['n_images']} images have {record.label} {better} "
            f"{event['at_least_as_bad']:.3g}; these have {numbers}."
        )
        picture = strip(path, f"worst pictures of {entry.allocation}", len(record.table.entries), {})
        rows.append(join(tag("p", said, kind="note"), picture))
    if not rows:
        return Html()
    note = (
        f"In pairs, worst first: the picture of {record.table.anchor_name}, then the entry's of the same seed. A mean "
        "over images hides these; look at them before you call an entry good enough."
    )
    return join(tag("p", note, kind="note"), *rows)

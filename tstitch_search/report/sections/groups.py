"""The groups of images: whether one table serves them all, and what each would gain by choosing for itself."""

from collections.abc import Mapping
from typing import Any

from tstitch_search.report.markup import Html, join, table, tag
from tstitch_search.report.record import Record
from tstitch_search.report.wording import DASH


def groups(record: Record) -> Html:
    """The answer, and a row for each group; empty where the study asked for no groups."""
    about = record.table.provenance.get("groups")
    if not isinstance(about, dict) or not record.table.groups:
        return Html()
    note = (
        f"Groups of images by {about['column']}. A gain is what a group would lose less with a faster allocation than "
        f"with the entry that all images together choose, in {record.label}; shown is the surest of each group. The "
        "intervals hold together over everything that was compared. Bars of a group in the plot are single intervals. "
        "Values of different groups do not compare."
    )
    gains = {g["group"]: g for g in about["gains"]}
    rows = [
        [name, f"{n:,}", *_gain(gains.get(name), name in about["too_few"])] for name, n in about["n_images"].items()
    ]
    head = ["group", "images", "surest gain (95 %, together)", "with", "instead of"]
    shown = tag("div", table(head, rows, kind="cards compact"), kind="wide")
    return join(tag("p", about["answer"]), shown, tag("p", note, kind="note"))


def _gain(gain: Mapping[str, Any] | None, too_few: bool) -> list[str]:
    if gain is None:
        return ["too few to say" if too_few else DASH, DASH, DASH]
    interval = f"{gain['gain']:+.3g} ({gain['low']:+.2g} to {gain['high']:+.2g})"
    return [interval, tag("code", gain["better"]), tag("code", gain["instead_of"])]

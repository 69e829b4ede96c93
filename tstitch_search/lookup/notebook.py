"""A lookup table as a notebook shows it: HTML that needs nothing but a browser. Standard library only."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from tstitch_search.lookup.entry import LookupEntry

if TYPE_CHECKING:
    from tstitch_search.lookup.table import LookupTable


def html_of(table: "LookupTable") -> str:
    """What the table answers, its front row by row, and where it was measured."""
    point, objective, n = table.operating_points[0], table.objective, table.entries[0].n_images
    head = ["allocation", f"seconds, batch of {point.batch_size}", f"{objective.label}, n = {n}", "against the largest"]
    said = [str(table.provenance.get("headline", "")), f"{table.study}, on {point.device}"]
    parts = [f"<p>{escape(text)}</p>" for text in said if text]
    rows = "".join(_row(_cells(entry), "td") for entry in table.entries)
    return f"{parts[0]}<table><thead>{_row(head, 'th')}</thead><tbody>{rows}</tbody></table>{''.join(parts[1:])}"


def _cells(entry: LookupEntry) -> list[str]:
    difference = entry.quality_difference
    return [
        str(entry.allocation),
        f"{entry.latency_s:.4g} ± {entry.latency_s_se:.2g}",
        f"{entry.quality:.4g} ± {entry.quality_se:.2g}",
        "" if difference is None else f"{difference:+.3g} ± {entry.quality_difference_se or 0:.2g}",
    ]


def _row(cells: Sequence[str], kind: str) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

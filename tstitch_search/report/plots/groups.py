"""The front of each group of images, for the Pareto plot: one is shown in the place of all images' at a time."""

import plotly.graph_objects as go

from tstitch_search.errors import QualityGateError
from tstitch_search.lookup import LookupTable
from tstitch_search.report.plots.palette import FRONT
from tstitch_search.report.record import Record
from tstitch_search.report.wording import Z_95, fractions_text, latency_text, named, quality_text

# The script finds traces by this and the group's number.
GROUP = "group-"


def groups_of_plot(record: Record) -> dict[str, str]:
    """What the plot can show, and by which number: all images, and every group that is large enough."""
    return {"all": "all"} | {name: str(i) for i, (name, _) in enumerate(_tables(record.table))}


def group_fronts(record: Record) -> list[go.Scatter]:
    """A trace for each group, invisible at first."""
    return [_front(f"{GROUP}{i}", of_group) for i, (_, of_group) in enumerate(_tables(record.table))]


def _tables(table: LookupTable) -> list[tuple[str, LookupTable]]:
    found = []
    for name in table.groups:
        try:
            found.append((name, table.of_group(name)))
        except QualityGateError:  # too few images to say anything
            continue
    return found


def _front(meta: str, table: LookupTable) -> go.Scatter:
    entries, label = table.entries, table.objective.label
    bars = {"type": "data", "array": [Z_95 * e.quality_se for e in entries], "thickness": 1.2, "width": 3}
    told = [
        [
            str(e.allocation),
            fractions_text(e.allocation),
            latency_text(e),
            f"{named(label, e.n_images)} {quality_text(e)} (SE)",
        ]
        for e in entries
    ]
    return go.Scatter(
        x=[e.latency_s for e in entries],
        y=[e.quality for e in entries],
        mode="lines+markers",
        meta=meta,
        visible=False,
        marker={"color": FRONT, "size": 9},
        line={"color": FRONT, "width": 2, "shape": "hv"},
        error_y=bars,
        customdata=told,
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<br>%{customdata[3]}<extra></extra>",
    )

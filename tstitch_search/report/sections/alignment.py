"""Prompt alignment against the share of the smaller denoisers, as in the paper's figure 7."""

import plotly.graph_objects as go

from tstitch_search.lookup import Candidate, MetricValue
from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.notes import metric_name
from tstitch_search.report.plots.common import laid_out, plot_html
from tstitch_search.report.plots.palette import FRONT
from tstitch_search.report.record import Record
from tstitch_search.report.wording import Z_95, fractions_text, metric_text

METRIC = "clip_score"


def alignment(record: Record) -> Html:
    """The plot and what it shows; empty where the study did not measure prompt alignment."""
    plot = alignment_plot(record)
    if plot is None:
        return Html()
    note = (
        "How well images fit their prompts (CLIP score, higher is better), with single 95 % intervals, over the share "
        f"of the steps that {record.largest} does not take."
    )
    return join(tag("div", plot_html(plot, "alignment"), kind="plot low"), tag("p", note, kind="note"))


def alignment_plot(record: Record) -> go.Figure | None:
    """CLIP score over the share of the smaller denoisers; None where it was measured of less than two allocations."""
    measured = [(c, c.metrics[METRIC]) for c in record.confirmed if METRIC in c.metrics]
    if len(measured) < 2 or record.largest is None:
        return None
    trace = go.Scatter(
        x=[1 - c.allocation.fractions.get(record.largest, 0.0) for c, _ in measured],
        y=[metric.value for _, metric in measured],
        mode="markers",
        marker={"color": FRONT, "size": 9},
        error_y={"type": "data", "array": [Z_95 * (metric.se or 0.0) for _, metric in measured], "thickness": 1.2},
        customdata=[_hover(c, metric) for c, metric in measured],
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
    )
    figure = laid_out(go.Figure([trace]))
    figure.update_xaxes(title=f"share of steps not taken by {record.largest}", tickformat=".0%")
    return figure.update_yaxes(title=metric_name(METRIC), zeroline=False)


def _hover(measured: Candidate, metric: MetricValue) -> list[str]:
    return [str(measured.allocation), fractions_text(measured.allocation), metric_text(metric)]

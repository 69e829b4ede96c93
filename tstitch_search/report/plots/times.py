"""Predicted against measured time of the confirmed allocations."""

import plotly.graph_objects as go

from tstitch_search.report.plots.common import laid_out
from tstitch_search.report.plots.palette import FRONT, SEARCH
from tstitch_search.report.record import Record
from tstitch_search.report.wording import Z_95, latency_text, predicted_text

_HOVER = "<b>%{customdata[0]}</b><br>predicted %{customdata[1]}<br>measured %{customdata[2]}<extra></extra>"


def time_plot(record: Record) -> go.Figure | None:
    """Measured seconds with 95 % intervals over predicted ones, and the line where both agree; None with less than two.

    Both axes are logarithmic, so that equal errors in per cent are equally far from the line.
    """
    timed = [c for c in record.confirmed if c.latency_s]
    if len(timed) < 2:
        return None
    predicted, measured = [c.latency_s_predicted for c in timed], [c.latency_s or 0.0 for c in timed]
    ends = [0.9 * min(*predicted, *measured), 1.1 * max(*predicted, *measured)]
    agree = go.Scatter(
        x=ends, y=ends, mode="lines", line={"color": SEARCH, "width": 1, "dash": "dot"}, hoverinfo="skip"
    )
    points = go.Scatter(
        x=predicted,
        y=measured,
        mode="markers",
        marker={"color": FRONT, "size": 8},
        error_y={
            "type": "data",
            "array": [Z_95 * (c.latency_s_se or 0.0) for c in timed],
            "thickness": 1.2,
            "width": 3,
        },
        customdata=[[str(c.allocation), predicted_text(c), latency_text(c)] for c in timed],
        hovertemplate=_HOVER,
    )
    figure = laid_out(go.Figure([agree, points]))
    figure.update_xaxes(title="predicted seconds", type="log", nticks=3)  # more would overlap on a narrow screen
    return figure.update_yaxes(title="measured seconds", type="log")

"""What all plots share. Text and grid colours come from style.css, which knows light and dark."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.io import to_html

from tstitch_search.report.markup import Html

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif'
_CONFIG = {"displaylogo": False, "responsive": True, "displayModeBar": False, "scrollZoom": False}


def plot_html(figure: go.Figure, name: str) -> Html:
    """The plot as a division of the id `name` and the script that draws it; plotly.js itself is not in it."""
    return Html(to_html(figure, config=_CONFIG, include_plotlyjs=False, full_html=False, div_id=name))


def laid_out(figure: go.Figure) -> go.Figure:
    """The figure in the page's looks; its legend is the page's own, which wraps on a narrow screen."""
    return figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 20, "t": 16, "b": 52},
        showlegend=False,
        hoverlabel={"bgcolor": "#1d2433", "bordercolor": "#8491a5", "font": {"color": "#ffffff", "family": FONT}},
        font={"family": FONT, "size": 13},
        hovermode="closest",
    )


def spans_a_decade(values: Sequence[float]) -> bool:
    """Whether positive values differ by so much that a logarithmic scale tells more."""
    return min(values) > 0 and max(values) > 5 * min(values)

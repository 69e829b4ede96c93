"""What all plots share. Text and grid colours come from style.css, which knows light and dark."""

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from gzip import compress

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tstitch_search.report.markup import Html, data, join, tag

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif'
_CONFIG = {"displaylogo": False, "responsive": True, "displayModeBar": False, "scrollZoom": False}


def plot_html(figure: go.Figure, name: str) -> Html:
    """A division of the id `name` and what the page's script draws into it."""
    drawn = {**json.loads(figure.to_json()), "config": _CONFIG}
    return join(tag("div", attributes={"id": name, "data-plot": f"{name}-plot"}), data(f"{name}-plot", drawn))


@cache
def plotly_html() -> Html:
    """plotly.js, packed: the page can be read before the browser has parsed its 4.8 MB, and is 2.9 MB smaller."""
    packed = b64encode(compress(get_plotlyjs().encode(), 6, mtime=0)).decode()
    return tag("script", packed, attributes={"type": "text/plain", "id": "plotly"})


def laid_out(figure: go.Figure) -> go.Figure:
    """The figure in the page's looks; its legend is the page's own, which wraps on a narrow screen."""
    whole = {"tickformat": "~g"}  # on logarithmic axes plotly would write 0.07 as 7
    return figure.update_layout(
        template="none",
        xaxis=whole,
        yaxis=whole,
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

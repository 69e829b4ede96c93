"""How the search went: the hypervolume against device time, and quality over fractions for three denoisers."""

from collections.abc import Sequence
from math import log

import plotly.graph_objects as go

from tstitch_search.lookup import Candidate
from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.plots.common import laid_out, plot_html, spans_a_decade
from tstitch_search.report.plots.hypervolume import hypervolume_plot
from tstitch_search.report.record import Record
from tstitch_search.report.wording import fractions_text, named, quality_text


def search_section(record: Record) -> Html:
    """The plots with what they show; each only where there is something to show."""
    parts = []
    if area := hypervolume_plot(record):
        note = (
            f"Area that the allocations looked at so far dominate in seconds and {record.label}, as a share of the "
            "area in the end; each counts from its first images on, with the value it has in the end. The band is the "
            "95 % interval when each value is drawn anew within its standard error, independently of the others; it "
            "closes at the end, since each draw is held against its own. Device seconds are summed over workers."
        )
        parts += _plot("Hypervolume against device time", plot_html(area, "hypervolume"), note)
    if fractions := ternary_plot(record):
        note = (
            f"{named(record.label, record.comparable_trials[0].n_images)} as the search sees it, over the shares of "
            "the steps. Of allocations with equal shares in another order the best is shown."
        )
        if record.posterior:
            note += " Small points were not measured: they are what the search's model expects."
        parts += _plot(f"{record.label} over fractions", plot_html(fractions, "ternary"), note)
    return join(*parts)


def _plot(title: str, plot: Html, note: str) -> list[Html]:
    return [tag("h3", title), tag("div", plot, kind="plot low"), tag("p", note, kind="note")]


def ternary_plot(record: Record) -> go.Figure | None:
    """Quality over the shares of three denoisers: measured large, expected by the model small; None for other K."""
    measured = best_by_fractions(record, record.comparable_trials)
    if len(record.denoisers) != 3 or not measured:
        return None
    known = {_fractions(c) for c in measured}
    expected = [c for c in best_by_fractions(record, record.posterior) if _fractions(c) not in known]
    values = [c.quality for c in (*measured, *expected)]
    traces = [_corners(record, shown, values, size) for shown, size in ((expected, 7), (measured, 15)) if shown]
    figure = laid_out(go.Figure(traces))
    names = zip("abc", record.denoisers, strict=True)
    axes = {f"{axis}axis": {"title": name, "tickformat": ".0%"} for axis, name in names}
    return figure.update_layout(ternary={**axes, "bgcolor": "rgba(0,0,0,0)"}, margin={"t": 40, "b": 110, "r": 60})


def _corners(record: Record, shown: list[Candidate], values: list[float], size: int) -> go.Scatterternary:
    """One marker for each of `shown`, coloured on the scale of all `values`."""
    shares = [[c.allocation.fractions.get(name, 0.0) for c in shown] for name in record.denoisers]
    return go.Scatterternary(
        a=shares[0],
        b=shares[1],
        c=shares[2],
        mode="markers",
        cliponaxis=False,
        marker={"size": size, "line": {"width": 1, "color": "#8491a5"}, **_colour(record, shown, values, size > 10)},
        customdata=[[str(c.allocation), fractions_text(c.allocation), quality_text(c)] for c in shown],
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
    )


def _colour(record: Record, shown: list[Candidate], values: list[float], with_bar: bool) -> dict[str, object]:
    """The best bright; on a logarithmic scale where the values differ by much, its bar in plain values."""
    low, high = min(values), max(values)
    scale = log if spans_a_decade(values) else float
    ticks = [low * (high / low) ** (i / 4) if scale is log else low + (high - low) * i / 4 for i in range(5)]
    return {
        "color": [scale(c.quality) for c in shown],
        "cmin": scale(low),
        "cmax": scale(high),
        "colorscale": "Viridis",
        "reversescale": not record.table.objective.higher_is_better,
        "colorbar": {
            "title": {"text": record.label, "side": "top"},
            "orientation": "h",
            "y": -0.2,
            "yanchor": "top",
            "thickness": 10,
            "tickvals": [scale(t) for t in ticks],
            "ticktext": [f"{t:.3g}" for t in ticks],
        },
        "showscale": with_bar,
    }


def best_by_fractions(record: Record, measured: Sequence[Candidate]) -> list[Candidate]:
    """The best of those with equal shares of the full number of steps."""
    full = [c for c in measured if c.allocation.n_steps == record.n_steps]
    best: dict[tuple[tuple[str, float], ...], Candidate] = {}
    for c in sorted(full, key=lambda c: record.table.objective.loss(c.quality)):
        best.setdefault(_fractions(c), c)
    return list(best.values())


def _fractions(measured: Candidate) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(measured.allocation.fractions.items()))

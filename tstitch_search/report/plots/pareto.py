"""The Pareto plot."""

from collections.abc import Sequence

import plotly.graph_objects as go

from tstitch_search.allocation import Allocation
from tstitch_search.lookup import Candidate
from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.plots.common import laid_out, plot_html, spans_a_decade
from tstitch_search.report.plots.groups import group_fronts
from tstitch_search.report.plots.labels import kept_apart
from tstitch_search.report.plots.palette import FRONT, RULE, SEARCH, STAR, colours
from tstitch_search.report.plots.still import still
from tstitch_search.report.record import Record
from tstitch_search.report.wording import Z_95, fractions_text, latency_text, named, quality_text

PARETO_ID = "pareto"
# The script finds traces by these.
SEARCH_GROUP, POSTERIOR_GROUP, FRONT_GROUP, PICKED = "search", "posterior", "front", "picked"
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<br>%{customdata[3]}<extra></extra>"
_FAINT = "rgba(132,145,165,0.35)"  # SEARCH, see-through
_MOST_INTERVALS = 150  # with more points than this their intervals would hide each other


def pareto_html(record: Record) -> Html:
    """The Pareto plot as a division, the script that draws it, and a still picture where no script runs."""
    return join(plot_html(pareto(record), PARETO_ID), tag("noscript", still(record)))


def pareto(record: Record) -> go.Figure:
    """Time against quality: search measurements faint, the confirmed front with 95 % intervals, the landmarks named.

    Values at different n are drawn as different groups, since they do not compare.
    """
    landmarks = [*_singles(record), *_paper_rule(record), *_further_rules(record)]
    measured = [*_search(record), _front(record), *_beaten(record), *kept_apart(landmarks)]
    figure = laid_out(go.Figure([*_posterior(record), *measured, *_rivals(record), *group_fronts(record), _ring()]))
    point = record.table.operating_points[0]
    better = "higher" if record.table.objective.higher_is_better else "lower"
    figure.update_xaxes(
        title={"text": f"seconds for a batch of {point.batch_size}"}, rangemode="tozero", zeroline=False, type="linear"
    )
    figure.update_yaxes(
        title=f"{record.label} ({better} is better)",
        type="log" if spans_a_decade([c.quality for c in (*record.confirmed, *record.trials)]) else "linear",
        zeroline=False,
    )
    return figure


def _posterior(record: Record) -> list[go.Scatter]:
    """What the search's model expects of allocations that nobody measured, fainter than anything measured."""
    if not record.posterior:
        return []
    return [_faint(record, record.posterior, {"color": SEARCH, "size": 5, "opacity": 0.35}, POSTERIOR_GROUP)]


def _search(record: Record) -> list[go.Scatter]:
    """The search measurements, one group for each number of images."""
    groups: dict[int, list[Candidate]] = {}
    for trial in record.trials:
        groups.setdefault(trial.n_images, []).append(trial)
    marker = {"color": SEARCH, "size": 8, "opacity": 0.6}
    return [_faint(record, trials, marker, SEARCH_GROUP) for trials in groups.values()]


def _faint(record: Record, shown: Sequence[Candidate], marker: dict[str, object], group: str) -> go.Scatter:
    """Points with faint 95 % intervals, as long as those do not hide each other."""
    trace = _points(record, shown, marker, group)
    if len(shown) > _MOST_INTERVALS:
        return trace
    bars = [Z_95 * c.quality_se for c in shown]
    return trace.update(error_y={"type": "data", "array": bars, "thickness": 1, "width": 0, "color": _FAINT})


def _front(record: Record) -> go.Scatter:
    """The entries, joined by the best quality within each budget: steps, since nothing is interpolated."""
    trace = _points(record, record.table.entries, {"color": FRONT, "size": 9}, FRONT_GROUP)
    line = {"color": FRONT, "width": 2, "shape": "hv"}
    return trace.update(mode="lines+markers", line=line, **_intervals(record, record.table.entries))


def _ring() -> go.Scatter:
    """Where the script draws a ring around what the slider picks."""
    marker = {"color": FRONT, "size": 20, "symbol": "circle-open", "line": {"width": 2}}
    return go.Scatter(x=[], y=[], mode="markers", meta=PICKED, marker=marker, hoverinfo="skip", cliponaxis=False)


def _beaten(record: Record) -> list[go.Scatter]:
    """What was confirmed and turned out dominated."""
    marker = {"color": FRONT, "size": 8, "symbol": "circle-open", "line": {"width": 2}}
    return [_points(record, record.beaten, marker).update(**_intervals(record, record.beaten))] if record.beaten else []


def _intervals(record: Record, measured: Sequence[Candidate]) -> dict[str, dict[str, object]]:
    """Error bars of both axes: 95 % intervals, of qualities for all that was confirmed together."""
    style = {"type": "data", "thickness": 1.2, "width": 3}
    return {
        "error_x": {**style, "array": [Z_95 * (c.latency_s_se or 0) for c in measured]},
        "error_y": {**style, "array": [record.intervals.errors * c.quality_se for c in measured]},
    }


def _singles(record: Record) -> list[go.Scatter]:
    """One named diamond for each denoiser measured alone."""
    colour = colours(record.denoisers)
    alone = {name: record.confirmed_of(Allocation.of([(name, record.n_steps)])) for name in record.denoisers}
    return [
        _landmark(record, measured, name, colour[name], "diamond", 12) for name, measured in alone.items() if measured
    ]


def _paper_rule(record: Record) -> list[go.Scatter]:
    measured = record.paper_rule_measured
    return [_landmark(record, measured, "40 % rule", STAR, "star", 15)] if measured else []


def _further_rules(record: Record) -> list[go.Scatter]:
    """One named triangle for each other rule that needs no search, such as the largest denoiser with fewer steps."""
    return [
        _landmark(record, measured, name, RULE, "triangle-up", 11)
        for name, measured in record.further_rules_measured.items()
    ]


def _rivals(record: Record) -> list[go.Scatter]:
    """One named cross for each; what they say of themselves is in the hover."""
    marker = {"color": SEARCH, "size": 10, "symbol": "x"}
    hover = [[r["name"], r["source"], f"{r['latency_s']:.4g} s", f"FID {r['fid']:.4g}"] for r in record.rivals]
    trace = go.Scatter(
        x=[r["latency_s"] for r in record.rivals],
        y=[r["fid"] for r in record.rivals],
        mode="markers+text",
        meta="",
        marker=marker,
        text=[r["name"] for r in record.rivals],
        textposition="top right",
        cliponaxis=False,
        customdata=hover,
        hovertemplate=_HOVER,
    )
    return [trace] if record.rivals else []


def _landmark(record: Record, measured: Candidate, text: str, colour: str, symbol: str, size: int) -> go.Scatter:
    """A named mark; its name keeps off the front."""
    marker: dict[str, object] = {
        "color": colour,
        "symbol": symbol,
        "size": size,
        "line": {"width": 1.5, "color": "#ffffff"},
    }
    trace = _points(record, [measured], marker)
    place = "bottom left" if measured in record.table.entries else "top right"
    return trace.update(mode="markers+text", text=[text], textposition=place, cliponaxis=False)


def _points(record: Record, measured: Sequence[Candidate], marker: dict[str, object], group: str = "") -> go.Scatter:
    """Markers at (measured or else predicted time, quality); hovering tells all about one."""
    return go.Scatter(
        x=[c.latency_s if c.latency_s is not None else c.latency_s_predicted for c in measured],
        y=[c.quality for c in measured],
        mode="markers",
        meta=group,
        marker=marker,
        customdata=[_hover(c, record.label) for c in measured],
        hovertemplate=_HOVER,
    )


def _hover(measured: Candidate, label: str) -> list[str]:
    quality = f"{named(label, measured.n_images)} {quality_text(measured)} (SE)"
    return [str(measured.allocation), fractions_text(measured.allocation), latency_text(measured), quality]

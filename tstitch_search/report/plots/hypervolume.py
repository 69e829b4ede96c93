"""The hypervolume against device time: how soon the search had most of what it found in the end."""

from collections.abc import Mapping, Sequence
from random import Random

import plotly.graph_objects as go

from tstitch_search.allocation import Allocation
from tstitch_search.lookup import Candidate
from tstitch_search.pareto import Point, hypervolume, pareto_front
from tstitch_search.report.plots.common import laid_out
from tstitch_search.report.plots.palette import FRONT
from tstitch_search.report.record import Record

# The worst corner of the hypervolume: so much above the slowest, and above the worst denoiser alone on their front.
MARGIN = 0.1
N_DRAWS = 200  # of all values, each within its standard error, for the band
_BAND = "rgba(214,51,108,0.18)"  # FRONT, see-through


def hypervolume_plot(record: Record) -> go.Figure | None:
    """The share of the final hypervolume with its band, over device seconds; None with less than two allocations."""
    steps = hypervolume_steps(record)
    if len(steps) < 2:
        return None
    seconds, shares = zip(*steps, strict=True)
    lows, highs = zip(*hypervolume_band(record), strict=True)
    edge = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
    line = {"color": FRONT, "width": 2, "shape": "hv"}
    hover = "%{x:.1f} s: %{y:.1%}<br>95 % interval %{customdata[0]:.1%} to %{customdata[1]:.1%}<extra></extra>"
    traces = [
        go.Scatter(x=seconds, y=lows, **edge),
        go.Scatter(x=seconds, y=highs, **edge, fill="tonexty", fillcolor=_BAND),
        go.Scatter(
            x=seconds,
            y=shares,
            mode="lines+markers",
            line=line,
            marker={"size": 6},
            customdata=list(zip(lows, highs, strict=True)),
            hovertemplate=hover,
        ),
    ]
    figure = laid_out(go.Figure(traces))
    figure.update_xaxes(title="device seconds of the search", rangemode="tozero", zeroline=False)
    return figure.update_yaxes(title="share of the final area", tickformat=".0%", zeroline=False)


def hypervolume_steps(record: Record) -> list[tuple[float, float]]:
    """(device seconds of the search, share of the final hypervolume) after each allocation; empty without any."""
    values = {t.allocation: _point(record, t, 0.0) for t in record.comparable_trials}
    shares = _shares(record, values)
    return list(zip((seconds for seconds, _ in _looked(record)), shares, strict=True)) if shares else []


def hypervolume_band(record: Record) -> list[tuple[float, float]]:
    """The two-sided 95 % interval of each share of `hypervolume_steps`.

    From values drawn anew within their standard errors, as if those were independent of each other.
    """
    random = Random(0)
    drawn = [
        _shares(record, {t.allocation: _point(record, t, random.gauss()) for t in record.comparable_trials})
        for _ in range(N_DRAWS)
    ]
    at_each = (sorted(shares) for shares in zip(*(d for d in drawn if d), strict=True))
    return [(s[round(0.025 * (len(s) - 1))], s[round(0.975 * (len(s) - 1))]) for s in at_each]


def _point(record: Record, measured: Candidate, deviation: float) -> Point:
    """Predicted seconds, and the loss so many standard errors off."""
    return measured.latency_s_predicted, record.table.objective.loss(measured.quality) + deviation * measured.quality_se


def _looked(record: Record) -> list[tuple[float, Allocation]]:
    """What the search looked at, with the device seconds of all images made by then, as far as it compares."""
    compare = {t.allocation for t in record.comparable_trials}
    return [(moment.device_seconds, moment.allocation) for moment in record.looked if moment.allocation in compare]


def _shares(record: Record, values: Mapping[Allocation, Point]) -> list[float]:
    """The hypervolume after each allocation as a share of the last one; empty when that is 0."""
    if not values:
        return []
    corner = _corner(record, values)
    front: list[Point] = []
    areas = []
    for _, allocation in _looked(record):
        front = _front([*front, values[allocation]])
        areas.append(hypervolume(front, corner))
    return [area / areas[-1] for area in areas] if areas and areas[-1] > 0 else []


def _front(points: Sequence[Point]) -> list[Point]:
    return [points[i] for i in pareto_front(points)]


def _corner(record: Record, values: Mapping[Allocation, Point]) -> Point:
    """The worst corner that counts, from the denoisers alone, or from everything where those were not measured."""
    alone = [Allocation.of([(name, record.n_steps)]) for name in record.denoisers]
    first = [y for _, y in _front([values[a] for a in alone if a in values] or list(values.values()))]
    slowest = max(x for x, _ in values.values())
    return (1 + MARGIN) * slowest, max(first) + MARGIN * (max(first) - min(first))

"""What `analyze` found, a plot for each table that the run folder holds (T-Stitch's figures, for one's own members)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

from tstitch_search.quality.metrics import metric_named
from tstitch_search.report.analysis_tables import AnalysisTable, Value, read_tables
from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.markup import table as html_table
from tstitch_search.report.plots.common import laid_out, plot_html, spans_a_decade
from tstitch_search.report.plots.palette import colours
from tstitch_search.report.record import Record
from tstitch_search.report.wording import Z_95, named, plus_minus

Row = dict[str, Value]


@dataclass(frozen=True)
class Shown:
    """How the table of one analysis is shown: its title, what to look for, and the column of the horizontal axis.

    `line`: what a setting is called.
    """

    title: str
    note: str
    x: str
    x_title: str
    line: str = "{}"


_SHARE = "small_share", "share of steps not taken by the largest"
_TIME = "latency_s_predicted", "predicted seconds for a batch"
SHOWN = {
    "similarity": Shown(
        "How alike the members predict",
        "Cosine similarity of two members' predictions when both answer the questions of the largest one's trajectory "
        "(the paper's figure 3). Where it is near 1 they point into the same direction, and one can stand in for the "
        "other.",
        "step",
        "sampling step, from the noise end",
    ),
    "frequency": Shown(
        "Which frequencies are settled when",
        "Of the clean latents that each member predicts at a step, the share of energy above half of the highest "
        "frequency (after the paper's figure 11). Where the lines rise together, fine detail comes in, and members "
        "agree on how much.",
        "step",
        "sampling step, from the noise end",
    ),
    "members": Shown(
        "Which member takes the early steps",
        "Each smaller member at the noise end, the largest after it (as in the paper's figure 18, which takes a weakly "
        "trained one). Lower and further left is better.",
        *_TIME,
    ),
    "baselines": Shown(
        "Other ways to mix two members",
        "The smallest and the largest, half of the steps each (the paper's table 7).",
        *_TIME,
    ),
    "steps": Shown(
        "Numbers of sampling steps",
        "From the largest alone to the smallest alone, for trajectories of several lengths (the paper's figure 9). "
        "Lower and further left is better: where the line of fewer steps lies below that of more, they beat stitching.",
        *_TIME,
        "{} steps",
    ),
    "step-reduction": Shown(
        "Stitching against fewer steps",
        "The same number of steps of the largest, with the smallest in the early steps or without any (the paper's "
        "figure 15).",
        *_TIME,
    ),
    "solvers": Shown("Solvers", "The same sweep under other solvers (the paper's figure 8).", *_SHARE),
    "guidance": Shown(
        "Guidance", "The same sweep under other guidance scales (the paper's figure 12).", *_SHARE, "scale {}"
    ),
    "growing-n": Shown(
        "Growing numbers of images",
        "Confirmed allocations judged by the first n of their images (the paper's figure 13). FID falls with n for all "
        "alike, so values at different n do not compare; what has to be stable is their order.",
        "n_images",
        "images",
    ),
}


def analysis(record: Record, run_folder: Path) -> Html:
    """The plots and what they show; empty where nothing was analyzed. Raises ConfigError for a damaged table."""
    return join(*(_part(record, table) for table in read_tables(run_folder).values()))


def _part(record: Record, table: AnalysisTable) -> Html:
    shown, rows = SHOWN[table.name], table.records()
    title, about = tag("h3", shown.title), tag("p", f"{shown.note} {_n_said(table.name, rows)}", kind="note")
    if table.name == "baselines":
        return join(title, _rules(rows, _label(table)), about)
    figure = plot(record, table)
    return join(title, _key(figure), tag("div", plot_html(figure, f"analysis-{table.name}"), kind="plot low"), about)


def _n_said(name: str, rows: Sequence[Row]) -> str:
    """On how many images the values are, and what bars are."""
    n = f"n = {max(int(row['n_images']) for row in rows):,} images"
    if name in ("similarity", "frequency"):
        return f"{n}."
    if name == "baselines":
        return f"{n}; ± is one standard error."
    return f"{'Up to ' if name == 'growing-n' else ''}{n}; bars are 95 % intervals, each for itself."


def _rules(rows: Sequence[Row], label: str) -> Html:
    """A row for each way of mixing, after the largest alone."""
    mixed = {str(row["setting"]): row for row in rows[1:] if row["allocation"] != rows[0]["allocation"]}
    cells = [
        [name, f"{float(row['latency_s_predicted']):#.3g} s", _quality(row), _difference(row)]
        for name, row in {"the largest alone": rows[0], **mixed}.items()
    ]
    return html_table(["", "predicted time", label, "against the largest"], cells, kind="compact small")


def plot(record: Record, table: AnalysisTable) -> go.Figure:
    """One line for each pair, member or setting of the table."""
    shown, lines = SHOWN[table.name], _LINES.get(table.name, _measured)(table)
    colour = _colours(record, list(lines))
    figure = laid_out(go.Figure([trace.update(name=n, line_color=colour[n]) for n, trace in lines.items()]))
    title = _TITLES.get(table.name) or _label(table)
    figure.update_xaxes(title=shown.x_title, tickformat=".0%" if shown.x == "small_share" else "~g", zeroline=False)
    values = [float(y) for trace in figure.data for y in trace.y]
    kind = "log" if table.name not in _TITLES and spans_a_decade(values) else "linear"
    form = ".0%" if table.name == "frequency" else "~g"
    return figure.update_yaxes(title=title, type=kind, tickformat=form, zeroline=False)


def _label(table: AnalysisTable) -> str:
    """The metric with its n, as FID-200; where n grows along the axis, the metric alone."""
    row = table.records()[0]
    label = metric_named(str(row["metric"])).label
    return label if table.name == "growing-n" else named(label, int(row["n_images"]))


def _colours(record: Record, names: Sequence[str]) -> Mapping[str, str]:
    """The members' own colours where every line is of a member."""
    own = colours(record.denoisers)
    return own if set(names) <= set(own) else colours(names)


def _key(figure: go.Figure) -> Html:
    """Whose line has which colour."""
    marks = [tag("i", kind="line", attributes={"style": f"background:{trace.line.color}"}) for trace in figure.data]
    items = [tag("li", mark, trace.name) for mark, trace in zip(marks, figure.data, strict=True)]
    return tag("ul", *items, kind="key")


def _lines_of(table: AnalysisTable, name_of: Callable[[Row], str]) -> dict[str, list[Row]]:
    lines: dict[str, list[Row]] = {}
    for row in table.records():
        lines.setdefault(name_of(row), []).append(row)
    return lines


def _similarity(table: AnalysisTable) -> dict[str, go.Scatter]:
    lines = _lines_of(table, lambda row: f"{row['first']}, {row['second']}")
    return {name: _per_step(rows, [float(row["cosine"]) for row in rows], ".3f") for name, rows in lines.items()}


def _frequency(table: AnalysisTable) -> dict[str, go.Scatter]:
    """The share of high frequencies in the clean latents that each member predicts."""
    lines = {}
    for name, rows in _lines_of(table, lambda row: str(row["denoiser"])).items():
        clean = [row for row in rows if row["of"] == "clean"]
        steps = {int(row["step"]): row for row in clean}
        shares = [_high_share([row for row in clean if row["step"] == step]) for step in steps]
        lines[name] = _per_step(list(steps.values()), shares, ".1%")
    return lines


def _high_share(bands: Sequence[Row]) -> float:
    """The share of a step's energy in the bands of the upper half."""
    high = sum(float(band["energy"]) for band in bands if float(band["band_from"]) >= 0.5)
    return high / sum(float(band["energy"]) for band in bands)


def _per_step(rows: Sequence[Row], values: Sequence[float], form: str) -> go.Scatter:
    hover = "step %{x}: %{y:" + form + "}<extra>%{fullData.name}</extra>"
    return go.Scatter(x=[int(row["step"]) for row in rows], y=values, mode="lines", hovertemplate=hover)


def _measured(table: AnalysisTable) -> dict[str, go.Scatter]:
    return {
        name: go.Scatter(
            x=[row[SHOWN[table.name].x] for row in rows],
            y=[row["quality"] for row in rows],
            mode="lines+markers",
            marker={"size": 7},
            error_y={"type": "data", "array": [Z_95 * float(row["quality_se"]) for row in rows], "thickness": 1.2},
            customdata=[_hover(row) for row in rows],
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra>%{fullData.name}</extra>",
        )
        for name, rows in _lines_of(table, lambda row: SHOWN[table.name].line.format(row["setting"])).items()
    }


def _hover(row: Row) -> list[str]:
    label = named(metric_named(str(row["metric"])).label, int(row["n_images"]))
    return [str(row["allocation"]), f"{label} {_quality(row)}", f"{_difference(row)} against the largest alone"]


def _quality(row: Row) -> str:
    return plus_minus(float(row["quality"]), float(row["quality_se"]))


def _difference(row: Row) -> str:
    return plus_minus(float(row["difference"]), float(row["difference_se"]), sign=True)


_LINES: Mapping[str, Callable[[AnalysisTable], dict[str, go.Scatter]]] = {
    "similarity": _similarity,
    "frequency": _frequency,
}
_TITLES = {"similarity": "cosine similarity", "frequency": "share of high frequencies"}

"""The plots as PNG files, for slides and papers; kaleido draws them, which is optional."""

from importlib.util import find_spec
from pathlib import Path

import plotly.graph_objects as go

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.files import write_whole
from tstitch_search.report.plots.hypervolume import hypervolume_plot
from tstitch_search.report.plots.pareto import pareto
from tstitch_search.report.plots.times import time_plot
from tstitch_search.report.reading import read_record
from tstitch_search.report.record import Record
from tstitch_search.report.sections.alignment import alignment_plot
from tstitch_search.report.sections.search import ternary_plot

WIDTH, HEIGHT, SCALE = 1000, 560, 2  # CSS pixels, and how many of the picture's each becomes


def write_pictures(run_folder: Path) -> list[Path]:
    """Write each plot of the report as a PNG into the run folder and return their paths.

    Raises EnvironmentProblem when kaleido or a browser for it is missing, ConfigError when the run has no table yet.
    """
    if find_spec("kaleido") is None:
        hint = "pip install 'tstitch-search[png]'; report.html needs nothing"
        raise EnvironmentProblem("pictures of the plots are drawn by kaleido, which is not installed", hint)
    paths = []
    for name, figure in _plots(read_record(run_folder)).items():
        path = run_folder / f"{name}.png"
        write_whole(path, _png(figure))
        paths.append(path)
    return paths


def _plots(record: Record) -> dict[str, go.Figure]:
    """The plots of the page by name, those that there are."""
    found = {
        "pareto": pareto(record),
        "hypervolume": hypervolume_plot(record),
        "ternary": ternary_plot(record),
        "times": time_plot(record),
        "alignment": alignment_plot(record),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _png(figure: go.Figure) -> bytes:
    """The figure on white. Raises EnvironmentProblem when kaleido cannot draw it, mostly for want of a browser."""
    try:
        drawn: bytes = figure.update_layout(paper_bgcolor="white").to_image(
            "png", width=WIDTH, height=HEIGHT, scale=SCALE
        )
    except Exception as error:  # kaleido passes on whatever its browser does
        first_line = str(error).strip().partition("\n")[0]
        raise EnvironmentProblem(
            f"kaleido could not draw the plots: {first_line}",
            hint="it needs Chrome or Chromium: run plotly_get_chrome, or set BROWSER_PATH",
        ) from error
    return drawn

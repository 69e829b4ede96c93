"""The Pareto plot outside the page: as a plotly figure, and with the front as a table for notebooks."""

from pathlib import Path

import plotly.graph_objects as go

from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.measurement import Calls
from tstitch_search.report.markup import Html, join, table, tag
from tstitch_search.report.plots.pareto import pareto
from tstitch_search.report.reading import read_record
from tstitch_search.report.record import Record
from tstitch_search.report.wording import difference_text, latency_text, named, quality_text


def pareto_figure(source: LookupTable | Path) -> go.Figure:
    """The plot of a table or of the table in a file; of a run folder with all that its search saw.

    Raises ConfigError for a file or folder that holds no table.
    """
    if isinstance(source, LookupTable):
        return pareto(record_of(source))
    return pareto(read_record(source) if source.is_dir() else record_of(LookupTable.read(source)))


def notebook_html(run_folder: Path) -> Html:
    """The front of a finished run as a table, its headline and the plot, which needs no network."""
    record = read_record(run_folder)
    drawn = pareto(record).update_layout(height=420, paper_bgcolor="#ffffff").to_html(full_html=False)
    return join(_front(record.table), tag("p", str(record.table.provenance.get("headline", ""))), Html(drawn))


def _front(shown: LookupTable) -> Html:
    quality = named(shown.objective.label, shown.entries[0].n_images)
    head = ["allocation", "seconds (SE)", f"{quality} (SE)", f"against {shown.anchor_name} (SE)"]
    return table(head, [_row(entry) for entry in shown.entries])


def _row(entry: LookupEntry) -> list[str]:
    return [str(entry.allocation), latency_text(entry), quality_text(entry), difference_text(entry)]


def record_of(table: LookupTable) -> Record:
    """What a table alone says of its run."""
    return Record(
        table=table,
        trials=tuple(c for c in table.candidates if c.latency_s is None),
        posterior=(),
        looked=(),
        calls=Calls(),
        controls=None,
        calibration=None,
        workers=(),
        costs=(),
        failures=(),
    )

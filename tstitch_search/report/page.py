"""The page as a whole: its sections in reading order."""

from pathlib import Path

from tstitch_search.report.frame import document, header, section
from tstitch_search.report.markup import Html, tag
from tstitch_search.report.plots.pareto import pareto_html
from tstitch_search.report.record import Record
from tstitch_search.report.sections.alignment import alignment
from tstitch_search.report.sections.analysis import analysis
from tstitch_search.report.sections.front import front
from tstitch_search.report.sections.groups import groups
from tstitch_search.report.sections.limits import limits
from tstitch_search.report.sections.overview import costs, pareto_section, provenance
from tstitch_search.report.sections.picker import picker
from tstitch_search.report.sections.samples import sample_grid
from tstitch_search.report.sections.search import search_section
from tstitch_search.report.sections.story import headline, tiles
from tstitch_search.report.sections.times import time_doubt, times
from tstitch_search.report.sections.worst import worst


def page(record: Record, images: Path) -> str:
    """The HTML document about `record`, with the sample strips found in the folder `images`."""
    shown = [
        header(record.table.study, headline(record), tiles(record), time_doubt(record)),
        _going_on(record),
        section("Time against quality", pareto_section(record, pareto_html(record))),
        section("Pick by budget", picker(record)),
        section("The front: how the steps are divided", front(record)),
        section("Groups", groups(record)),
        section("Samples", sample_grid(record, images)),
        section("The worst pictures", worst(record, images)),
        section("Prompt alignment", alignment(record)),
        section("How the search went", search_section(record)),
        section("Analysis", analysis(record, images.parent)),
        section("Time: predicted and measured", times(record)),
        section("What the study took", costs(record)),
        section("What these numbers mean", tag("ul", *(tag("li", text) for text in limits(record)), kind="prose")),
        section("Provenance", provenance(record)),
    ]
    return document(record.table.study, record.denoisers, shown)


def _going_on(record: Record) -> Html:
    """A warning above the page of a run that did not come to its end since its table was written."""
    said = (
        "This study is not finished: its run goes on, or was interrupted. The page tells what was there when written."
    )
    return Html() if record.is_finished else tag("p", said, kind="unfinished", attributes={"role": "status"})

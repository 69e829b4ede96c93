"""The page as a whole: head, sections in reading order, scripts."""

from importlib.resources import files
from pathlib import Path

from plotly.offline import get_plotlyjs

from tstitch_search.report import sections
from tstitch_search.report.figures import pareto_html
from tstitch_search.report.front import front
from tstitch_search.report.limits import limits
from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.palette import FRONT, RULE, SEARCH, STAR, colours, ink_on
from tstitch_search.report.picker import picker
from tstitch_search.report.record import Record
from tstitch_search.report.samples import sample_grid
from tstitch_search.report.story import headline, tiles
from tstitch_search.report.times import times

# The browser itself refuses to load anything from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def page(record: Record, images: Path) -> str:
    """The HTML document about `record`, with the sample strips found in the folder `images`."""
    name = f"{record.table.study} {chr(0x2013)} tstitch-search"
    head = join(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", name),
        tag("style", Html(_resource("style.css") + _colours(record))),
        tag("script", Html(get_plotlyjs())),
    )
    body = tag(
        "body", tag("main", _header(record), *_sections(record, images)), tag("script", Html(_resource("script.js")))
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>{body}</html>\n'


def _header(record: Record) -> Html:
    return tag(
        "header",
        tag("p", "tstitch-search study", kind="kicker"),
        tag("h1", record.table.study),
        tag("p", headline(record), kind="lead"),
        tag("dl", *(tag("div", tag("dt", label), tag("dd", value)) for label, value in tiles(record)), kind="tiles"),
    )


def _sections(record: Record, images: Path) -> list[Html]:
    return [
        _section("Pick by budget", picker(record)),
        _section("Time against quality", sections.pareto(record, pareto_html(record))),
        _section("The front: who takes which steps", front(record)),
        _section("Samples", sample_grid(record, images)),
        _section("Time: predicted and measured", times(record)),
        _section("What the study took", sections.costs(record)),
        _section("What these numbers mean", tag("ul", *(tag("li", text) for text in limits(record)), kind="prose")),
        _section("Provenance", sections.provenance(record)),
    ]


def _section(title: str, content: Html) -> Html:
    return tag("section", tag("h2", title), content) if content else Html()


def _resource(name: str) -> str:
    return files("tstitch_search.report").joinpath(name).read_text(encoding="utf-8")


def _colours(record: Record) -> str:
    """The plot's colours as CSS variables, and classes d0, d1, ... with ground and ink of each denoiser."""
    rules = [
        f".d{i}{{background:{colour};color:{ink_on(colour)}}}"
        for i, colour in enumerate(colours(record.denoisers).values())
    ]
    return f":root{{--front:{FRONT};--search:{SEARCH};--star:{STAR};--rule:{RULE}}}" + "".join(rules)

"""What every page has around its content: head, styles with the study's colours, plotly, script."""

from collections.abc import Sequence
from importlib.resources import files

from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.plots.common import plotly_html
from tstitch_search.report.plots.palette import FRONT, RULE, SEARCH, STAR, colours, ink_on

# The browser itself refuses to load anything from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)

_REFRESH = Html('<meta http-equiv="refresh" content="60">')


def document(study: str, denoisers: Sequence[str], main: Sequence[Html], is_live: bool = False) -> str:
    """The HTML document about `study` around what `main` holds; a live one has no plots and looks for a newer self."""
    head = join(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", f"{study} {chr(0x2013)} tstitch-search"),
        tag("style", Html(_resource("style.css") + _colours(denoisers))),
        _REFRESH if is_live else Html(),
    )
    script = Html() if is_live else join(plotly_html(), tag("script", Html(_resource("script.js"))))
    body = tag("body", tag("main", *main), script)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>{body}</html>\n'


def header(study: str, lead: str, tiles: Sequence[tuple[str, str]], doubt: str = "") -> Html:
    """The study's name, the sentence to take away with a reason to doubt it, and figures as (label, value)."""
    return tag(
        "header",
        tag("p", "tstitch-search study", kind="kicker"),
        tag("h1", study),
        tag("p", lead, kind="lead"),
        tag("p", doubt, kind="note doubt") if doubt else Html(),
        tag("dl", *(tag("div", tag("dt", label), tag("dd", value)) for label, value in tiles), kind="tiles"),
    )


def section(title: str, content: Html) -> Html:
    """A section under its title, nothing when it has no content."""
    return tag("section", tag("h2", title), content) if content else Html()


def _resource(name: str) -> str:
    return files("tstitch_search.report").joinpath(name).read_text(encoding="utf-8")


def _colours(denoisers: Sequence[str]) -> str:
    """The plot's colours as CSS variables, and classes d0, d1, ... with ground and ink of each denoiser."""
    rules = [
        f".d{i}{{background:{colour};color:{ink_on(colour)}}}" for i, colour in enumerate(colours(denoisers).values())
    ]
    return f":root{{--front:{FRONT};--search:{SEARCH};--star:{STAR};--rule:{RULE}}}" + "".join(rules)

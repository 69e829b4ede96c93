"""An allocation as a coloured bar: noise on the left, image on the right, one colour per denoiser."""

from tstitch_search.allocation import Allocation, Segment
from tstitch_search.report.markup import Html, tag
from tstitch_search.report.record import Record
from tstitch_search.report.wording import segments_text


def bar(record: Record, allocation: Allocation) -> Html:
    """The bar of `allocation`, each segment as wide as its steps; one of fewer steps is shorter."""
    parts = [
        tag(
            "span",
            *_text(segment, segment.n_steps / max(record.n_steps, allocation.n_steps)),
            kind=denoiser_class(record, segment.denoiser),
            attributes={"style": f"flex-grow:{segment.n_steps}"},
        )
        for segment in allocation.segments
    ]
    said = segments_text(allocation)
    named = {"role": "img", "aria-label": said, "title": said}
    if allocation.n_steps < record.n_steps:
        named["style"] = f"width:{100 * allocation.n_steps / record.n_steps:.3g}%"
    return tag("div", *parts, kind="bar", attributes=named)


def _text(segment: Segment, share: float) -> list[str]:
    """Name and steps as far as they fit into `share` of the bar."""
    return [tag("b", segment.denoiser), f" {segment.n_steps}"][: 2 if share >= 0.18 else 1 if share >= 0.09 else 0]


def chip(record: Record, denoiser: str) -> Html:
    """The denoiser's name on its colour."""
    return tag("span", denoiser, kind=f"chip {denoiser_class(record, denoiser)}")


def denoiser_class(record: Record, denoiser: str) -> str:
    """The CSS class that carries the denoiser's colour."""
    return f"d{record.denoisers.index(denoiser)}"

"""The budget slider: what `LookupTable.pick` answers at each place of the slider, asked when the page is written.

So the page holds answers, not a second implementation of the question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

from tstitch_search.errors import ConfigError, QualityGateError
from tstitch_search.lookup import Candidate, LookupTable
from tstitch_search.pareto import knee
from tstitch_search.report.markup import Html, data, field, join, switch, tag
from tstitch_search.report.record import Record
from tstitch_search.report.sections.cards import card
from tstitch_search.report.sections.story import fastest_lossless
from tstitch_search.report.wording import percent

N_PLACES = 60  # of a slider, evenly spread on a logarithmic scale, beside one for each answer that there is


@dataclass(frozen=True)
class Place:
    """One place of a slider: the limit as people read it, as `pick` takes it, and the answer or why there is none."""

    limit: str
    call: str
    allocation: str | None
    refusal: str


@dataclass(frozen=True)
class Slider:
    """One kind of limit, with its places from the strictest to the loosest."""

    name: str
    places: tuple[Place, ...]


def picker(record: Record) -> Html:
    """The slider and the card of what it picks; empty when no time is known that is not 0."""
    offered = sliders(record)
    if not offered:
        return Html()
    start = _start(record, offered[0])
    place = offered[0].places[start]
    said = join("At most ", tag("output", place.limit, attributes={"id": "limit", "for": "budget"}))
    last = str(len(offered[0].places) - 1)
    slider = field("range", {"id": "budget", "min": "0", "max": last, "value": str(start), "step": "1"})
    names = {s.name: str(i) for i, s in enumerate(offered)}
    cards = [card(record, c, str(c.allocation) == place.allocation) for c in _shown(record)]
    refused = tag("p", place.refusal, kind="refusal", attributes={"id": "refusal", "role": "status"})
    pin = tag("button", "pin it below the plot", attributes={"type": "button", "id": "pin"})
    return join(
        switch("limit", names, "slider") if len(offered) > 1 else Html(),
        tag("div", tag("label", said, attributes={"for": "budget"}), slider, kind="budget"),
        tag("div", refused, *cards, kind="picked", attributes={"id": "picked"}),
        tag("p", "In Python: ", tag("code", place.call, attributes={"id": "call"}), " ", pin, kind="note"),
        data("sliders", [{"places": [vars(p) for p in s.places]} for s in offered]),
    )


def sliders(record: Record) -> list[Slider]:
    """A time slider for each operating point with times, then one for the loss where the table can tell it."""
    found, table = [], record.table
    several = len(table.operating_points) > 1
    for point in table.operating_points:
        try:
            seconds = [option.latency_s for option in table.options(point.id) if option.latency_s > 0]
        except ConfigError:  # no allocation has a time there
            continue
        if not seconds:
            continue
        ask = _Question(table, at=None if point == table.operating_points[0] else point.id)
        name = f"seconds at {point.id}" if several else "seconds"
        places = [ask.within_budget(s) for s in _spread(0.9 * min(seconds), 1.1 * max(seconds), seconds)]
        found.append(Slider(name, tuple(places)))
    return [*found, *_loss_slider(record)]


@dataclass(frozen=True)
class _Question:
    """What is asked of the table at one operating point."""

    table: LookupTable
    at: str | None = None

    def within_budget(self, budget_s: float) -> Place:
        also = f", at={self.at!r}" if self.at else ""
        return _place(
            lambda: self.table.pick(budget_s=budget_s, at=self.at), f"{budget_s:g} s", f"budget_s={budget_s!r}{also}"
        )

    def within_loss(self, share: float) -> Place:
        limit = f"{percent(share)} loss"
        return _place(lambda: self.table.pick(max_fid_loss=share), limit, f"max_fid_loss={share!r}")


def _loss_slider(record: Record) -> list[Slider]:
    """The slider of the loss as a share of the anchor's quality."""
    alone = next((c.quality for c in record.confirmed if c.allocation == record.anchor), 0.0)
    ask, loss = _Question(record.table), record.table.objective.loss
    if alone <= 0:
        return []
    shares = [max(loss(e.quality) - loss(alone), 0.0) / alone for e in record.table.entries]
    lowest, highest = 0.002, max(1.1 * max(shares), 0.05)
    try:
        places = [ask.within_loss(share) for share in (0.0, *_spread(lowest, highest, shares))]
    except ConfigError:  # the table does not say how good the anchor is
        return []
    return [Slider(f"{record.label} loss against {record.table.anchor_name}", tuple(places))]


def _place(pick: Callable[[], Candidate], limit: str, call: str) -> Place:
    try:
        picked, refusal = str(pick().allocation), ""
    except QualityGateError as error:
        picked, refusal = None, f"{error.message}; try {error.hint}"
    return Place(limit, f"LookupTable.read('lookup.json').pick({call})", picked, refusal)


def _spread(lowest: float, highest: float, answers: Sequence[float]) -> list[float]:
    """Limits in three digits from `lowest` to `highest`, and one just above each of `answers`."""
    ratio = (highest / lowest) ** (1 / (N_PLACES - 1))
    even = [float(f"{lowest * ratio**i:.3g}") for i in range(N_PLACES)]
    return sorted({*even, *(_just_above(value, answers) for value in answers if value > 0)})


def _just_above(value: float, answers: Sequence[float]) -> float:
    """`value` rounded up to four digits, or as it is where that would pass over another answer."""
    rounded = float(Context(prec=4, rounding=ROUND_CEILING).create_decimal(str(value)))
    return value if any(value < other <= rounded for other in answers) else rounded


def _shown(record: Record) -> list[Candidate]:
    """Everything confirmed, each allocation once: what may be picked at some operating point, or pinned."""
    n_images = record.table.entries[0].n_images
    others = [c for c in record.table.candidates if c.confirmed and c.n_images == n_images]
    return list({c.allocation: c for c in (*others, *record.confirmed)}.values())


def _start(record: Record, slider: Slider) -> int:
    """Where the slider stands at first: at the fastest that was shown lossless, else where the front bends."""
    entries = record.table.entries
    bend = knee([(e.latency_s, record.table.objective.loss(e.quality)) for e in entries])
    wanted = fastest_lossless(record) or entries[-1 if bend is None else bend]
    found = (i for i, p in enumerate(slider.places) if p.allocation == str(wanted.allocation))
    return next(found, len(slider.places) - 1)

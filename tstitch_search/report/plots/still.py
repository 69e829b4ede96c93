"""The front as a drawing that needs no script, for readers that run none."""

from collections.abc import Callable, Sequence

from tstitch_search.lookup import LookupEntry
from tstitch_search.report.markup import Html, tag
from tstitch_search.report.record import Record
from tstitch_search.report.wording import latency_text

WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 860, 420, 70, 52, 36


def still(record: Record) -> Html:
    """An SVG: time from left to right, quality upwards as on the plot, a dot with its 95 % interval for each entry."""
    entries = record.table.entries
    point = record.table.operating_points[0]
    bars = [record.intervals.errors * e.quality_se for e in entries]
    low = min(e.quality - bar for e, bar in zip(entries, bars, strict=True))
    high = max(e.quality + bar for e, bar in zip(entries, bars, strict=True))
    longest = max(e.latency_s for e in entries) * 1.05

    def x(seconds: float) -> float:
        return LEFT + seconds / longest * (WIDTH - LEFT - MARGIN)

    def y(quality: float) -> float:
        share = (quality - low) / (high - low) if high > low else 0.5
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - MARGIN)

    marks = [part for e, bar in zip(entries, bars, strict=True) for part in _entry(e, bar, x(e.latency_s), y)]
    return tag(
        "svg",
        tag("title", f"{record.label} against seconds for a batch of {point.batch_size}"),
        _path(_stairs([(x(e.latency_s), y(e.quality)) for e in entries]), "front"),
        *marks,
        *[_text(LEFT - 10, y(value) + 4, f"{value:.3g}", "end") for value in (low, (low + high) / 2, high)],
        *[_text(x(s), HEIGHT - BOTTOM + 22, f"{s:.3g}", "middle") for s in (longest / 4, longest / 2, longest * 0.75)],
        _text(WIDTH / 2, HEIGHT - 6, f"seconds for a batch of {point.batch_size}", "middle"),
        _text(LEFT, 16, record.label, "end"),
        attributes={"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img"},
        kind="still",
    )


def _entry(entry: LookupEntry, bar: float, x: float, y: Callable[[float], float]) -> list[Html]:
    said = tag("title", f"{entry.allocation}: {latency_text(entry)}")
    dot = {"cx": f"{x:.1f}", "cy": f"{y(entry.quality):.1f}", "r": "5"}
    interval = _path(f"M{x:.1f} {y(entry.quality - bar):.1f}V{y(entry.quality + bar):.1f}", "interval")
    at_right = x > WIDTH * 0.8
    name = _text(
        x + (-8 if at_right else 8), y(entry.quality) - 8, str(entry.allocation), "end" if at_right else "start"
    )
    return [interval, tag("circle", said, attributes=dot), name]


def _stairs(points: Sequence[tuple[float, float]]) -> str:
    """Steps from point to point, since nothing between two entries is measured."""
    (x, y), *others = points
    return f"M{x:.1f} {y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in others)


def _path(drawn: str, kind: str) -> Html:
    return tag("path", attributes={"d": drawn}, kind=kind)


def _text(x: float, y: float, said: str, anchor: str) -> Html:
    return tag("text", said, attributes={"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})

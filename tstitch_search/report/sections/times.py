"""Time: how far predictions were off, what they are made of, and the times at other operating points."""

from collections.abc import Mapping
from statistics import median

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import NOISY
from tstitch_search.lookup import Candidate, OperatingPoint
from tstitch_search.measurement import Calibration
from tstitch_search.pareto import pareto_front
from tstitch_search.report.markup import Html, join, table, tag
from tstitch_search.report.plots.bars import chip
from tstitch_search.report.plots.common import plot_html
from tstitch_search.report.plots.times import time_plot
from tstitch_search.report.record import Record
from tstitch_search.report.wording import (
    DASH,
    duration,
    latency_text,
    megabytes,
    memory_text,
    milliseconds,
    percent,
    point_text,
    predicted_text,
    times_faster,
)

# What the median prediction error should stay below.
AIM_CPU, AIM_GPU = 0.08, 0.02


def times(record: Record) -> Html:
    """Predicted against measured time of each confirmed allocation, the calibration, the other operating points."""
    rows = [_row(record, c) for c in record.confirmed]
    shown = table(["allocation", "predicted", "measured (SE)", "error"], rows, kind="compact")
    plot = time_plot(record)
    drawn = tag("div", plot_html(plot, "times"), kind="plot low") if plot else Html()
    return join(error_sentence(record), drawn, shown, _calibration(record), _points(record))


def error_sentence(record: Record) -> Html:
    """The median and the worst prediction error of the confirmed allocations, held against what it should be."""
    errors = {c.allocation: abs(error) for c in record.confirmed if (error := prediction_error(c)) is not None}
    if not errors:
        return tag("p", "No confirmed allocation has a measured time to hold the prediction against.")
    middle, worst = median(errors.values()), max(errors, key=lambda a: errors[a])
    device = record.table.operating_points[0].device
    aim = AIM_CPU if "threads" in device else AIM_GPU
    said = (
        f"Over the {len(errors)} confirmed allocations the times that the search went by were off by {_error(middle)} "
        f"of the measured time in the median and by {_error(errors[worst])} at worst ({worst}). On a shared CPU the "
        f"median should be below {percent(AIM_CPU)}, on a GPU below {percent(AIM_GPU)}; "
    )
    held = tag("b", "met") if middle < aim else tag("b", "missed", kind="lost")
    return tag("p", said, f"on {device} that was ", held, ".", _of_cached(record, errors))


def _of_cached(record: Record, errors: Mapping[Allocation, float]) -> str:
    """The median error of those with a cached member, whose steps take different times; empty without any."""
    cached = set(record.calibration.places) if record.calibration else set[str]()
    found = [error for allocation, error in errors.items() if cached.intersection(allocation.steps)]
    return f" Of the {len(found)} with a cached member: {_error(median(found))} in the median." if found else ""


def prediction_error(measured: Candidate) -> float | None:
    """Predicted over measured time less one; None without a measured time."""
    return measured.latency_s_predicted / measured.latency_s - 1 if measured.latency_s else None


def _row(record: Record, measured: Candidate) -> list[str]:
    error = prediction_error(measured)
    off = "" if measured in record.table.entries else tag("span", "not on the front", kind="below")
    return [
        join(tag("code", str(measured.allocation)), off),
        predicted_text(measured),
        latency_text(measured),
        DASH if error is None else _error(error, sign="+"),
    ]


def _error(error: float, sign: str = "") -> str:
    return f"{100 * error:{sign}.1f} %"


def _calibration(record: Record) -> Html:
    """The parts that predictions are sums of, and how steady they were."""
    c = record.calibration
    if c is None:
        return tag("p", *_spread(record.table.provenance.get("spread")))
    memory = f"; with all members loaded at most {megabytes(c.peak_memory_mb)} in use" if c.peak_memory_mb else ""
    about = f"One batch of {c.batch_size} images on {c.device}, medians over {c.n_repeats} repeats{memory}. "
    head = ["denoiser", "per step (SE)", "relative", "start of a segment (SE)", "memory alone", "weights"]
    rows = [_member(record, c, name) for name in c.step_s]
    rows.append(["outside the steps", milliseconds(c.fixed_s, c.fixed_se), *[DASH] * 4])
    note = "Start of a segment: what its first step takes beyond a step, from switching between denoisers."
    return join(
        tag("h3", "Calibration"),
        tag("p", about, *_spread(c.spread), *_drift(record), *_compiled(record)),
        table(head, rows, kind="cards small"),
        tag("p", note, kind="note"),
    )


def _compiled(record: Record) -> list[str]:
    """How long the first batch of each compiled denoiser took."""
    first_s = record.table.provenance.get("first_batch_s")
    if not isinstance(first_s, dict) or not first_s:
        return []
    listed = ", ".join(f"{name} {duration(seconds)}" for name, seconds in first_s.items())
    return [f" The first batch of each, which compiles it, took {listed}."]


def _member(record: Record, c: Calibration, name: str) -> list[str]:
    return [
        chip(record, name),
        milliseconds(c.step_s[name], c.step_se[name]),
        times_faster(c.step_s[name] / min(c.step_s.values())),
        milliseconds(c.switch_s[name], c.switch_se[name]),
        megabytes(c.member_memory_mb[name]) if c.member_memory_mb[name] else DASH,
        _weights(c, name),
    ]


def _weights(c: Calibration, name: str) -> str:
    """Megabytes on disk, or whose they are: together they count once."""
    if name in c.weights_of:
        return f"those of {c.weights_of[name]}"
    return megabytes(c.weights_mb[name]) if c.weights_mb[name] else DASH


def time_doubt(record: Record) -> str:
    """A sentence where the machine was busy while steps were timed; otherwise empty."""
    spread = record.calibration.spread if record.calibration else record.table.provenance.get("spread")
    if not isinstance(spread, int | float) or spread <= NOISY:
        return ""
    return f"Seconds are rough: the machine was busy while steps were timed, and repeats differ by {percent(spread)}."


def _spread(spread: object) -> list[str]:
    """How much repeats of a step differed, and whether that is too much."""
    if not isinstance(spread, int | float):
        return []
    said = f"Repeats of a step differ by {percent(spread)} (interquartile range over median)"
    if spread <= NOISY:
        return [f"{said}, within {percent(NOISY)}."]
    above = tag("b", f"above {percent(NOISY)}", kind="lost")
    return [f"{said}, ", above, ": the machine was busy with other things, so trust these times less."]


def _drift(record: Record) -> list[str]:
    """What the seconds of the search's chunks say of the machine, and whether times were taken again for it."""
    drift = record.drift
    if drift is None or "share" not in drift:
        return []
    band = f"{100 * drift['share']:+.1f} % (95 %: {100 * drift['low']:+.1f} to {100 * drift['high']:+.1f} %)"
    said = f" From the first to the last images of the search the same calls took {band} more time"
    return [f"{said}, so the denoisers were timed again after it." if drift["notable"] else f"{said}."]


def _points(record: Record) -> Html:
    """Seconds and memory of each confirmed allocation at each operating point; the front of each point in bold."""
    timed = [c for c in record.confirmed if c.latency_by_point]
    if not timed:
        return Html()
    first, *others = record.table.operating_points
    fronts = {point.id: _front_at(record, timed, point.id) for point in others}
    rows = [
        [
            tag("code", str(c.allocation)),
            _cell(latency_text(c), memory_text(c), c in record.table.entries),
            *(_at(c, point, c in fronts[point.id]) for point in others),
        ]
        for c in timed
    ]
    earlier = _measured_earlier(record)
    hows = ["measured", *("measured before" if point.id in earlier else "predicted" for point in others)]
    head = ["allocation", *(_point_head(p, how) for p, how in zip((first, *others), hows, strict=True))]
    note = (
        "Seconds for one batch with their standard error, and peak memory; predicted ones from a calibration at that "
        "point. Bold: on the front of that point, which may be another than the first one's; "
    )
    shown = tag("div", table(head, rows, kind="cards points"), kind="wide")
    return join(
        tag("h3", "Operating points"),
        shown,
        tag("p", note, tag("code", "pick --at ID"), " chooses from it.", kind="note"),
    )


def _measured_earlier(record: Record) -> list[object]:
    """The operating points whose times were measured before the table was timed anew on another device."""
    retimed = record.table.provenance.get("retimed_from")
    return [point.get("point") for point in retimed if isinstance(point, dict)] if isinstance(retimed, list) else []


def _front_at(record: Record, timed: list[Candidate], point: str) -> list[Candidate]:
    """Those of `timed` that nothing beats at the operating point."""
    there = [c for c in timed if point in c.latency_by_point]
    values = [(c.latency_by_point[point].latency_s, record.table.objective.loss(c.quality)) for c in there]
    return [there[i] for i in pareto_front(values)]


def _point_head(point: OperatingPoint, how: str) -> str:
    return f"{point.id}\n{point.device}\nbatch of {point.batch_size}, {how}"


def _at(measured: Candidate, point: OperatingPoint, on_front: bool) -> str:
    time = measured.latency_by_point.get(point.id)
    return _cell(point_text(time), memory_text(time), on_front) if time else DASH


def _cell(seconds: str, memory: str, on_front: bool) -> Html:
    return tag("div", tag("b", seconds) if on_front else seconds, tag("span", memory, kind="below"))

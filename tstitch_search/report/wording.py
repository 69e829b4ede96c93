"""Numbers as people read them: units spelt, digits cut where the error begins."""

from math import floor, log10

from tstitch_search.allocation import Allocation
from tstitch_search.lookup import Candidate, MetricValue, Objective, PointTime

DASH = "\u2013"
TIMES = "\u00d7"
NBSP = "\u00a0"
WORST = "worst 5 %"  # heads the column of `worst_text`
Z_95 = 1.96  # two-sided 95 % interval of a normal estimate


def named(label: str, n_images: int) -> str:
    """`FID-5K` for 5000 images, `FID-500` for 500: a quality is always named with its n."""
    return f"{label}-{n_images // 1000}K" if n_images % 1000 == 0 else f"{label}-{n_images}"


def plus_minus(value: float, se: float, sign: bool = False) -> str:
    """`17.30 ± 0.52`: the value cut at the second digit of its standard error; `sign` shows a plus."""
    decimals = min(max(1 - floor(log10(se)), 0), 6) if se > 0 else 3
    return f"{value:{'+' if sign else ''}.{decimals}f} ± {se:.{decimals}f}"


def interval_text(value: float, se: float, errors: float, sign: bool = False) -> str:
    """The interval of so many standard errors to either side, from low to high, cut like the value."""
    low, high = (plus_minus(value + side * errors * se, se, sign).partition(" ")[0] for side in (-1, 1))
    return f"{low} {DASH} {high}"


def milliseconds(value_s: float, se_s: float) -> str:
    """`12.30 ± 0.11 ms`."""
    return f"{plus_minus(1000 * value_s, 1000 * se_s)} ms"


def duration(seconds: float) -> str:
    """`31 ms`, `8.4 s`, `3 min 20 s`, `2 h 05 min`."""
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def times_faster(ratio: float) -> str:
    """The ratio with a multiplication sign."""
    return f"{ratio:.2f}{TIMES}"


def percent(share: float) -> str:
    """`40 %`, `2.5 %`."""
    return f"{100 * share:.3g} %"


def fractions_text(allocation: Allocation) -> str:
    """`S 40 %, XL 60 %`, from the noise end."""
    return ", ".join(f"{name} {percent(r)}" for name, r in allocation.fractions.items())


def predicted_text(measured: Candidate) -> str:
    """`0.6120 s`, as the calibration predicts it."""
    return f"{measured.latency_s_predicted:#.4g} s"


def latency_text(measured: Candidate) -> str:
    """`0.612 ± 0.004 s`, or the prediction when it was not timed."""
    if measured.latency_s is None or measured.latency_s_se is None:
        return f"{predicted_text(measured)} (predicted)"
    return f"{plus_minus(measured.latency_s, measured.latency_s_se)} s"


def quality_text(measured: Candidate) -> str:
    """`17.30 ± 0.52`, without its n."""
    return plus_minus(measured.quality, measured.quality_se)


def difference_text(measured: Candidate) -> str:
    """`+0.05 ± 0.15`, the paired difference to the anchor; a dash when there is none."""
    return _difference(measured.quality_difference, measured.quality_difference_se)


def worst_text(objective: Objective, measured: Candidate) -> str:
    """`21.4`, the value that the worst 5 % of the images reach; a dash when there are none of single images."""
    value = objective.worst_5(measured.quantiles)
    return DASH if value is None else f"{value:.3g}"


def metric_text(metric: MetricValue) -> str:
    """`9.12 ± 0.04`, or the value alone when its error is not known."""
    return f"{metric.value:.4g}" if metric.se is None else plus_minus(metric.value, metric.se)


def metric_difference_text(metric: MetricValue) -> str:
    """`-0.30 ± 0.05`, the paired difference to the anchor; a dash when there is none."""
    return _difference(metric.difference, metric.difference_se)


def _difference(difference: float | None, se: float | None) -> str:
    return plus_minus(difference, se, sign=True) if difference and se is not None else DASH


def megabytes(mb: float, sign: bool = False) -> str:
    """`1,234 MB`, `6.4 MB`; `sign` shows a plus, except before zero."""
    shown = f"{mb:,.0f}" if abs(mb) >= 100 else f"{mb:.3g}"
    return f"{'+' if sign and mb > 0 else ''}{shown} MB"


def memory_text(measured: Candidate | PointTime) -> str:
    """The peak memory, a dash when it was not measured."""
    return DASH if measured.peak_memory_mb is None else megabytes(measured.peak_memory_mb)


def extra_weights_text(measured: Candidate) -> str:
    """`+120 MB weights` beside those of the anchor, empty when not known."""
    return "" if measured.extra_weights_mb is None else f"{megabytes(measured.extra_weights_mb, sign=True)} weights"


def point_text(time: PointTime) -> str:
    """`0.612 ± 0.004 s`, as the point's calibration predicts it."""
    return f"{plus_minus(time.latency_s, time.latency_s_se)} s"


def segments_text(allocation: Allocation) -> str:
    """`steps 1-8: S, steps 9-20: XL`, counted from the noise end."""
    said, first = [], 1
    for segment in allocation.segments:
        said.append(f"steps {first}{DASH}{first + segment.n_steps - 1}: {segment.denoiser}")
        first += segment.n_steps
    return ", ".join(said) + (f"; profile {allocation.profile}" if allocation.profile else "")

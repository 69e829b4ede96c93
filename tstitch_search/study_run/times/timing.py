"""The denoisers timed round by round: until the error that is wanted is reached, or the time for it is over."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.latency_model import LatencyModel, median_se, typical_places
from tstitch_search.machine import NOTABLE_CORES, CpuTimes, Neighbours
from tstitch_search.measurement import Answer, Calibrate, Calibration
from tstitch_search.progress import Progress

# Without a limit of its own, a calibration may take so many times what its rounds would take at their fastest.
PATIENCE, AT_LEAST_S = 4, 0.5
# Fewer rounds say nothing about their error.
MIN_ROUNDS = 3


def time_denoisers(study: Study, measure: Callable[[Calibrate], Answer], progress: Progress) -> Calibration:
    """The parts of a batch's time, one round of all denoisers after the other.

    `latency.n_repeats` rounds, and more until a batch's time is known to `latency.error`; none begins once
    `latency.seconds` are over, but for the first three. Says of each round how far it is, and at the end what kept the
    error from being reached.
    """
    config, names, n_steps = study.config.latency, study.space.names, study.space.n_steps
    rounds, rounds_s, began = list[Calibration](), list[float](), CpuTimes.now()
    while True:
        before = time.monotonic()
        answer = measure(Calibrate(names, n_steps, 1, is_more=bool(rounds)))
        assert isinstance(answer, Calibration)
        rounds.append(answer)
        rounds_s.append(time.monotonic() - before)
        found = of_rounds(rounds)
        error = batch_error(found, n_steps)
        progress.doing(f"round {len(rounds)}" + (f", {_error_so_far(error)}" if len(rounds) > 1 else ""))
        is_known = len(rounds) >= config.n_repeats and error <= config.error
        if len(rounds) >= MIN_ROUNDS and (is_known or time_is_over(study, rounds_s)):
            break
    neighbours = began.neighbours()
    if error > config.error:
        progress.note(_widened(found, error, config.error, sum(rounds_s), neighbours))
    elif neighbours.cores >= NOTABLE_CORES:
        progress.note(f"{neighbours} while the denoisers were timed; {_error_so_far(error)}")
    return found


def time_is_over(study: Study, rounds_s: Sequence[float]) -> bool:
    """Whether rounds that took so long have used up what timing may take: `latency.seconds`, or its default."""
    config = study.config.latency
    limit_s = config.seconds or max(PATIENCE * config.n_repeats * min(rounds_s), AT_LEAST_S)
    return sum(rounds_s) >= limit_s


def of_rounds(rounds: Sequence[Calibration]) -> Calibration:
    """What single rounds say together: medians, their standard errors, the largest interquartile range of a step."""
    first, n = rounds[0], len(rounds)
    step_s, switch_s = ({k: [getattr(r, of)[k] for r in rounds] for k in first.step_s} for of in ("step_s", "switch_s"))
    fixed_s = [r.fixed_s for r in rounds]
    spread = max((_iqr(values) for values in step_s.values()), default=0.0)
    return Calibration(
        **{
            **vars(first),
            "step_s": _medians(step_s),
            "step_se": {k: median_se(v) for k, v in step_s.items()},
            "switch_s": _medians(switch_s),
            "switch_se": {k: median_se(v) for k, v in switch_s.items()},
            "fixed_s": median(fixed_s),
            "fixed_se": median_se(fixed_s),
            "spread": max(spread, *(r.spread for r in rounds)) if n > 1 else first.spread,
            "n_repeats": sum(r.n_repeats for r in rounds),
            "places": typical_places([r.places for r in rounds]),
        }
    )


def batch_error(calibration: Calibration, n_steps: int) -> float:
    """Standard error of the time of a batch by one denoiser, as a share of it: that of the least certain one."""
    latency = LatencyModel(calibration)
    alone = [Allocation.of([(name, n_steps)]) for name in calibration.step_s]
    return max(latency.latency_se(a) / latency.latency_s(a) for a in alone)


def _widened(found: Calibration, error: float, wanted: float, seconds: float, neighbours: Neighbours) -> str:
    because = f"; {neighbours}" if neighbours.cores >= NOTABLE_CORES else ""
    return (
        f"timing the denoisers ended after {found.n_repeats} rounds in {seconds:.0f} s{because}; a batch's time is "
        f"known to {error:.1%} (standard error), not to latency.error = {wanted:.1%}; "
        "latency.seconds gives it more time"
    )


def _error_so_far(error: float) -> str:
    return f"error {error:.1%} so far"


def _medians(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: median(v) for name, v in values.items()}


def _iqr(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle) if middle else 0.0

"""Time is not searched, it is known: seconds of any allocation from one calibration."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, sqrt
from statistics import fmean, median, stdev

from tstitch_search.allocation import Allocation, Segment
from tstitch_search.measurement import Calibration, together_mb

# Repeats of a step that differ by more (interquartile range over median) are those of a busy machine.
NOISY = 0.1


@dataclass(frozen=True)
class Parts:
    """What a batch's time is made of: the paper's Eq. 7 with the parts it leaves out.

    `step_s[k]`: one step of denoiser k, c_k. `switch_s[k]`: what beginning a segment of k takes beyond that, s_k.
    `fixed_s`: everything outside the steps, c_0. `places[k]`: of a denoiser with a cache, how long each step of a turn
    takes beside c_k; later ones than it knows take c_k. `calls`: where a sampling profile's solver asks otherwise than
    once in a step, how often it does (`Calibration.calls`).
    """

    step_s: Mapping[str, float]
    switch_s: Mapping[str, float]
    fixed_s: float
    places: Mapping[str, Sequence[float]] = field(default_factory=dict)
    calls: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def latency_s(self, allocation: Allocation) -> float:
        """`c0 + sum_k n_k c_k + sum over segments of s_k`: seconds for one batch, noise to decoded images."""
        steps_s = sum(n * self.step_s[name] for name, n in steps_asked(allocation, self.calls).items())
        switches_s = sum(self.switch_s[segment.denoiser] for segment in allocation.segments)
        return self.fixed_s + steps_s + switches_s + sum(map(self._beside_the_mean_s, allocation.segments))

    def _beside_the_mean_s(self, segment: Segment) -> float:
        """What a turn takes beyond steps of c_k: a cache skips less at its beginning than later on."""
        later = self.places.get(segment.denoiser, ())[1 : segment.n_steps]
        return self.step_s[segment.denoiser] * (sum(later) - len(later))


@dataclass(frozen=True)
class LatencyModel:
    """The time of every allocation, predicted from one calibration and for its batch size."""

    calibration: Calibration

    def latency_s(self, allocation: Allocation) -> float:
        """Predicted seconds for one batch of the calibrated size, noise to decoded images."""
        c = self.calibration
        return Parts(c.step_s, c.switch_s, c.fixed_s, c.places, c.calls).latency_s(allocation)

    def latency_se(self, allocation: Allocation) -> float:
        """Standard error of that prediction, from the spread of the calibration's repeats."""
        c = self.calibration
        steps = (n * c.step_se[name] for name, n in steps_asked(allocation, c.calls).items())
        names = [segment.denoiser for segment in allocation.segments]
        switches = (names.count(name) * c.switch_se[name] for name in allocation.steps)
        return hypot(c.fixed_se, *steps, *switches)

    def memory_mb(self, allocation: Allocation) -> float | None:
        """Predicted MB of a pipeline with the allocation's members: the neediest one's, and the others' weights.

        None where the calibration knows no memory (0).
        """
        c, members = self.calibration, list(allocation.steps)
        weights_mb = self._weights_mb(members)
        return max(c.member_memory_mb[name] + weights_mb - c.weights_mb[name] for name in members) or None

    def extra_weights_mb(self, allocation: Allocation, anchor: Allocation) -> float | None:
        """MB of weights beside those that the anchor needs, as in the paper's table 8; negative where it needs less.

        None where the calibration knows no weights (0).
        """
        if not any(self.calibration.weights_mb.values()):
            return None
        return self._weights_mb(allocation.steps) - self._weights_mb(anchor.steps)

    def _weights_mb(self, members: Iterable[str]) -> float:
        """MB of the members' weights, those that several share once."""
        return together_mb(members, self.calibration.weights_mb, self.calibration.weights_of)

    def order_warning(self, denoisers: Sequence[str]) -> str | None:
        """A sentence when measured step times contradict the listed order; Eq. 7 assumes C_1 < C_2 < ..."""
        times = [self.calibration.step_s[name] for name in denoisers]
        if times == sorted(times):
            return None
        measured = ", ".join(f"{name} {t:.3g} s" for name, t in zip(denoisers, times, strict=True))
        return f"the denoisers are listed cheap to expensive, but their measured step times are {measured}"

    @property
    def noise_warning(self) -> str | None:
        """A sentence when the machine was too busy for these times to be trusted."""
        spread = self.calibration.spread
        if spread <= NOISY:
            return None
        return (
            f"the machine is noisy: repeats of a step differ by {spread:.0%} (interquartile range over median), more "
            f"than {NOISY:.0%}; stop other work on it or raise latency.n_repeats"
        )


def steps_asked(allocation: Allocation, calls: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
    """Steps of each denoiser, in steps of the pipeline's own solver: one that asks twice in a step takes two."""
    if not (of_step := calls.get(allocation.scheme) if allocation.profile else None):
        return allocation.steps
    asked = dict.fromkeys(allocation.steps, 0.0)
    for name, n in zip(allocation.by_step, of_step, strict=True):
        asked[name] += n
    return asked


def median_se(values: Sequence[float]) -> float:
    """Standard error of the median of normal `values`, 1.2533 std / sqrt(n); 0 of a single one, where it is unknown."""
    return 1.2533 * stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def typical_places(rounds: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Medians over rounds of how long each step of a turn takes, from the second on again 1 in the mean."""
    found = {}
    for name in rounds[0]:
        middle = [median(values) for values in zip(*(places[name] for places in rounds), strict=True)]
        mean = fmean(middle[1:] or [1.0])
        found[name] = [middle[0], *(value / mean for value in middle[1:])]
    return found

"""Time is not searched, it is known: seconds of any allocation from one calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from tstitch_search.allocation import Allocation
from tstitch_search.measurement import Calibration


@dataclass(frozen=True)
class LatencyModel:
    """`latency_s(a) = c0 + sum_k n_k c_k`: the paper's Eq. 7 with the fixed part it leaves out."""

    calibration: Calibration

    def latency_s(self, allocation: Allocation) -> float:
        """Predicted seconds for one batch of the calibrated size, noise to decoded images."""
        c = self.calibration
        return c.fixed_s + sum(n * c.step_s[name] for name, n in allocation.steps.items())

    def latency_se(self, allocation: Allocation) -> float:
        """Standard error of that prediction, from the spread of the calibration's repeats."""
        c = self.calibration
        return hypot(c.fixed_se, *(n * c.step_se[name] for name, n in allocation.steps.items()))

    def order_warning(self, denoisers: Sequence[str]) -> str | None:
        """A sentence when measured step times contradict the listed order; Eq. 7 assumes C_1 < C_2 < ..."""
        times = [self.calibration.step_s[name] for name in denoisers]
        if times == sorted(times):
            return None
        measured = ", ".join(f"{name} {t:.3g} s" for name, t in zip(denoisers, times, strict=True))
        return f"the denoisers are listed cheap to expensive, but their measured step times are {measured}"

"""Which allocation to deploy within limits, and what is possible when none fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from math import inf

from tstitch_search.errors import QualityGateError
from tstitch_search.json_fields import check_number
from tstitch_search.lookup.entry import Candidate
from tstitch_search.lookup.objective import Objective


@dataclass(frozen=True)
class Option:
    """A candidate at one operating point; `memory_mb` is infinite where it is not known."""

    candidate: Candidate
    latency_s: float
    memory_mb: float
    objective: Objective

    @property
    def loss(self) -> float:
        """The quality as something to minimise."""
        return self.objective.loss(self.candidate.quality)

    def __str__(self) -> str:
        quality = f"{self.objective.label} {self.candidate.quality:.4g} at n = {self.candidate.n_images}"
        return f"{self.candidate.allocation} with {self.latency_s:.4g} s and {quality}"


@dataclass(frozen=True)
class Limits:
    """What an allocation may take at most; `worst` is the worst quality to accept. None: no limit."""

    budget_s: float | None = None
    worst: float | None = None
    max_memory_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("budget_s", "worst", "max_memory_mb"):
            if (value := getattr(self, name)) is not None:
                check_number(name, value)

    def in_time(self, option: Option) -> bool:
        return self.budget_s is None or option.latency_s <= self.budget_s

    def good_enough(self, option: Option) -> bool:
        return self.worst is None or option.loss <= option.objective.loss(self.worst)

    def fits_memory(self, option: Option) -> bool:
        return self.max_memory_mb is None or option.memory_mb <= self.max_memory_mb


def choose(options: Sequence[Option], limits: Limits) -> Candidate:
    """The best of the options within the budget; without a budget but with a quality limit, the fastest.

    Raises QualityGateError saying what is possible when none is within all limits.
    """
    fitting = [o for o in options if limits.in_time(o) and limits.good_enough(o) and limits.fits_memory(o)]
    if not fitting:
        raise _refusal(options, limits)
    if limits.budget_s is None and limits.worst is not None:
        return min(fitting, key=lambda o: o.latency_s).candidate
    return min(fitting, key=lambda o: (o.loss, o.latency_s)).candidate


def _refusal(options: Sequence[Option], limits: Limits) -> QualityGateError:
    """Why nothing fits, and what would."""
    fastest, best = min(options, key=lambda o: o.latency_s), min(options, key=lambda o: o.loss)
    least = min(o.memory_mb for o in options)
    if not limits.in_time(fastest):
        enough = _rounded(fastest.latency_s, ROUND_CEILING)
        return QualityGateError(
            f"no entry takes at most {limits.budget_s:g} s; the fastest is {fastest}",
            f"a budget of at least {enough} s",
        )
    if not limits.good_enough(best):
        return _refused_quality(best, limits)
    if limits.max_memory_mb is not None and least > limits.max_memory_mb:
        known = f"the least is {_rounded(least, ROUND_CEILING)} MB" if least < inf else "their memory was not measured"
        return QualityGateError(f"no entry needs at most {limits.max_memory_mb:g} MB; {known}", "a larger limit")
    small = [o for o in options if limits.fits_memory(o)]
    in_time = min((o for o in small if limits.in_time(o)), key=lambda o: o.loss, default="none")
    good = min((o for o in small if limits.good_enough(o)), key=lambda o: o.latency_s, default="none")
    problem = f"the best in that time is {in_time}, the fastest that is as good is {good}"
    return QualityGateError(f"no entry is within all limits: {problem}", "wider limits")


def _refused_quality(best: Option, limits: Limits) -> QualityGateError:
    higher = best.objective.higher_is_better
    bound, opposite, rounding = (
        ("at least", "at most", ROUND_FLOOR) if higher else ("at most", "at least", ROUND_CEILING)
    )
    return QualityGateError(
        f"no entry has {best.objective.label} {bound} {limits.worst:g}; the best is {best}",
        f"a limit of {opposite} {_rounded(best.candidate.quality, rounding)}",
    )


def _rounded(value: float, rounding: str) -> str:
    """`value` in four digits, rounded away from the limit, so that asking for what is printed succeeds."""
    return format(Context(prec=4, rounding=rounding).create_decimal(str(value)), "f")

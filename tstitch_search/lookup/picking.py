"""Which allocation to deploy within limits, and what is possible when none fits."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from functools import cached_property
from math import inf
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.errors import QualityGateError
from tstitch_search.json_fields import check_number
from tstitch_search.lookup.entry import Candidate
from tstitch_search.lookup.objective import Objective, OperatingPoint


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
class Deployed:
    """What deploying an option means. `point`: where its time holds; `speed_up`: against the anchor."""

    option: Option
    point: OperatingPoint
    speed_up: float | None
    anchor: Allocation | None

    def __str__(self) -> str:
        entry, point = self.option.candidate, self.point
        faster = f", {self.speed_up:.2f}x as fast as {self.anchor}" if self.speed_up and self.anchor else ""
        memory = f", {self.option.memory_mb:.0f} MB" if self.option.memory_mb < inf else ""
        quality = f"{self.option.objective.label} {entry.quality:.4g} ± {entry.quality_se:.2g} (n = {entry.n_images})"
        return (
            f"{self.option.latency_s:.4g} s for a batch of {point.batch_size} in {entry.allocation.n_steps} steps on "
            f"{point.device}{faster}{memory}\n  {quality}{self._against_anchor()}"
        )

    def _against_anchor(self) -> str:
        """How its quality differs from the anchor's, and whether it was shown to lose nothing."""
        entry = self.option.candidate
        if entry.allocation == self.anchor or entry.quality_difference is None or self.anchor is None:
            return ""
        said = "shown lossless" if entry.lossless else "not shown to be lossless"
        difference = f"{entry.quality_difference:+.3g} ± {entry.quality_difference_se or 0:.2g}"
        return f", {difference} against {self.anchor}, {said}"

    def to_json(self) -> dict[str, Any]:
        """The same for programs: `latency_s` are seconds from noise to decoded images of one batch."""
        return {
            "operating_point": self.point.id,
            "device": self.point.device,
            "batch_size": self.point.batch_size,
            "n_steps": self.option.candidate.allocation.n_steps,
            "latency_s": self.option.latency_s,
            "speed_up": self.speed_up,
            "anchor": None if self.anchor is None else str(self.anchor),
        }


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


@dataclass(frozen=True)
class Shelf:
    """The options at one operating point, to be asked often: a question takes two bisections, whatever their number."""

    options: tuple[Option, ...]

    @cached_property
    def front(self) -> tuple[Option, ...]:
        """The options that none as fast matches or beats, each slower than the one before, and better."""
        kept: list[Option] = []
        for option in sorted(self.options, key=lambda o: (o.latency_s, o.loss)):
            if not kept or option.loss < kept[-1].loss:
                kept.append(option)
        return tuple(kept)

    @cached_property
    def _times(self) -> list[float]:
        return [option.latency_s for option in self.front]

    @cached_property
    def _gains(self) -> list[float]:
        return [-option.loss for option in self.front]

    def within(self, max_memory_mb: float) -> "Shelf":
        """The options that need no more memory."""
        return Shelf(tuple(option for option in self.options if option.memory_mb <= max_memory_mb))

    def best_in(self, budget_s: float) -> Option | None:
        """The best that takes at most `budget_s` seconds; None when none does."""
        n_in_time = bisect_right(self._times, budget_s)
        return self.front[n_in_time - 1] if n_in_time else None

    def fastest_with(self, loss: float) -> Option | None:
        """The fastest that loses at most `loss`; None when none does."""
        n_worse = bisect_left(self._gains, -loss)
        return self.front[n_worse] if n_worse < len(self.front) else None


def choose(shelf: Shelf, limits: Limits, every: Sequence[Option]) -> Candidate:
    """The best on the shelf within the budget; without a budget but with a quality limit, the fastest.

    The shelf holds those of `every` option that fit into the memory. Raises QualityGateError saying what is possible
    when none is within all limits.
    """
    if limits.budget_s is None and limits.worst is not None and every:
        found = shelf.fastest_with(every[0].objective.loss(limits.worst))
    else:
        found = shelf.best_in(inf if limits.budget_s is None else limits.budget_s)
    if found is None or not limits.good_enough(found):
        raise _refusal(every, limits)
    return found.candidate


def fastest_lossless(shelf: Shelf, limits: Limits) -> Candidate:
    """The fastest on the shelf that is shown to lose nothing. Raises QualityGateError when the limits leave none."""
    shown = [o for o in shelf.options if o.candidate.lossless and not o.candidate.guard_lost]
    found = [o for o in shown if limits.in_time(o) and limits.good_enough(o)]
    if not found:
        known = f"; the fastest that is: {min(shown, key=lambda o: o.latency_s)}" if shown else ""
        raise QualityGateError(
            f"no entry within the limits is shown to be lossless{known}",
            "wider limits, or confirm more images (confirm.n_images)",
        )
    return min(found, key=lambda o: o.latency_s).candidate


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

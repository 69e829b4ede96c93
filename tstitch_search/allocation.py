"""The value everything is about: how the sampling steps are divided among the denoisers.

An `Allocation` is the trajectory cut into segments, from the noise end (step 0) to the image end. Integer steps are
the truth; a fraction is only what a person types or sees, and `steps_from_fractions` is the one place where it becomes
steps. Text form: `S*8-XL*12`; `S*8-XL*12@20` says their sum, too. `XL-fast*4@lightning` is one whose steps lie as the
sampling profile `lightning` of its search space says.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from math import floor, fsum

from tstitch_search.errors import ConfigError

# A name of a denoiser or profile: a letter, then letters, digits, `_`, `.`, `+`, single `-` (`XL+deepcache3`, `v-x`).
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+]*(?:-[A-Za-z0-9_.+]+)*")
_SEGMENT = re.compile(rf"\s*({NAME.pattern})\*([0-9]{{1,9}})\s*")
_SEGMENTS = re.compile(rf"{_SEGMENT.pattern}(?:-{_SEGMENT.pattern})*")
_TOTAL = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, order=True)
class Segment:
    """Consecutive sampling steps of one denoiser; `n_steps` >= 1."""

    denoiser: str
    n_steps: int

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.denoiser):
            raise ConfigError(
                f"{self.denoiser!r} is not a denoiser name: expected a letter, then letters, digits, _ . + and single -"
            )
        if self.n_steps < 1:
            raise ConfigError(f"a segment needs at least one step, got {self.denoiser}*{self.n_steps}")

    def __str__(self) -> str:
        return f"{self.denoiser}*{self.n_steps}"


# Large spaces hold few different segments, many times each.
_segment = lru_cache(maxsize=65536)(Segment)


@dataclass(frozen=True, order=True)
class Allocation:
    """Segments from the noise end to the image end; neighbours differ, none is empty.

    `profile`: the sampling profile of the search space by which its steps lie; empty for the pipeline's own schedule.
    Build one with `of`, `parse` or `from_steps`, which merge equal neighbours and drop empty segments.
    Raises ConfigError when nothing is left or neighbours are equal.
    """

    segments: tuple[Segment, ...]
    profile: str = ""

    def __post_init__(self) -> None:
        names = [s.denoiser for s in self.segments]
        if not names:
            raise ConfigError("an allocation needs at least one step, got none")
        if any(a == b for a, b in pairwise(names)):
            raise ConfigError(f"neighbouring segments must differ, got {self}")
        if self.profile and not NAME.fullmatch(self.profile):
            raise ConfigError(
                f"{self.profile!r} is not a profile name: expected a letter, then letters, digits, _ . + and single -"
            )

    @classmethod
    def of(cls, parts: Iterable[tuple[str, int]], profile: str = "") -> "Allocation":
        """The allocation giving each (denoiser, n_steps) in turn its steps; zero steps are dropped."""
        kept = [_segment(name, n) for name, n in parts if n != 0]
        if all(a.denoiser != b.denoiser for a, b in pairwise(kept)):
            return cls(tuple(kept), profile)
        runs = groupby(kept, key=lambda segment: segment.denoiser)
        return cls(tuple(_segment(name, sum(s.n_steps for s in run)) for name, run in runs), profile)

    @classmethod
    def parse(cls, text: str) -> "Allocation":
        """The allocation written as `S*8-XL*12`, as `S*8-XL*12@20` with the sum of its steps, or with `@profile`.

        Raises ConfigError on any other form, and when the sum is another.
        """
        segments, at, behind = text.partition("@")
        said = behind.strip()
        if not _SEGMENTS.fullmatch(segments) or (at and not (_TOTAL.fullmatch(said) or NAME.fullmatch(said))):
            raise ConfigError(
                f"{text!r} is not an allocation: expected segments DENOISER*STEPS joined by '-'",
                hint="for example S*8-XL*12, or S*4@PROFILE",
            )
        is_total = bool(_TOTAL.fullmatch(said))
        parts = ((name, int(n)) for name, n in _SEGMENT.findall(segments))
        allocation = cls.of(parts, "" if is_total else said)
        if is_total and int(said) != allocation.n_steps:
            raise ConfigError(
                f"{text!r} says {int(said)} steps in all, but its segments have {allocation.n_steps}",
                hint=f"write {segments.strip()}@{allocation.n_steps}, or leave the @ out",
            )
        return allocation

    @classmethod
    def from_steps(cls, denoisers: Sequence[str], steps: Sequence[int]) -> "Allocation":
        """The allocation giving `denoisers[k]` the next `steps[k]` steps."""
        return cls.of(zip(denoisers, steps, strict=True))

    def __str__(self) -> str:
        return "-".join(map(str, self.segments)) + (f"@{self.profile}" if self.profile else "")

    @property
    def file_name(self) -> str:
        """The text form without `*`, which shells and some file systems treat specially: `Sx8-XLx12`."""
        return str(self).replace("*", "x")

    @cached_property
    def n_steps(self) -> int:
        """Number of sampling steps of the whole trajectory."""
        return sum(s.n_steps for s in self.segments)

    @cached_property
    def by_step(self) -> tuple[str, ...]:
        """The denoiser of each step, index 0 at the noise end."""
        return tuple(s.denoiser for s in self.segments for _ in range(s.n_steps))

    @property
    def scheme(self) -> str:
        """Number of steps and profile, `4@lightning`: where its steps lie."""
        return f"{self.n_steps}@{self.profile}"

    @property
    def steps(self) -> dict[str, int]:
        """Steps per denoiser, in order of first appearance."""
        counts: dict[str, int] = {}
        for s in self.segments:
            counts[s.denoiser] = counts.get(s.denoiser, 0) + s.n_steps
        return counts

    @property
    def fractions(self) -> dict[str, float]:
        """r_k of Eq. 6: share of the steps per denoiser; sums to 1."""
        return {name: n / self.n_steps for name, n in self.steps.items()}


def steps_from_fractions(fractions: Mapping[str, float], n_steps: int) -> dict[str, int]:
    """Whole steps per denoiser that sum to `n_steps`, by largest remainder; a tie goes to the noise end.

    `fractions` are listed from the noise end, each in [0, 1], with sum 1 up to 1e-6. Raises ConfigError otherwise.
    """
    if any(not 0 <= r <= 1 for r in fractions.values()) or abs(fsum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"fractions must lie in [0, 1] and sum to 1, got {dict(fractions)}")
    exact = {name: round(r * n_steps, 9) for name, r in fractions.items()}
    steps = {name: floor(x) for name, x in exact.items()}
    remainders = {name: round(x - steps[name], 9) for name, x in exact.items()}  # rounded: 5/3 - 1 is 17/3 - 5
    by_remainder = sorted(remainders, key=lambda name: -remainders[name])  # stable: ties stay in noise-end order
    for name in by_remainder[: n_steps - sum(steps.values())]:
        steps[name] += 1
    return steps

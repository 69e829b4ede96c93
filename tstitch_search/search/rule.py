"""What a search goes by: the sampler, its seed, the candidates with their times, and the objective."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tstitch_search.allocation import Allocation
from tstitch_search.search.earlier import Earlier
from tstitch_search.search.embedding import Positions
from tstitch_search.search.posterior import QualityScale

SamplerName = Literal["known_latency", "enumerate", "random", "tpe", "nsga2", "gp"]


@dataclass(frozen=True)
class Rule:
    """Who proposes allocations, out of which candidates, from which seed, and what is traded against time.

    `controls`: the candidates that are asked first of all, since what the others are worth is judged with their images.
    `latency_s`: the predicted time of every candidate, which "known_latency" and `expected_gain` need. `relative`: the
    objective is compared as a ratio. `per_second`: seconds are what runs out, not trials. `positions`: where members
    lie among each other, None for their order alone. `earlier`: what studies of like members say.
    `admits`: whether an allocation may be asked for, where `candidates` are only a sample of those that may.
    """

    sampler: SamplerName
    seed: int
    candidates: tuple[Allocation, ...]
    objective: str = "fid"
    direction: Literal["minimize", "maximize"] = "minimize"
    latency_s: Mapping[Allocation, float] = field(default_factory=dict)
    relative: bool = True
    per_second: bool = False
    controls: tuple[Allocation, ...] = ()
    positions: Positions | None = None
    earlier: tuple[Earlier, ...] = ()
    admits: Callable[[Allocation], bool] | None = None

    def __post_init__(self) -> None:
        if self.sampler == "known_latency" and not all(a in self.latency_s for a in self.candidates):
            raise ValueError("known_latency needs the time of every candidate")

    @property
    def scale(self) -> QualityScale:
        """How the objective becomes what is modelled."""
        return QualityScale(self.relative, self.direction)

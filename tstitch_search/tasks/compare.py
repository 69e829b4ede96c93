"""Two allocations of a finished or running study, held against each other on the same images."""

from dataclasses import dataclass
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.config import allocation_in
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import SetName
from tstitch_search.quality.estimate import QualityEstimate, estimate
from tstitch_search.quality.metrics import metric_named
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.tasks.stored import StoredRun


@dataclass(frozen=True)
class Comparison:
    """The paired difference `first` minus `second` of a metric, over `n_images` images of `set_name`.

    `n_pairs`: so many could be compared on these images.
    """

    first: Allocation
    second: Allocation
    metric: str
    label: str
    set_name: SetName
    quality: QualityEstimate
    n_pairs: int = 1

    @property
    def interval_90(self) -> tuple[float, float]:
        """The two-sided 90 % interval of the difference, for this pair alone."""
        return self._interval(1)

    @property
    def interval_90_together(self) -> tuple[float, float]:
        """The one that holds together with those of all pairs: for who looked at several (Bonferroni)."""
        return self._interval(self.n_pairs)

    def _interval(self, n_together: int) -> tuple[float, float]:
        half = self.quality.half_width(0.9, n_together)
        return self.quality.difference - half, self.quality.difference + half

    @property
    def verdict(self) -> str:
        """Which one is better, if that can be told."""
        if not self.quality.differs:
            return "cannot tell apart"
        return f"{self.second if self.quality.loss > 0 else self.first} is better"


def compare(path: Path, first: str, second: str, metric: str | None = None) -> Comparison:
    """The comparison of two allocations of the run folder at `path`; of the objective unless `metric` is named.

    On the confirmation images if both have those, else on the search's. Raises ConfigError when they share too few.
    """
    run = StoredRun.open(path)
    a, b = (allocation_in(run.study.space, text) for text in (first, second))
    evaluator = Evaluator.of_study(run.study, run.reference())
    measured = metric_named(metric) if metric else evaluator.objective
    statistic = measured.bind(evaluator.reference)
    for set_name in ("confirm", "search"):
        if chunks := run.common([a, b], set_name):
            of_a, of_b = (evaluator.measured(run, allocation, chunks, measured, statistic) for allocation in (a, b))
            n_all = sum(1 for allocation in run.chunks if run.common([allocation], set_name))
            found = estimate(of_a, of_b, measured)
            return Comparison(a, b, measured.name, measured.label, set_name, found, max(n_all * (n_all - 1) // 2, 1))
    raise ConfigError(
        f"{a} and {b} have no images in common in {path}",
        hint=f"it holds {', '.join(map(str, sorted(run.chunks)[:8])) or 'no images yet'}",
    )

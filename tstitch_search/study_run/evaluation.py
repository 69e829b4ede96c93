"""What an allocation's images are worth: the study's metrics, bound to its reference, each with its error."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.config.models import QualityConfig
from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.measurement import Chunk
from tstitch_search.progress import Progress
from tstitch_search.quality.estimate import QualityEstimate, estimate, measured, quantiles
from tstitch_search.quality.jackknife import Jackknifed, Statistic
from tstitch_search.quality.metrics import metric_named
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.quality.reference import Reference
from tstitch_search.search_space import SearchSpace

Estimates = dict[Allocation, QualityEstimate]

# One-sided, of all verdicts of a kind in a table together.
LEVEL = 0.05


class Reader(Protocol):
    """Who can read stored arrays: the bench of a run, or a run folder read again."""

    @property
    def progress(self) -> Progress:
        """Who is told about allocations that cannot be judged."""
        ...

    def read(self, allocation: Allocation, chunks: Sequence[Chunk], array: str = "features") -> np.ndarray:
        """A stored array (n, ...) of the chunks in order. Raises MeasurementError when one is not there."""
        ...


class Evaluator:
    """The metrics of one study: its objective, the further ones and the guard."""

    def __init__(self, quality: QualityConfig, anchor: Allocation, reference: Reference | None, label_cycle: int = 1):
        """`label_cycle` consecutive images hold every label once; 1 where labels do not cycle.

        Raises ConfigError when the reference lacks what a metric needs.
        """
        self.anchor, self.guard, self.label_cycle = anchor, quality.guard, label_cycle
        self.objective = metric_named(quality.objective)
        self.statistics: dict[str, Statistic] = {
            name: metric_named(name).bind(reference) for name in quality.from_reference
        }
        self.reference = reference
        self._known: dict[tuple[Allocation, tuple[Chunk, ...], Statistic], Jackknifed] = {}

    @classmethod
    def of_study(cls, study: Study, reference: Reference | None) -> "Evaluator":
        """That of the study's metrics and anchor. Raises ConfigError as above."""
        return cls(study.config.quality, SearchSpace.of_study(study).anchor, reference, label_cycle(study))

    @property
    def further(self) -> tuple[Metric, ...]:
        """All metrics but the objective."""
        return tuple(metric_named(name) for name in self.statistics if name != self.objective.name)

    def estimates(
        self, reader: Reader, allocations: Sequence[Allocation], chunks: Sequence[Chunk], metric: Metric | None = None
    ) -> Estimates:
        """Value, error and paired difference to the anchor of every allocation whose chunks are all there.

        Of the objective, or of `metric`.
        """
        metric = metric or self.objective
        return self._estimates(reader, allocations, chunks, metric, self.statistics[metric.name])

    def quantiles(
        self, reader: Reader, allocations: Sequence[Allocation], chunks: Sequence[Chunk]
    ) -> dict[str, dict[Allocation, dict[str, float]]]:
        """By metric, of the values of single images; empty for a metric per set. Raises MeasurementError."""
        metrics = (self.objective, *self.further)
        return {
            m.name: {a: quantiles(m, reader.read(a, chunks, m.array)) for a in allocations}
            for m in metrics
            if m.kind != "set"
        }

    def guard_estimates(
        self, reader: Reader, allocations: Sequence[Allocation], chunks: Sequence[Chunk], others: Sequence[Chunk]
    ) -> Estimates:
        """The guard metric on `chunks`; `others` are the anchor's images to compare with, if the guard wants those."""
        if self.guard is None:
            return {}
        metric = metric_named(self.guard.metric)
        if self.guard.reference == "study":
            return self.estimates(reader, allocations, chunks, metric)
        reference = Reference.of_features(require_anchor(reader, self.anchor, others, metric.array))
        return self._estimates(reader, allocations, chunks, metric, metric.bind(reference))

    def measured(
        self,
        reader: Reader,
        allocation: Allocation,
        chunks: Sequence[Chunk],
        metric: Metric | None = None,
        statistic: Statistic | None = None,
    ) -> Jackknifed:
        """The metric (the objective if none is named) on the allocation's images; computed once.

        Raises MeasurementError when a chunk was given up.
        """
        metric = metric or self.objective
        statistic = statistic or self.statistics[metric.name]
        key = (allocation, tuple(chunks), statistic)
        if key not in self._known:
            self._known[key] = measured(
                metric, statistic, reader.read(allocation, chunks, metric.array), self.label_cycle
            )
        return self._known[key]

    def _estimates(
        self,
        reader: Reader,
        allocations: Sequence[Allocation],
        chunks: Sequence[Chunk],
        metric: Metric,
        statistic: Statistic,
    ) -> Estimates:
        require_anchor(reader, self.anchor, chunks, metric.array)
        anchor = self.measured(reader, self.anchor, chunks, metric, statistic)
        estimates = {}
        for allocation in allocations:
            try:
                estimates[allocation] = estimate(
                    self.measured(reader, allocation, chunks, metric, statistic), anchor, metric
                )
            except MeasurementError as error:
                reader.progress.note(error.message)
        return estimates

    def groups(
        self, reader: Reader, front: Sequence[Allocation], chunks: Sequence[Chunk], n_confirmed: int
    ) -> dict[Allocation, int]:
        """A number for each entry of the front, fastest first: those of one number cannot be told apart.

        A group begins with its fastest entry and goes on while no entry is shown to be better than that one. A front
        holds the best of the `n_confirmed`, whatever luck made them so, and all of these count (Bonferroni).
        """
        level = LEVEL / max(n_confirmed - 1, 1)
        numbers: dict[Allocation, int] = {}
        first, number = front[0], 1
        for allocation in front:
            own, fastest = (self.measured(reader, a, chunks) for a in (allocation, first))
            if estimate(own, fastest, self.objective).p_of_loss(0.0) < level:
                first, number = allocation, number + 1
            numbers[allocation] = number
        return numbers

    def is_guard_lost(self, quality: QualityEstimate) -> bool:
        """Whether the guard metric is worse than the anchor's by more than the study tolerates."""
        if self.guard is None:
            return False
        margin = metric_named(self.guard.metric).margin
        return quality.relative_loss > self.guard.tolerance if margin is None else quality.loss > margin


def label_cycle(study: Study) -> int:
    """How many consecutive images hold every class label once: the classes, or 1 where labels do not cycle."""
    files, labels = study.proxy_files, study.config.proxy_set.labels
    return 1 if files.prompts is not None or labels != "balanced" else study.space.n_classes


def require_anchor(reader: Reader, anchor: Allocation, chunks: Sequence[Chunk], array: str) -> np.ndarray:
    """The anchor's stored array: without it nothing can be compared."""
    try:
        return reader.read(anchor, chunks, array)
    except MeasurementError as error:
        raise no_anchor(anchor, error.message) from error


def no_anchor(anchor: Allocation, problem: str) -> EnvironmentProblem:
    """What to say when the anchor has no images or values."""
    return EnvironmentProblem(
        f"the anchor {anchor} could not be measured, so nothing can be compared to it ({problem})",
        hint="`tstitch-search generate` shows whether it makes pictures; if it does, look at the metric that is named",
    )

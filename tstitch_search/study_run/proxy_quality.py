"""The quality of an allocation while searching: from few images, where it pays with control variates."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp
from statistics import median

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import MeasurementError
from tstitch_search.measurement import Chunk, chunks_of
from tstitch_search.quality.control_variates import ControlVariates
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Jackknifed
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.evaluation import Estimates, Evaluator, Reader, require_anchor


def controls_of(study: Study, space: SearchSpace, candidates: Collection[Allocation]) -> tuple[Allocation, ...]:
    """The candidates whose images serve as control variates; none where the study does without."""
    return tuple(a for a in space.controls() if a in candidates) if study.config.control_level else ()


@dataclass(frozen=True)
class ProxyEstimate:
    """A quality at the level of `n_images` images, judged from `n_made` of them.

    `effective_n`: so many images without control variates would be as certain; None where there are none, which are not
    `corrected` either. `effects`: what each block of the images contributes to the error of its logarithm; empty where
    that is not known.
    """

    value: float
    se: float
    n_images: int
    n_made: int
    effective_n: float | None = None
    corrected: bool = False
    effects: tuple[float, ...] = ()


class ProxyQuality:
    """Qualities of the proxy set: all at one level, so that they compare.

    With control variates some allocations, the `controls`, are measured on all N = `quality.control_images` images:
    every FID is then an estimate of FID-N, whatever number of images it is made from. A racing search needs them; its N
    is `quality.n_images` unless stated. Otherwise that is the level, and the value the plain one.
    """

    def __init__(self, study: Study, space: SearchSpace, candidates: Collection[Allocation], evaluator: Evaluator):
        config = study.config.quality
        self._evaluator = evaluator
        self._n_images, self._n_control = config.n_images, study.config.control_level
        self.controls = controls_of(study, space, candidates)
        self.proxy_chunks = chunks_of("search", config.n_images, study.config.proxy_set.chunk_size)
        self._control_chunks = chunks_of("search", self._n_control or 0, study.config.proxy_set.chunk_size)
        self._controls: ControlVariates | None = None
        self._known: dict[tuple[Allocation, int | None], ProxyEstimate] = {}

    @property
    def n_level(self) -> int:
        """The number of images that all values are at; those of another level are another Optuna study."""
        return self._n_control or self._n_images

    def chunks_of(self, allocation: Allocation) -> Sequence[Chunk]:
        """The proxy images that the allocation is judged by."""
        return self._control_chunks if allocation in self.controls else self.proxy_chunks

    def measure(self, reader: Reader, allocation: Allocation, n_chunks: int | None = None) -> ProxyEstimate:
        """The allocation's quality, once its chunks and those of the controls are there; computed once.

        From its first `n_chunks` chunks only, if given: with control variates the level stays the same. Raises
        MeasurementError when one was given up.
        """
        key = (allocation, n_chunks)
        if key not in self._known:
            self._known[key] = self.prepare(reader, allocation, n_chunks)()
        return self._known[key]

    def know(self, allocation: Allocation, n_chunks: int, found: ProxyEstimate) -> None:
        """Keep an estimate that was computed elsewhere, as the answer of `measure`."""
        self._known[allocation, n_chunks] = found

    def prepare(
        self, reader: Reader, allocation: Allocation, n_chunks: int | None = None
    ) -> Callable[[], ProxyEstimate]:
        """What `measure` computes, with all that it needs already read: in any thread. Raises MeasurementError."""
        if self._n_control is None:
            return partial(_plain, self._evaluator.measured(reader, allocation, self.proxy_chunks))
        features = reader.read(allocation, self.chunks_of(allocation)[:n_chunks])
        if allocation in self.controls:
            return partial(_plain, self._evaluator.measured(reader, allocation, self._control_chunks))
        return partial(_corrected, self._controls_from(reader), features, self._n_control)

    def estimates(self, reader: Reader, measured: Mapping[Allocation, int | None]) -> Estimates:
        """Value, error and difference to the anchor of every allocation whose chunks are all there.

        `measured`: the allocations with their numbers of chunks, None for all.
        """
        if self._n_control is None:
            return self._evaluator.estimates(reader, list(measured), self.proxy_chunks)
        require_anchor(reader, self._evaluator.anchor, self._control_chunks, self._evaluator.objective.array)
        anchor = self._evaluator.measured(reader, self._evaluator.anchor, self._control_chunks)
        estimates: Estimates = {}
        for allocation, n_chunks in measured.items():
            try:
                found = self.measure(reader, allocation, n_chunks)
            except MeasurementError as error:
                reader.progress.note(error.message)
                continue
            se = 0.0 if allocation == self._evaluator.anchor else found.se
            estimates[allocation] = QualityEstimate(
                found.value, found.se, found.n_images, found.value - anchor.value, se
            )
        return estimates

    def summary(self) -> str | None:
        """What the control variates gained, in a sentence; None without them."""
        newest = {a: e for (a, _), e in sorted(self._known.items(), key=lambda item: item[1].n_made)}
        judged = [(e.effective_n, e) for e in newest.values() if e.effective_n is not None]
        if not judged:
            return None
        n_active = sum(e.corrected for _, e in judged)
        effective, n_made = median(n for n, _ in judged), median(e.n_made for _, e in judged)
        return (
            f"control variates: in use for {n_active} of {len(judged)} allocations; {n_made:.0f} images are "
            f"worth {effective:.0f} (medians)"
        )

    def _controls_from(self, reader: Reader) -> ControlVariates:
        """The controls as control variates; those that could not be measured are left out."""
        if self._controls is None:
            baselines = {}
            for control in self.controls:
                try:
                    baselines[str(control)] = reader.read(control, self._control_chunks)
                except MeasurementError:
                    if control == self._evaluator.anchor:
                        raise
            assert self._evaluator.reference is not None
            distance = FrechetDistance(self._evaluator.reference)
            self._controls = ControlVariates(distance, baselines, str(self._evaluator.anchor))
        return self._controls


def _plain(found: Jackknifed) -> ProxyEstimate:
    return ProxyEstimate(found.value, found.se, found.n_images, found.n_images)


def _corrected(controls: ControlVariates, features: np.ndarray, n_level: int) -> ProxyEstimate:
    found = controls.estimate(features)
    value = exp(found.log_fid)
    se, effects = value * found.log_fid_se, tuple(map(float, found.effects))
    return ProxyEstimate(value, se, n_level, len(features), found.effective_n, found.active, effects)

"""The rivals of benchmarks/search_cost.py, as curves: what each has made so far, and the estimates it would go by.

All see the same images in the same order (`Landscape.order(seed)`), but for enumeration with independent seeds. Stock
samplers and flat enumeration go by plain FIDs of the same n images.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Literal

import numpy as np
from landscapes import Landscape

from tstitch_search.allocation import Allocation
from tstitch_search.quality.control_variates import ControlVariates, Estimate
from tstitch_search.search import AllocationStudy, Rule
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.posterior import Candidates, History, QualityScale, Told, observations, posterior
from tstitch_search.search.racing import Measured, RaceRule, RaceState, Stop, next_action

SCALE = QualityScale(relative=True, direction="minimize")
Estimates = dict[Allocation, float]


@dataclass(frozen=True)
class Snapshot:
    """Images made of each allocation so far, and how to get the estimates that a table would be made from."""

    n_made: dict[Allocation, int]
    estimates: Callable[[], Estimates]
    is_last: bool = False


Method = Callable[[Landscape, int], Iterator[Snapshot]]


def flat(n: int) -> Method:
    """The whole grid of 0.1 on the first n images, shared seeds, plain FID."""

    def run(land: Landscape, seed: int) -> Iterator[Snapshot]:
        rows = land.order(seed)[:n]
        found = {a: land.distance(land.features(a, rows)) for a in land.coarse}
        yield Snapshot(dict.fromkeys(found, n), lambda: found, is_last=True)

    return run


def independent(n: int) -> Method:
    """The whole grid of 0.1 on n images each, every allocation with seeds of its own: the paper's procedure."""

    def run(land: Landscape, seed: int) -> Iterator[Snapshot]:
        rows = {a: land.order(1000 * (seed + 1) + i)[:n] for i, a in enumerate(land.coarse)}
        found = {a: land.distance(land.features(a, r)) for a, r in rows.items()}
        yield Snapshot(dict.fromkeys(found, n), lambda: found, is_last=True)

    return run


def stock(sampler: Literal["tpe", "gp", "nsga2", "random"], n_trials: int, n: int) -> Method:
    """One of Optuna's samplers, plain FID of the same first n images of every allocation it asks for."""

    def run(land: Landscape, seed: int) -> Iterator[Snapshot]:
        rows, found = land.order(seed)[:n], {}
        rule = Rule(sampler, seed, tuple(land.latency_s), latency_s=land.latency_s)
        with tempfile.TemporaryDirectory() as folder:
            study = AllocationStudy(Path(folder) / "study.db", "s", land.space, rule)
            while len(found) < n_trials and not study.is_exhausted:
                trial = study.ask()
                a = trial.allocation
                found[a] = land.distance(land.features(a, rows))
                study.tell(trial, land.latency_s[a], found[a], 0.0, n)
                known = dict(found)
                yield Snapshot(dict.fromkeys(known, n), lambda known=known: known, len(found) == n_trials)

    return run


class Paired(ControlVariates):
    """Control variates switched off: what remains is the paired difference to the anchor at equal n."""

    def _weights(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        return np.zeros(len(self._baselines)), 0.0


@dataclass(frozen=True)
class Ours:
    """known_latency on the first `chunk` images of every allocation, or racing up to `max_chunks` of them.

    The controls are measured on `n_control` images. `paired`: without control variates.
    """

    chunk: int
    max_chunks: int
    n_control: int
    tolerance: float
    paired: bool = False
    every: int = 4  # decisions between two snapshots

    def __call__(self, land: Landscape, seed: int) -> Iterator[Snapshot]:
        rows, found = land.order(seed), dict[Allocation, Measured]()
        control = {str(a): land.features(a, rows[: self.n_control]) for a in land.controls}
        controls = (Paired if self.paired else ControlVariates)(land.distance, control, str(land.space.anchor))
        for a in land.controls:
            found[a] = measured(land, a, controls.estimate(control[str(a)]), self.max_chunks)
        for n_decisions in range(10_000):
            asked = self._next(land.candidates, found)
            if asked is None or (n_decisions and n_decisions % self.every == 0):
                yield self._snapshot(land, dict(found), asked is None)
            if asked is None:
                return
            n_chunks = found[asked].n_chunks + 1 if asked in found else 1
            estimate = controls.estimate(land.features(asked, rows[: n_chunks * self.chunk]))
            effects = found[asked].effects if asked in found else tuple(map(float, estimate.effects))
            found[asked] = measured(land, asked, estimate, n_chunks, effects)

    def _next(self, candidates: Candidates, found: dict[Allocation, Measured]) -> Allocation | None:
        """The decision, as the package takes it; None to stop."""
        if self.max_chunks > 1:
            rule = RaceRule(self.max_chunks, self.tolerance)
            action = next_action(candidates, RaceState(tuple(found.values())), SCALE, rule)
            return None if isinstance(action, Stop) else action.allocation
        if waiting := [a for a in candidates.baselines if a not in found]:
            return waiting[0]
        expected = posterior(candidates, History(told=tuple(found.values())), SCALE)
        if expected is None or expected.expected_gain < self.tolerance:
            return None
        return candidates.allocations[int(np.argmax(expected.ehvi / candidates.latency_s))]

    def _snapshot(self, land: Landscape, found: dict[Allocation, Measured], is_last: bool) -> Snapshot:
        n_made = {a: self.n_control if a in land.controls else m.n_chunks * self.chunk for a, m in found.items()}
        return Snapshot(n_made, lambda: believed(land.candidates, tuple(found.values())), is_last)


def measured(
    land: Landscape, a: Allocation, estimate: Estimate, n_chunks: int, effects: tuple[float, ...] = ()
) -> Measured:
    """The estimate as a search takes it; `effects` are those of the first chunk."""
    value = exp(estimate.log_fid)
    return Measured(a, land.latency_s[a], value, max(value * estimate.log_fid_se, 1e-6), n_chunks, effects)


def believed(candidates: Candidates, told: tuple[Told, ...]) -> Estimates:
    """What the model thinks of every allocation, measured or not."""
    mean, _ = fit(observations(candidates, told, SCALE)).posterior(candidates.x)
    return dict(zip(candidates.allocations, map(float, np.exp(mean)), strict=True))

"""The winner's curse: values by which entries were selected are too good, those of the confirmation are not.

A recorded table is the truth; noise is independent between allocations, the worst case. Stages of the run are called on
a reader in memory: what they decide does not depend on where features lie.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measure.recorded.measurer import RecordedMeasurer
from tstitch_search.measurement import Chunk, ChunkFeatures, MakeChunk
from tstitch_search.progress import Silent
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.selection import select_for_confirmation
from tstitch_search.study_run.stages import candidates_in_focus, confirm_chunks, search_chunks

N_REPEATS = 200
# Two-sided 1 %, and five standard errors, of a normal mean.
NOT_SHOWN, PLAIN = 2.576, 5.0
STUDY = """\
name: flat
search_space: {name: flat, denoisers: [{name: S}, {name: XL}], n_steps: 20, grid: 1}
proxy_set: {chunk_size: 200}
measure: {recorded: table.csv, noise: 5%, noise_correlation: 0}
quality: {n_images: 200}
confirm: {n_images: 200, max_entries: 12}
latency: {batch_size: 8, n_repeats: 3}
"""


class InMemory:
    """A `Reader` that has what is asked for measured on the spot."""

    def __init__(self, measurer: RecordedMeasurer):
        self.progress, self._measurer = Silent(), measurer

    def read(self, allocation: Allocation, chunks: Sequence[Chunk], array: str = "features") -> np.ndarray:
        made = [self._measurer.do(MakeChunk(allocation, chunk)) for chunk in chunks]
        assert all(isinstance(answer, ChunkFeatures) for answer in made)
        return np.concatenate([answer.arrays[array] for answer in made])


def truth_of(allocation: Allocation) -> float:
    """FID falls with the large denoiser's steps, less and less: a front where neighbours are hard to tell apart."""
    return 10 + 30 * float(np.exp(-6 * allocation.fractions.get("XL", 0)))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("flat")
    (folder / "study.yaml").write_text(STUDY)
    all_of_them = [Allocation.from_steps(("S", "XL"), (n, 20 - n)) for n in range(21)]
    times = {a: a.steps.get("S", 0) * 0.1 + a.steps.get("XL", 0) * 1.0 for a in all_of_them}
    lines = [f"{a},{times[a]},{truth_of(a)}" for a in all_of_them]
    (folder / "table.csv").write_text("\n".join(["allocation,latency_s,fid", *lines]))
    return load_study(folder / "study.yaml")


def errors_of_selected(study: Study, seed: int) -> tuple[float, float]:
    """Mean relative error of the FIDs of what is selected: as the search saw them, and as confirmed.

    Single denoisers are left out, for they are confirmed whatever the search says.
    """
    proxy_set = study.config.proxy_set.model_copy(update={"seed": seed})
    study = study.model_copy(update={"config": study.config.model_copy(update={"proxy_set": proxy_set})})
    facts, space = resolve_facts(study), SearchSpace.from_config(study.space)
    measurer = RecordedMeasurer(study)
    measurer.load()
    evaluator = Evaluator(study.config.quality, space.anchor, facts.reference.statistics)
    latency = LatencyModel(facts.record.calibration)
    estimates = partial(evaluator.estimates, InMemory(measurer))

    searched = estimates(candidates_in_focus(study, space, latency, facts.measurable(space)), search_chunks(study))
    selected = select_for_confirmation(searched, latency, space, study.config.confirm, study.config.focus)
    confirmed = estimates(selected, confirm_chunks(study))
    chosen = [a for a in selected if len(a.steps) > 1]
    return mean_error(searched, chosen), mean_error(confirmed, chosen)


def mean_error(estimates: Mapping[Allocation, QualityEstimate], of: Sequence[Allocation]) -> float:
    return float(np.mean([estimates[a].value / truth_of(a) - 1 for a in of]))


@pytest.fixture(scope="module")
def errors(study: Study) -> np.ndarray:
    """Of the search and of the confirmation, (N_REPEATS, 2)."""
    return np.array([errors_of_selected(study, seed) for seed in range(N_REPEATS)])


def standard_errors_from_zero(values: np.ndarray) -> float:
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


def test_the_search_flatters_what_it_selects(errors: np.ndarray) -> None:
    assert standard_errors_from_zero(errors[:, 0]) < -PLAIN


def test_the_confirmation_does_not(errors: np.ndarray) -> None:
    assert abs(standard_errors_from_zero(errors[:, 1])) < NOT_SHOWN


def test_a_bias_of_two_thirds_of_the_search_s_would_be_seen(errors: np.ndarray) -> None:
    """So that the confirmation passes because it is fair, not because 200 repeats could not tell."""
    assert abs(standard_errors_from_zero(errors[:, 1] + 2 * errors[:, 0].mean() / 3)) > NOT_SHOWN

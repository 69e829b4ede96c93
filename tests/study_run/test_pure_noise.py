"""Where all allocations are equal, selecting the best of them must not make one come out as better."""

from functools import partial

import numpy as np
import pytest
from study_run.test_selection_bias import STUDY, InMemory

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measure.recorded.measurer import RecordedMeasurer
from tstitch_search.pareto import pareto_front
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.evaluation import LEVEL, Evaluator
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.selection import select_for_confirmation
from tstitch_search.study_run.stages import candidates_in_focus, confirm_chunks, search_chunks

N_STUDIES = 200


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "study.yaml").write_text(STUDY.replace("noise_correlation: 0", "noise_correlation: 0.5"))
    every = [Allocation.from_steps(("S", "XL"), (n, 20 - n)) for n in range(21)]
    lines = [f"{a},{a.steps.get('S', 0) * 0.1 + a.steps.get('XL', 0) * 1.0},10" for a in every]
    (folder / "table.csv").write_text("\n".join(["allocation,latency_s,fid", *lines]))
    return load_study(folder / "study.yaml")


def told_apart(study: Study, seed: int) -> int:
    """How many kinds of entries the front of one simulated study claims to tell apart; 1 is the truth."""
    proxy_set = study.config.proxy_set.model_copy(update={"seed": seed})
    study = study.model_copy(update={"config": study.config.model_copy(update={"proxy_set": proxy_set})})
    facts, space = resolve_facts(study), SearchSpace.from_config(study.space)
    measurer = RecordedMeasurer(study)
    measurer.load()
    reader = InMemory(measurer)
    evaluator = Evaluator(study.config.quality, space.anchor, facts.reference.statistics)
    latency = LatencyModel(facts.record.calibration)
    estimates = partial(evaluator.estimates, reader)
    searched = estimates(candidates_in_focus(study, space, latency, facts.measurable(space)), search_chunks(study))
    selected = select_for_confirmation(searched, latency, space, study.config.confirm, study.config.focus)
    confirmed = estimates(selected, confirm_chunks(study))
    ordered = sorted(confirmed, key=latency.latency_s)
    front = [ordered[i] for i in pareto_front([(latency.latency_s(a), confirmed[a].value) for a in ordered])]
    return max(evaluator.groups(reader, front, confirm_chunks(study), len(confirmed)).values())


@pytest.mark.slow  # 20 s
def test_of_studies_of_nothing_but_noise_hardly_any_calls_an_entry_better(study: Study) -> None:
    wrong = np.mean([told_apart(study, seed) > 1 for seed in range(N_STUDIES)])
    assert wrong <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / N_STUDIES) ** 0.5

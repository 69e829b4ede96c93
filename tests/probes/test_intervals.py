"""The interval that a member is trained on is exactly that of the timesteps at which it is asked."""

from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation
from tstitch_search.config import SpaceConfig, load_study
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import log_snr
from tstitch_search.probes.intervals import in_terms_of, intervals_of, n_timesteps
from tstitch_search.sampling.timetable import timesteps_by_step, timetable

N_STEPS, N_TRAINED = 12, 1000
ALONE = Allocation.of([("S", N_STEPS)])
SOLVERS = (
    "DDIMScheduler",
    "PNDMScheduler",
    "HeunDiscreteScheduler",
    "EulerDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)
NAMES = st.sampled_from(["S", "B", "XL"])
ALLOCATIONS = st.lists(NAMES, min_size=N_STEPS, max_size=N_STEPS).map(
    lambda names: Allocation.of((n, 1) for n in names)
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def spaces(tiny_family: Path) -> dict[str, tuple[SpaceConfig, Path]]:
    """The tiny family's space with each solver, and what its paths are relative to."""
    given = [(s, load_study(tiny_family / "study.yaml", [f"space.solver={s}"])) for s in SOLVERS]
    return {solver: (study.space, study.space_path.parent) for solver, study in given}


@pytest.fixture(scope="module")
def asked(spaces: dict[str, tuple[SpaceConfig, Path]]) -> dict[str, list[tuple[float, ...]]]:
    return {solver: timesteps_by_step(*space, ALONE) for solver, space in spaces.items()}


def test_half_of_the_zoos_twenty_steps_is_what_one_counts_by_hand() -> None:
    """DDIM, trailing, 20 steps: 999, 949, ..., 549 are steps 0 to 9."""
    timesteps = [(999.0 - 50 * i,) for i in range(20)]
    assert intervals_of("S", Allocation.parse("S*10-XL*10"), timesteps, N_TRAINED) == [(549, 999)]
    assert intervals_of("XL", Allocation.parse("S*10-XL*10"), timesteps, N_TRAINED) == [(49, 499)]
    assert intervals_of("S", Allocation.parse("S*4-XL*8-S*8"), timesteps, N_TRAINED) == [(49, 399), (849, 999)]


@settings(max_examples=50)
@given(solver=st.sampled_from(SOLVERS), allocation=ALLOCATIONS, member=NAMES)
def test_an_interval_runs_from_the_first_to_the_last_timestep_of_each_segment(
    asked, solver, allocation, member
) -> None:
    timesteps = asked[solver]
    trained = {t for a, b in intervals_of(member, allocation, timesteps, N_TRAINED) for t in range(a, b + 1)}
    ends = accumulate(s.n_steps for s in allocation.segments)
    segments = [(s, timesteps[end - s.n_steps : end]) for s, end in zip(allocation.segments, ends, strict=True)]
    expected = {
        t
        for segment, steps in segments
        for t in range(round(min(map(min, steps))), round(max(map(max, steps))) + 1)
        if segment.denoiser == member
    }
    assert trained == {min(t, N_TRAINED - 1) for t in expected}


@settings(max_examples=50)
@given(allocation=ALLOCATIONS, member=NAMES)
def test_no_timestep_of_another_member_is_trained_on(asked, allocation, member) -> None:
    """Where a step has one timestep of its own, as DDIM's."""
    timesteps = asked["DDIMScheduler"]
    trained = {t for a, b in intervals_of(member, allocation, timesteps, N_TRAINED) for t in range(a, b + 1)}
    for name, (t,) in zip(allocation.by_step, timesteps, strict=True):
        assert (t in trained) == (name == member)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_timestep_of_the_solver_belongs_to_one_step_and_the_first_is_that_of_the_timetable(
    spaces: dict[str, tuple[SpaceConfig, Path]], asked: dict[str, list[tuple[float, ...]]], solver: str
) -> None:
    assert len(asked[solver]) == N_STEPS
    assert all(asked[solver])
    assert [step[0] for step in asked[solver]] == [step.timestep for step in timetable(*spaces[solver], ALONE)]
    assert (max(map(len, asked[solver])) > 1) == (solver in ("PNDMScheduler", "HeunDiscreteScheduler"))


def test_a_member_of_another_noise_schedule_is_trained_where_there_is_as_much_noise() -> None:
    trajectory = NoiseProcess(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    member = NoiseProcess(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    ((own,),) = in_terms_of(member, trajectory, [(500.0,)])
    assert np.interp(own, np.arange(1000), log_snr(member)) == pytest.approx(log_snr(trajectory)[500], abs=1e-6)
    assert in_terms_of(trajectory, trajectory, [(500.0,)]) == [(500.0,)]


def test_flow_matching_is_trained_to_noise_alone() -> None:
    flow = NoiseProcess.of({"_class_name": "FlowMatchEulerDiscreteScheduler"})
    assert intervals_of("S", Allocation.parse("S*1-XL*1"), [(1000.0,), (500.0,)], n_timesteps(flow)) == [(1000, 1000)]
    assert n_timesteps(NoiseProcess()) == N_TRAINED

"""Calls that trajectories share are made once, and the images are the same bits as if each were made alone."""

import functools
import itertools
from collections import Counter
from collections.abc import Sequence

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DiTPipeline, DiTTransformer2DModel
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation
from tstitch_search.measurement import Calls, Chunk
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.stitching.prefixes import Start, TrajectoryMemo, calls_of, copied, size_of
from tstitch_search.search_space import SearchSpace

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SOLVERS = ("DDIM", "DPMSolverMultistep", "PNDM", "HeunDiscrete", "DDPM", "UniPCMultistep")
N_STEPS = 6
CHUNK = Chunk("search", 0, 3)

allocations = st.lists(st.sampled_from("SBL"), min_size=N_STEPS, max_size=N_STEPS).map(
    lambda names: Allocation.of((name, 1) for name in sorted(names[:4]) + names[4:])
)


def new_member(seed: int) -> DiTTransformer2DModel:
    torch.manual_seed(seed)
    return DiTTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=8,
        num_layers=1,
        sample_size=8,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=1000,
    ).eval()


class Stand:
    """Three members in a stock pipeline with one solver, and a count of the calls that reach them."""

    def __init__(self, solver: str):
        members = {name: new_member(seed) for seed, name in enumerate("SBL")}
        self.called: Counter[str] = Counter()
        for name, member in members.items():
            member.register_forward_hook(lambda *_, name=name: self.called.update([name]))
        torch.manual_seed(0)
        vae = AutoencoderKL(1, 1, block_out_channels=(8,), norm_num_groups=4, sample_size=8).eval()
        self.denoiser = dit.stitch(members)
        scheduler = getattr(diffusers, f"{solver}Scheduler")(beta_schedule="squaredcos_cap_v2")
        self.pipeline = DiTPipeline(transformer=self.denoiser, vae=vae, scheduler=scheduler)
        self.pipeline.set_progress_bar_config(disable=True)
        self.denoiser.watch(scheduler)

    def sample(self, allocation: Allocation, guidance_scale: float) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(i) for i in range(CHUNK.n_images)]
        self.denoiser.set_allocation(allocation)
        return dit.sample(self.pipeline, [Condition(i) for i in (3, 7, 1)], generators, N_STEPS, guidance_scale)

    def alone(self, allocation: Allocation, guidance_scale: float) -> torch.Tensor:
        self.denoiser.answerer = None
        return self.sample(allocation, guidance_scale)

    def sharing(
        self, memo: TrajectoryMemo, allocation: Allocation, guidance_scale: float
    ) -> tuple[torch.Tensor, Calls]:
        calls = Calls()
        with memo.trajectory(Start(CHUNK, N_STEPS, guidance_scale), calls) as self.denoiser.answerer:
            return self.sample(allocation, guidance_scale), calls


@functools.cache
def stand(solver: str) -> Stand:
    return Stand(solver)


@pytest.mark.parametrize("solver", SOLVERS)
@settings(max_examples=6)
@given(
    order=st.lists(st.tuples(allocations, st.sampled_from([1.0, 1.5])), min_size=2, max_size=5),
    limit=st.sampled_from([0, 20_000, 10**9]),
)
def test_images_are_bit_equal_to_those_made_alone_whatever_was_made_before(
    solver: str, order: Sequence[tuple[Allocation, float]], limit: int
) -> None:
    here, memo = stand(solver), TrajectoryMemo(limit)
    for allocation, guidance in order:
        expected = here.alone(allocation, guidance)
        here.called.clear()
        made, calls = here.sharing(memo, allocation, guidance)
        assert torch.equal(made, expected)
        assert calls.made == here.called
        assert memo.n_bytes <= limit


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_shared_beginning_is_not_called_again_and_a_trajectory_made_before_not_at_all(solver: str) -> None:
    here, memo = stand(solver), TrajectoryMemo(10**9)
    first, second = Allocation.parse("S*3-L*3"), Allocation.parse("S*3-B*3")
    _, all_made = here.sharing(memo, first, 1.5)
    _, calls = here.sharing(memo, second, 1.5)
    assert set(calls.made) == {"B"}
    assert calls.reused == Counter({"S": all_made.made["S"]})
    _, again = here.sharing(memo, first, 1.5)
    assert again.made.total() == 0
    assert again.reused == all_made.made


def test_other_images_steps_or_guidance_share_nothing() -> None:
    memo = TrajectoryMemo(10**9)
    starts = [Start(CHUNK, 6, 1), Start(Chunk("search", 0, 2), 6, 1), Start(CHUNK, 5, 1), Start(CHUNK, 6, 1.5)]
    starts.append(Start(Chunk("confirm", 0, 3), 6, 1))
    for start in starts:
        calls = Calls()
        with memo.trajectory(start, calls) as answer:
            answer(("S",), lambda name: torch.zeros(3))
        assert calls.made == Counter("S")


def test_what_was_kept_cannot_be_changed_by_whoever_gets_it() -> None:
    memo = TrajectoryMemo(10**9)
    given_out = []
    for _ in range(3):
        with memo.trajectory(Start(CHUNK, 1, 1), Calls()) as answer:
            given_out.append(answer(("S",), lambda name: (torch.zeros(3),))[0])
        given_out[-1] += 1
    assert all(torch.equal(one, torch.ones(3)) for one in given_out)


def test_outputs_of_every_shape_are_copied_and_weighed() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    for output in (tensor, (tensor, tensor[:, :2]), Transformer2DModelOutput(sample=tensor)):
        copy = copied(output)
        assert type(copy) is type(output)
        pairs = [(copy, output)] if isinstance(output, torch.Tensor) else list(zip(copy, output, strict=True))
        pairs = [(copy["sample"], output["sample"])] if isinstance(output, dict) else pairs
        assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in pairs)
    assert size_of(tensor) == size_of(Transformer2DModelOutput(sample=tensor)) == 24
    assert size_of((tensor, tensor[:, :2])) == 24 + 16


def test_a_member_that_goes_by_its_own_earlier_calls_is_not_replayed() -> None:
    members = {"S": new_member(0), "L": new_member(1)}
    members["L"].is_stateful = True
    denoiser = dit.stitch(members)
    assert denoiser.can_replay(Allocation.parse("S*6"))
    assert not denoiser.can_replay(Allocation.parse("S*3-L*3"))


def distinct_beginnings(jobs: Sequence[tuple[Allocation, Chunk]]) -> int:
    """Nodes of the trees that the allocations make, one tree per chunk and number of steps."""
    return len({(c, len(a.by_step), a.by_step[:i]) for a, c in jobs for i in range(1, len(a.by_step) + 1)})


jobs = st.lists(st.tuples(allocations, st.sampled_from([CHUNK, Chunk("search", 3, 6)])), min_size=1, max_size=12)


@given(jobs)
def test_with_room_for_all_every_beginning_is_called_once(jobs: list[tuple[Allocation, Chunk]]) -> None:
    calls = calls_of(jobs, limit_calls=10**6)
    assert calls.made.total() == distinct_beginnings(jobs)
    assert calls.n_all == len(jobs) * N_STEPS


@given(jobs, st.integers(0, 40))
def test_with_little_room_old_trajectories_go_first_and_of_one_its_end(
    jobs: list[tuple[Allocation, Chunk]], limit: int
) -> None:
    """Against a second implementation: lists of what is kept, the most precious first."""
    kept: list[tuple[Chunk, tuple[str, ...]]] = []
    n_made = 0
    for allocation, chunk in jobs:
        path = [(chunk, allocation.by_step[: i + 1]) for i in range(N_STEPS)]
        n_made += sum(one not in kept for one in path)
        kept = [*path, *(one for one in kept if one not in path)][:limit]
    assert calls_of(jobs, limit).made.total() == n_made


@given(st.integers(2, 6), st.integers(0, 40))
def test_batches_that_take_turns_do_not_push_each_other_out(n_batches: int, limit: int) -> None:
    """Each keeps its share of the memory, from the noise end, and finds it again in the next round."""
    memo, step_by_step = TrajectoryMemo(limit), Allocation.parse("S*6").by_step
    for n_before in (0, 1, 2):
        calls = Calls()
        for i in range(n_batches):
            with memo.trajectory(Start(Chunk("search", i, i + 1), 6, 1), calls, share=1 / n_batches) as answer:
                for depth in range(6):
                    answer(step_by_step[: depth + 1], lambda name: _Byte())
        assert calls.n_reused == (n_batches * min(6, limit // n_batches) if n_before else 0)
        assert memo.n_bytes <= limit


class _Byte:
    nbytes = 1

    def clone(self) -> "_Byte":
        return self


def test_on_the_papers_grid_small_first_saves_a_sixth_and_large_first_four_fifths() -> None:
    """DiT-S/B/XL, 100 steps, grid 0.1, seconds per 100 steps from T-Stitch, table 3 (RTX 3090, batch of 8)."""
    step_s = {"S": 1.6, "B": 4.0, "XL": 16.5}
    for order, least in ((("S", "B", "XL"), 0.18), (("XL", "B", "S"), 0.80)):
        grid = SearchSpace(order, (order,), n_steps=100, grid_steps=10)
        assert len(grid) == 66
        calls = calls_of(((a, CHUNK) for a in sorted(grid, key=lambda a: a.by_step)), limit_calls=100)
        assert calls.share_saved(step_s) >= least
        assert calls.n_all == 6600
        assert calls.made.total() == len({a.by_step[: i + 1] for a, i in itertools.product(grid, range(100))})

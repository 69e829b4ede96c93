"""The stitched denoiser inside stock pipelines: exact where one member answers, planned where several do."""

import copy
import itertools
from collections.abc import Sequence

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel, UNet2DModel
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SOLVERS = ("DDIM", "DPMSolverMultistep", "PNDM", "HeunDiscrete", "EulerDiscrete", "UniPCMultistep")
N_STEPS = 6
LABELS = [3, 7, 1]


def new_dit(seed: int, width: int, n_classes: int = 1000) -> DiTTransformer2DModel:
    torch.manual_seed(seed)
    return DiTTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=width,
        num_layers=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_embeds_ada_norm=n_classes,
    ).eval()


def new_unet(n_classes: int = 1000) -> UNet2DModel:
    torch.manual_seed(5)
    return UNet2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=4,
        num_class_embeds=n_classes + 1,
    ).eval()


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(1, 1, block_out_channels=(8,), norm_num_groups=4, sample_size=8).eval()


def run(denoiser: nn.Module, vae: AutoencoderKL, solver: str = "DDIM", guidance: float = 1.5) -> torch.Tensor:
    """What the stock pipeline makes of the denoiser: images (3, 1, 8, 8)."""
    scheduler = getattr(diffusers, f"{solver}Scheduler")(beta_schedule="squaredcos_cap_v2")
    pipeline = DiTPipeline(transformer=denoiser, vae=vae, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    if isinstance(denoiser, StitchedDenoiser):
        denoiser.watch(pipeline.scheduler)
    return call(pipeline, guidance)


def call(pipeline: DiTPipeline, guidance: float = 1.5, n_steps: int = N_STEPS) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(i) for i in range(len(LABELS))]
    return pipeline(
        LABELS, guidance_scale=guidance, generator=generators, num_inference_steps=n_steps, output_type="pt"
    ).images


def stitched(members: dict[str, nn.Module], allocation: str) -> StitchedDenoiser:
    denoiser = dit.stitch(members)
    denoiser.set_allocation(Allocation.parse(allocation))
    return denoiser


def count_calls(members: dict[str, nn.Module]) -> dict[str, int]:
    """A live count of forward calls per member."""
    calls = dict.fromkeys(members, 0)

    def count(name: str) -> None:
        calls[name] += 1

    for name, member in members.items():
        member.register_forward_hook(lambda *_, name=name: count(name))
    return calls


@pytest.mark.parametrize("guidance", [1.5, 1.0])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ["S", "L"])
def test_all_steps_to_one_member_is_bit_equal_to_the_stock_pipeline_with_it(
    vae: AutoencoderKL, solver: str, guidance: float, name: str
) -> None:
    members = {"S": new_dit(1, 8), "L": new_dit(2, 16)}
    plain = run(members[name], vae, solver, guidance)
    assert torch.equal(run(stitched(members, f"{name}*{N_STEPS}"), vae, solver, guidance), plain)
    assert not torch.isnan(plain).any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_members_of_equal_weights_give_the_same_images_for_every_allocation(
    vae: AutoencoderKL, solver: str
) -> None:
    members = {"A": new_dit(1, 8), "B": copy.deepcopy(new_dit(1, 8))}
    plain = run(members["A"], vae, solver)
    for steps in itertools.product("AB", repeat=3):
        allocation = Allocation.of((name, 2) for name in steps)
        assert torch.equal(run(stitched(members, str(allocation)), vae, solver), plain)


def test_different_members_make_different_images_and_the_order_matters(vae: AutoencoderKL) -> None:
    members = {"S": new_dit(1, 8), "L": new_dit(2, 16)}
    images = [run(stitched(members, text), vae) for text in ("S*6", "L*6", "S*3-L*3", "L*3-S*3")]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(images, 2))


@pytest.mark.parametrize("guidance", [1.5, 1.0])
@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        ("DDIM", {"S": 4, "B": 0, "L": 2}),
        ("DPMSolverMultistep", {"S": 4, "B": 0, "L": 2}),
        ("HeunDiscrete", {"S": 8, "B": 0, "L": 3}),  # 11 entries: two per step, one for the last
    ],
)
def test_each_member_is_called_for_its_own_steps_and_one_without_steps_never(
    vae: AutoencoderKL, solver: str, expected: dict[str, int], guidance: float
) -> None:
    members = {"S": new_dit(1, 8), "B": new_dit(2, 8), "L": new_dit(3, 16)}
    calls = count_calls(members)
    run(stitched(members, "S*4-L*2"), vae, solver, guidance)
    assert calls == expected


def test_surplus_timestep_entries_go_to_the_noise_end(vae: AutoencoderKL) -> None:
    members = {"S": new_dit(1, 8), "L": new_dit(3, 16)}
    calls = count_calls(members)
    denoiser = stitched(members, "S*1-L*5")
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=True)  # N_STEPS + 1 entries
    denoiser.watch(scheduler)
    pipeline = DiTPipeline(transformer=denoiser, vae=vae, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    call(pipeline)
    assert calls == {"S": 2, "L": 5}


def test_on_step_is_called_once_before_the_first_and_after_each_sampling_step(vae: AutoencoderKL) -> None:
    for solver in SOLVERS:
        done: list[int] = []
        denoiser = stitched({"S": new_dit(1, 8)}, "S*6")
        denoiser.on_step = done.append
        run(denoiser, vae, solver)
        assert done == list(range(N_STEPS + 1)), solver


def test_a_pipeline_called_again_and_again_starts_each_trajectory_from_the_noise_end(vae: AutoencoderKL) -> None:
    members = {"S": new_dit(1, 8), "L": new_dit(2, 16)}
    texts = ("S*6", "S*2-L*4", "L*6", "L*1-S*5", "S*2-L*4")
    alone = [run(stitched(members, text), vae) for text in texts]
    denoiser = dit.stitch(members)
    pipeline = DiTPipeline(transformer=denoiser, vae=vae, scheduler=DDIMScheduler(beta_schedule="squaredcos_cap_v2"))
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(pipeline.scheduler)
    for text, expected in zip(texts, alone, strict=True):
        denoiser.set_allocation(Allocation.parse(text))
        assert torch.equal(call(pipeline), expected)


def test_an_allocation_set_on_the_way_counts_from_the_next_trajectory(vae: AutoencoderKL) -> None:
    members = {"S": new_dit(1, 8), "L": new_dit(2, 16)}
    denoiser = stitched(members, "S*6")
    denoiser.on_step = lambda done: denoiser.set_allocation(Allocation.parse("L*6"))
    assert torch.equal(run(denoiser, vae), run(members["S"], vae))


def test_a_trajectory_that_broke_off_does_not_shift_the_next(vae: AutoencoderKL) -> None:
    class Stop(Exception):
        pass

    def stop(n_done: int) -> None:
        if n_done == 2:
            raise Stop

    denoiser = stitched({"S": new_dit(1, 8), "L": new_dit(2, 16)}, "S*3-L*3")
    expected = run(denoiser, vae)
    pipeline = DiTPipeline(transformer=denoiser, vae=vae, scheduler=DDIMScheduler(beta_schedule="squaredcos_cap_v2"))
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(pipeline.scheduler)
    denoiser.on_step = stop
    with pytest.raises(Stop):
        call(pipeline)
    denoiser.on_step = None
    assert torch.equal(call(pipeline), expected)


def test_a_unet_in_the_dit_slot_is_bit_equal_to_the_stock_pipeline_with_it(vae: AutoencoderKL) -> None:
    members = {"U": new_unet(), "L": new_dit(2, 16)}
    calls = count_calls(members)
    assert torch.equal(run(stitched(members, "U*6"), vae), run(members["U"], vae))
    run(stitched(members, "U*2-L*4"), vae)
    assert calls == {"U": 6 + 6 + 2, "L": 4}


def test_dit_pipelines_null_class_becomes_the_members_own() -> None:
    """A 10-class DiT answers label 1000 as a 1000-class DiT whose row 1000 holds the 10-class one's null embedding."""
    small, large = new_dit(1, 8, n_classes=10), new_dit(1, 8)
    weights = small.state_dict()
    key = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    table = large.state_dict()[key].clone()
    table[:10], table[1000] = weights[key][:10], weights[key][10]
    large.load_state_dict({**weights, key: table})
    latents, t, labels = torch.randn(4, 4, 8, 8), torch.tensor([500] * 4), torch.tensor([0, 9, 1000, 1000])
    assert torch.equal(dit.forward(small, latents, t, labels).sample, large(latents, t, labels).sample)


def test_the_largest_member_answers_for_the_whole_wherever_it_stands() -> None:
    for order in (("S", "L"), ("L", "S")):
        members = {"S": new_dit(1, 8), "L": new_dit(2, 16)}
        denoiser = dit.stitch({name: members[name] for name in order})
        assert denoiser.config is members["L"].config
        assert denoiser.dtype == torch.float32
        with pytest.raises(AttributeError, match="add_embedding"):
            _ = denoiser.add_embedding


def test_any_denoiser_name_will_do(vae: AutoencoderKL) -> None:
    """torch's own containers refuse names with a dot and names of their methods."""
    run(stitched({"v1.5": new_dit(1, 8), "half": new_dit(2, 8), "keys": new_dit(3, 8)}, "v1.5*2-half*2-keys*2"), vae)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_allocation_of_other_length_than_the_pipelines_is_refused(vae: AutoencoderKL, solver: str) -> None:
    with pytest.raises(ConfigError, match=r"S\*5 has 5 steps, but the pipeline runs 6 steps"):
        run(stitched({"S": new_dit(1, 8)}, "S*5"), vae, solver)


def test_an_unknown_member_is_refused_when_the_allocation_is_set() -> None:
    with pytest.raises(ConfigError, match="unknown denoiser 'M', expected one of S, L"):
        stitched({"S": new_dit(1, 8), "L": new_dit(2, 8)}, "S*2-M*4")


def test_sampling_without_an_allocation_is_refused(vae: AutoencoderKL) -> None:
    with pytest.raises(ConfigError, match="without an allocation"):
        run(dit.stitch({"S": new_dit(1, 8)}), vae)


def test_asking_without_a_watched_scheduler_is_refused(vae: AutoencoderKL) -> None:
    denoiser = stitched({"S": new_dit(1, 8)}, "S*6")
    pipeline = DiTPipeline(transformer=denoiser, vae=vae, scheduler=DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    with pytest.raises(ConfigError, match="no trajectory is under way"):
        call(pipeline)


def test_watching_leaves_the_schedulers_signatures_readable() -> None:
    """Pipelines decide by inspect.signature what they may pass to their scheduler."""
    import inspect

    def parameters(scheduler: DDIMScheduler) -> Sequence[Sequence[str]]:
        return [list(inspect.signature(f).parameters) for f in (scheduler.set_timesteps, scheduler.step)]

    scheduler = DDIMScheduler()
    dit.stitch({"S": new_dit(1, 8)}).watch(scheduler)
    assert parameters(scheduler) == parameters(DDIMScheduler())

"""Each row of the table of how pipelines guide, on a tiny stock pipeline of that class.

Those of the families are proven where the families are, in `test_family_contract.py`.
"""

import functools
from typing import Any

import pytest
import torch
from sampling.tiny_pipelines import TINY, Tiny, draw
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.config.family_traits import TRAITS
from tstitch_search.config.guidance import GUIDANCE
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Calls, Chunk
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.sampling.stitching.guidance import guide
from tstitch_search.sampling.stitching.prefixes import Start, TrajectoryMemo
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

N_STEPS, SCALE, OTHER = 4, 5.0, 2.0


def space(off: float = 1.0) -> SpaceConfig:
    listed = [
        {"name": "Free", "of": "XL", "guidance_scale": off},
        {"name": "Other", "of": "XL", "guidance_scale": OTHER},
        {"name": "XL", "weights": "somewhere"},
    ]
    return SpaceConfig.model_validate({"name": "space", "denoisers": listed, "n_steps": N_STEPS})


@functools.cache
def tiny_of(name: str) -> Tiny:
    return TINY[name]()


@pytest.fixture(params=TINY)
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return tiny_of(request.param)


def stock(tiny: Tiny, scale: float, denoiser: nn.Module | None = None) -> torch.Tensor:
    return draw(tiny, tiny.pipeline(denoiser or tiny.denoiser), N_STEPS, **{tiny.scale: scale})


def stitched(tiny: Tiny, allocation: str) -> tuple[torch.Tensor, dict[str, int]]:
    """The latents, and the rows that each member was asked for."""
    members = {"Free": twin_of(tiny.denoiser), "Other": twin_of(tiny.denoiser), "XL": tiny.denoiser}
    denoiser = StitchedDenoiser(members)
    pipeline = tiny.pipeline(denoiser)
    guide(space(tiny.off), denoiser, pipeline, SCALE)
    denoiser.watch(pipeline.scheduler, Allocation.parse(allocation))
    rows = dict.fromkeys(members, 0)
    hooks = [
        member.register_forward_pre_hook(
            lambda _, args, named, name=name: rows.update({name: rows[name] + n_rows(args, named)}), with_kwargs=True
        )
        for name, member in members.items()
    ]
    made = draw(tiny, pipeline, N_STEPS, **{tiny.scale: SCALE})
    for hook in hooks:
        hook.remove()
    return made, rows


def n_rows(args: tuple[Any, ...], named: dict[str, Any]) -> int:
    return len(args[0] if args else named["hidden_states"])


def is_embedded(tiny: Tiny) -> bool:
    return bool(tiny.denoiser.config.get("guidance_embeds"))


def test_a_member_without_guidance_alone_is_the_pipeline_with_guidance_off_at_half_the_work(tiny: Tiny) -> None:
    made, rows = stitched(tiny, f"Free*{N_STEPS}")
    assert torch.equal(made, stock(tiny, tiny.off))
    _, guided = stitched(tiny, f"XL*{N_STEPS}")
    assert rows["Free"] == guided["XL"] / (1 if is_embedded(tiny) else 2)


def test_a_member_of_another_guidance_alone_is_the_pipeline_with_that_guidance(tiny: Tiny) -> None:
    made, _ = stitched(tiny, f"Other*{N_STEPS}")
    torch.testing.assert_close(made, stock(tiny, OTHER), atol=1e-4, rtol=1e-4)
    assert not torch.equal(made, stock(tiny, SCALE))


def test_a_guidance_interval_is_the_pipeline_whose_denoiser_is_switched_by_hand(tiny: Tiny) -> None:
    """By hand: outside the interval a wrapper computes both halves, and answers both with the conditional one."""
    if is_embedded(tiny):
        pytest.skip("its guidance is an input of the denoiser, which has no halves")
    made, rows = stitched(tiny, "Free*1-XL*2-Free*1")
    torch.testing.assert_close(made, stock(tiny, SCALE, ByHand(tiny)), atol=1e-4, rtol=1e-4)
    assert rows["Free"] == rows["XL"] / 2
    assert not torch.allclose(made, stock(tiny, SCALE), atol=1e-3)


@pytest.mark.parametrize("n_kept", [0, 3, 1000])
@pytest.mark.parametrize("name", ["StableDiffusion3Pipeline", "QwenImagePipeline", "WanPipeline"])
def test_shared_beginnings_are_replayed_to_the_same_bits(name: str, n_kept: int) -> None:
    """Also where of a step's two calls only the first one's answer was kept."""
    tiny = tiny_of(name)
    denoiser = StitchedDenoiser({"Free": twin_of(tiny.denoiser), "Other": twin_of(tiny.denoiser), "XL": tiny.denoiser})
    pipeline = tiny.pipeline(denoiser)
    guide(space(), denoiser, pipeline, SCALE)
    denoiser.watch(pipeline.scheduler)
    start = Start(Chunk("search", 0, 1), N_STEPS, SCALE)

    def sharing(memo: TrajectoryMemo) -> tuple[torch.Tensor, int]:
        calls = Calls()
        with memo.trajectory(start, calls) as denoiser.answerer:
            return draw(tiny, pipeline, N_STEPS, **{tiny.scale: SCALE}), calls.made.total()

    denoiser.set_allocation(Allocation.parse("XL*4"))
    everything = TrajectoryMemo(10**9)
    _, n_made = sharing(everything)
    memo = TrajectoryMemo(n_kept * everything.n_bytes // n_made)
    for allocation in ("Free*2-XL*2", "Free*2-Other*2", "Other*1-Free*3", "Free*2-XL*2"):
        denoiser.set_allocation(Allocation.parse(allocation))
        denoiser.answerer = None
        alone = draw(tiny, pipeline, N_STEPS, **{tiny.scale: SCALE})
        assert torch.equal(sharing(memo)[0], alone)


class ByHand(nn.Module):
    """The denoiser with guidance in the second and third step only; a step is known by its timestep."""

    def __init__(self, tiny: Tiny) -> None:
        super().__init__()
        self.inner, self.facts = tiny.denoiser, GUIDANCE[type(tiny.build(tiny.denoiser)).__name__]
        self.seen: list[float] = []
        self.first: Any = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: Any, **named: Any) -> Any:
        timestep = float(torch.as_tensor(named["timestep"] if "timestep" in named else args[1]).flatten()[0])
        is_second_call = timestep in self.seen
        if not is_second_call:
            self.seen.append(timestep)
        output = self.inner(*args, **named)
        prediction = output[0]
        if len(self.seen) in (2, 3):
            return output
        if self.facts.calls == "two":
            self.first = self.first if is_second_call else prediction
            prediction = self.first
        elif isinstance(prediction, list):
            prediction = prediction[: len(prediction) // 2] * 2
        else:
            first, last = prediction.chunk(2)
            prediction = torch.cat([first if self.facts.conditional == "first" else last] * 2)
        return (prediction, *output[1:]) if isinstance(output, tuple) else type(output)(sample=prediction)


def test_every_row_of_the_table_is_proven_here_or_with_the_families() -> None:
    of_families = {name for traits in TRAITS.values() for name in traits.pipelines}
    assert set(GUIDANCE) <= set(TINY) | of_families


def test_a_pipeline_of_which_it_is_not_known_is_refused() -> None:
    class OfMyOwn:
        pass

    with pytest.raises(ConfigError, match="how OfMyOwn guides is not known"):
        guide(space(), StitchedDenoiser({"Free": nn.Linear(1, 1), "XL": nn.Linear(1, 1)}), OfMyOwn(), SCALE)


def test_a_distilled_pipelines_denoisers_without_a_guidance_input_are_refused() -> None:
    schnell = tiny_of("FluxPipeline")
    plain = type(schnell.denoiser).from_config({**schnell.denoiser.config, "guidance_embeds": False})
    with pytest.raises(ConfigError, match="take no guidance as an input"):
        guide(space(), StitchedDenoiser({"Free": plain, "XL": twin_of(plain)}), schnell.build(plain), SCALE)


def test_a_guider_of_another_formula_is_refused() -> None:
    tiny = tiny_of("HunyuanVideo15Pipeline")
    pipeline = tiny.build(tiny.denoiser)
    pipeline.guider = pipeline.guider.new(start=0.2)
    with pytest.raises(ConfigError, match=r"guider is a ClassifierFreeGuidance start 0\.2"):
        guide(space(), StitchedDenoiser({"Free": twin_of(tiny.denoiser), "XL": tiny.denoiser}), pipeline, SCALE)

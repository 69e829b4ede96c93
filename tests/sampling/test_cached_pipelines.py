"""A cached member alone makes the bits of the stock pipeline whose denoiser has that cache."""

import re
from typing import Any

import pytest
import torch
from diffusers import CacheMixin
from diffusers.hooks import TaylorSeerCacheConfig
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from sampling.tiny_pipelines import TINY, Tiny, draw

from tstitch_search.allocation import Allocation
from tstitch_search.members.accelerators import accelerate
from tstitch_search.members.twins import twin_of
from tstitch_search.sampling.stitched_denoiser import StitchedDenoiser

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

N_STEPS, SCALE = 6, 5.0


def taylorseer(denoiser: Any) -> TaylorSeerCacheConfig:
    layers = [name for name, layer in denoiser.named_modules() if isinstance(layer, Attention | FeedForward)]
    return TaylorSeerCacheConfig(
        cache_interval=3,
        disable_cache_before_step=2,
        taylor_factors_dtype=torch.float32,
        cache_identifiers=[re.escape(name) for name in layers],
    )


@pytest.mark.parametrize("name", TINY)
def test_taylorseer_alone_is_the_pipeline_with_that_cache(name: str) -> None:
    """Also where a step is two calls, each with a memory of its own."""
    tiny: Tiny = TINY[name]()
    if not isinstance(tiny.denoiser, CacheMixin):
        pytest.skip("diffusers has no caches for this denoiser")
    plain = draw(tiny, tiny.pipeline(twin_of(tiny.denoiser)), N_STEPS, **{tiny.scale: SCALE})
    cached = twin_of(tiny.denoiser)
    layers = taylorseer(cached).cache_identifiers
    if not layers:
        pytest.skip("taylorseer finds no layer of diffusers' here")
    cached.enable_cache(taylorseer(cached))
    stock = draw(tiny, tiny.pipeline(cached), N_STEPS, **{tiny.scale: SCALE})
    member = twin_of(tiny.denoiser)
    forget = accelerate(member, "taylorseer3", "T")
    denoiser = StitchedDenoiser({"T": member, "XL": twin_of(tiny.denoiser)})
    denoiser.at_turn["T"] = forget
    pipeline = tiny.pipeline(denoiser)
    for _ in range(2):
        denoiser.watch(pipeline.scheduler, Allocation.parse(f"T*{N_STEPS}"))
        assert torch.equal(draw(tiny, pipeline, N_STEPS, **{tiny.scale: SCALE}), stock)
    denoiser.watch(pipeline.scheduler, Allocation.parse(f"XL*{N_STEPS}"))
    assert torch.equal(draw(tiny, pipeline, N_STEPS, **{tiny.scale: SCALE}), plain)
    assert not torch.equal(stock, plain)

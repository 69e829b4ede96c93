"""The matrix of pipelines and caches: a cached member alone makes the bits of the stock pipeline with that cache.

Where the matrix says no, the study is refused with the reason, and the reason is true.
"""

import functools
import inspect
import re
from typing import Any

import diffusers
import pytest
import torch
from diffusers import CacheMixin
from diffusers.hooks import TaylorSeerCacheConfig
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from sampling.tiny_pipelines import TINY, Tiny, draw

from tstitch_search.allocation import Allocation
from tstitch_search.config.caches import HOOKED, KINDS, WITHOUT_HOOKS, needs, require_caches, why_not
from tstitch_search.config.models import SpaceConfig
from tstitch_search.config.models.accelerator import CacheConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.changes.accelerators import accelerate
from tstitch_search.members.changes.caches import HOOKS, add_cache
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.sampling.assembly import accelerated
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

pytestmark = [
    # diffusers' solvers hand torch tensors to numpy the old way.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),  # of FasterCache
]

N_STEPS, SCALE = 6, 5.0
RATIOS = [1.0, 1.1, 1.05, 1.0, 0.9, 0.95]
SETTINGS: dict[str, dict[str, Any]] = {
    "first_block": {"threshold": 0.5},
    "mag_cache": {"mag_ratios": RATIOS, "threshold": 0.5},
    "pyramid_attention_broadcast": {
        "spatial_attention_block_skip_range": 2,
        "spatial_attention_timestep_skip_range": [100, 900],
        "cross_attention_block_skip_range": 3,
    },
    "faster_cache": {
        "tensor_format": "BFCHW",
        "spatial_attention_timestep_skip_range": [-1, 800],
        "unconditional_batch_timestep_skip_range": [-1, 800],
    },
    "taylorseer": {"cache_interval": 3, "disable_cache_before_step": 2, "taylor_factors_dtype": "float32"},
}
GIVEN: dict[str, Any] = {"mag_ratios": RATIOS, "is_guidance_distilled": True, "cache_identifiers": [".*attn[12]"]}
PAIRS = [(name, kind) for name in TINY for kind in KINDS]
TAKEN = [(name, kind) for name, kind in PAIRS if not why_not(name, kind)]


@functools.cache
def tiny_of(name: str) -> Tiny:
    return TINY[name]()


def settings_of(name: str, kind: str) -> dict[str, Any]:
    needed = needs(name, kind)
    return SETTINGS[kind] | ({needed: GIVEN[needed]} if needed else {})


def space_of(kind: str, settings: dict[str, Any], **more: Any) -> SpaceConfig:
    cached = {"name": "T", "of": "XL", "accelerator": {kind: settings}, **more}
    listed = [cached, {"name": "XL", "weights": "somewhere"}]
    return SpaceConfig.model_validate({"name": "space", "denoisers": listed, "n_steps": N_STEPS})


def stock(tiny: Tiny, kind: str, settings: dict[str, Any]) -> torch.Tensor:
    """The stock pipeline with its cache, enabled as diffusers' guides do."""
    if kind in ("pyramid_attention_broadcast", "faster_cache"):
        settings = {**settings, "current_timestep_callback": lambda: pipeline.current_timestep}
    if kind == "mag_cache":
        settings = {**settings, "num_inference_steps": N_STEPS}
    if kind == "taylorseer":
        settings = {**settings, "taylor_factors_dtype": torch.float32}
    cached = twin_of(tiny.denoiser)
    cached.enable_cache(HOOKS[kind][0](**settings))
    pipeline = tiny.pipeline(cached)
    return draw(tiny, pipeline, N_STEPS, **{tiny.scale: SCALE})


def plain(tiny: Tiny) -> torch.Tensor:
    return draw(tiny, tiny.pipeline(twin_of(tiny.denoiser)), N_STEPS, **{tiny.scale: SCALE})


def stitched(tiny: Tiny, space: SpaceConfig) -> Any:
    denoiser = StitchedDenoiser({"T": twin_of(tiny.denoiser), "XL": twin_of(tiny.denoiser)})
    pipeline = tiny.pipeline(denoiser)
    accelerated(space, denoiser, pipeline, SCALE)
    return pipeline


def drawn(tiny: Tiny, pipeline: Any, allocation: str) -> torch.Tensor:
    pipeline.transformer.watch(pipeline.scheduler, Allocation.parse(allocation))
    return draw(tiny, pipeline, N_STEPS, **{tiny.scale: SCALE})


@pytest.mark.parametrize(("name", "kind"), TAKEN)
def test_alone_it_is_the_pipeline_with_that_cache_and_the_plain_one_stays_plain(name: str, kind: str) -> None:
    """Also after a trajectory that it shared with another member. A turn of one step is the plain member's."""
    tiny, settings = tiny_of(name), settings_of(name, kind)
    expected, uncached = stock(tiny, kind, settings), plain(tiny)
    pipeline = stitched(tiny, space_of(kind, settings))
    assert torch.equal(drawn(tiny, pipeline, f"T*{N_STEPS}"), expected)
    mixed = drawn(tiny, pipeline, f"XL*1-T*{N_STEPS - 1}")
    assert torch.equal(drawn(tiny, pipeline, f"T*{N_STEPS}"), expected)
    assert torch.equal(drawn(tiny, pipeline, f"XL*{N_STEPS}"), uncached)
    assert torch.equal(drawn(tiny, pipeline, f"XL*2-T*1-XL*{N_STEPS - 3}"), uncached)
    assert not torch.equal(expected, uncached)
    assert not torch.equal(mixed, uncached)


def test_a_late_turn_of_magcache_goes_by_the_ratios_of_its_own_steps() -> None:
    """Ratios far from 1 forbid skipping: at steps 1 and 2 only, so that a turn from step 3 on skips two steps of three.

    By the ratios of steps 0, 1 and 2 it would skip none.
    """
    tiny = tiny_of("FluxPipeline")
    settings = {"mag_ratios": [1.0, 9.0, 9.0, 1.0, 1.0, 1.0], "threshold": 0.1, "retention_ratio": 0.0}
    pipeline = stitched(tiny, space_of("mag_cache", settings))
    last = pipeline.transformer.member("T").single_transformer_blocks[-1].norm
    n_done = 0

    def count(*_: Any) -> None:
        nonlocal n_done
        n_done += 1

    last.register_forward_hook(count)
    drawn(tiny, pipeline, f"XL*3-T*{N_STEPS - 3}")
    assert n_done == 1


@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair not in TAKEN])
def test_the_others_are_refused_with_the_reason(name: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"denoiser 'T': {kind} does not work in {name}: ")) as caught:
        require_caches(space_of(kind, settings_of(name, kind)), name, SCALE)
    assert str(why_not(name, kind)) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("name", "kind"), [pair for pair in TAKEN if needs(*pair) not in (None, "mag_ratios")])
def test_what_has_to_be_said_beside_it_is_asked_for(name: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind} does not work in {name} without {needs(name, kind)}"):
        require_caches(space_of(kind, SETTINGS[kind]), name, SCALE)


def test_the_reasons_are_true() -> None:
    own = {"ClassConditionalPipeline"}
    assert not [p for p in WITHOUT_HOOKS if p not in own and not hasattr(diffusers, p)]
    assert not [d for d in WITHOUT_HOOKS.values() if issubclass(getattr(diffusers, d), CacheMixin)]
    assert all("cache_context(" in inspect.getsource(getattr(diffusers, p)) for p in HOOKED)
    with pytest.raises(ConfigError, match="first_block does not work in ChromaPipeline: it is not tested there"):
        require_caches(space_of("first_block", {}), "ChromaPipeline", SCALE)


@pytest.mark.parametrize(("own", "of_study"), [(1.0, 5.0), (None, 1.0)])
def test_fastercache_without_an_unconditional_half_is_refused(own: float | None, of_study: float) -> None:
    settings, name = SETTINGS["faster_cache"], "CogVideoXPipeline"
    with pytest.raises(ConfigError, match="at guidance_scale 1: there is no unconditional half to derive"):
        require_caches(space_of("faster_cache", settings, guidance_scale=own), name, of_study)
    require_caches(space_of("faster_cache", settings | {"is_guidance_distilled": True}), name, of_study)


def test_settings_that_match_no_layer_and_denoisers_without_hooks_are_refused() -> None:
    matching = CacheConfig.model_validate({"taylorseer": {"cache_identifiers": ["nowhere"]}})
    with pytest.raises(ConfigError, match="the settings of taylorseer match no layer of this WanTransformer3DModel"):
        add_cache(twin_of(tiny_of("WanPipeline").denoiser), matching, "T", lambda: None)
    with pytest.raises(ConfigError, match="no hooks for caches in a SD3Transformer2DModel"):
        add_cache(twin_of(tiny_of("StableDiffusion3Pipeline").denoiser), matching, "T", lambda: None)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_diffusers_own(kind: str) -> None:
    """Beside callbacks, which no file can hold, and what the trajectory says."""
    model = CacheConfig.model_fields[kind].annotation
    ours = set(next(part for part in model.__args__ if part is not type(None)).model_fields)  # type: ignore[union-attr]
    theirs = {name for name in inspect.signature(HOOKS[kind][0]).parameters if not name.startswith("_")}
    ours_alone = {"num_inference_steps", "calibrate"}
    assert ours == {name for name in theirs - ours_alone if not name.endswith("_callback")}


def text_form(denoiser: Any) -> TaylorSeerCacheConfig:
    layers = [name for name, layer in denoiser.named_modules() if isinstance(layer, Attention | FeedForward)]
    return TaylorSeerCacheConfig(
        cache_interval=3,
        disable_cache_before_step=2,
        taylor_factors_dtype=torch.float32,
        cache_identifiers=[re.escape(name) for name in layers],
    )


@pytest.mark.parametrize("name", HOOKED)
def test_taylorseer3_alone_is_the_pipeline_with_that_cache(name: str) -> None:
    """Also where a step is two calls, each with a memory of its own."""
    tiny = tiny_of(name)
    cached, member = twin_of(tiny.denoiser), twin_of(tiny.denoiser)
    config = text_form(cached)
    if not config.cache_identifiers:
        with pytest.raises(ConfigError, match="finds no attention layer of diffusers"):
            accelerate(member, "taylorseer3", "T")
        return
    cached.enable_cache(config)
    expected = draw(tiny, tiny.pipeline(cached), N_STEPS, **{tiny.scale: SCALE})
    denoiser = StitchedDenoiser({"T": member, "XL": twin_of(tiny.denoiser)})
    denoiser.at_turn["T"] = accelerate(member, "taylorseer3", "T")
    pipeline = tiny.pipeline(denoiser)
    assert torch.equal(drawn(tiny, pipeline, f"T*{N_STEPS}"), expected)
    assert torch.equal(drawn(tiny, pipeline, f"T*{N_STEPS}"), expected)
    assert not torch.equal(expected, plain(tiny))

"""Denoisers that skip part of their work: `accelerator: deepcache3` makes one more member of the same weights.

What they remember from step to step belongs to one turn of theirs: it is forgotten when another member takes over and
when a new trajectory begins. diffusers' caches by their own names and settings are in `caches.py`.
"""

import functools
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from diffusers import UNet2DConditionModel, UNet2DModel
from diffusers.hooks import TaylorSeerCacheConfig, apply_taylorseer_cache
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention

from tstitch_search.config.models.accelerator import CacheConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.changes.caches import Forget, Where, add_cache, forget, remembering


def accelerate(member: Any, accelerator: str | CacheConfig, owner: str, where: Where = lambda: None) -> Forget:
    """Change the member in place; what is returned has to be called at each of its turns.

    `accelerator`: a kind of KINDS and its strength, for example `deepcache3`, or a cache of diffusers. `where` the
    trajectory is that asks. Raises ConfigError for a denoiser of another architecture than the kind is for,
    EnvironmentProblem for a package that is not installed.
    """
    if isinstance(accelerator, CacheConfig):
        return add_cache(member, accelerator, owner, where)
    found = re.fullmatch(r"([a-z]+)([0-9.]+)", accelerator)
    if found is None or found[1] not in KINDS:
        raise ConfigError(f"{owner}: accelerator {accelerator!r}, expected {', '.join(KINDS)} and a number")
    return KINDS[found[1]](member, float(found[2]), owner)


def _deepcache(member: Any, interval: float, owner: str) -> Forget:
    """All but the outermost blocks of a U-Net answer anew every `interval` steps, and as before in between.

    Ma et al., arXiv 2312.00858, with whole blocks as the unit.
    """
    unet = getattr(member, "unet", member)
    if not isinstance(unet, UNet2DConditionModel | UNet2DModel):
        raise ConfigError(
            f"{owner}: deepcache skips blocks of U-Nets, got {type(member).__name__}", hint="taylorseer is for others"
        )
    memory = _Memory(round(interval))
    for block in (*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]):
        block.forward = memory.remembering(block.forward)
    member.register_forward_pre_hook(lambda *_: memory.next_step())
    member.is_stateful = True  # its answers depend on its earlier ones, so none of them is replayed
    return memory.forget


class _Memory:
    """What blocks answered at the last step that was done in full, which is every `interval`-th."""

    def __init__(self, interval: int):
        self._interval = interval
        self.forget()

    def forget(self) -> None:
        """The next step is done in full."""
        self._n_steps = 0
        self._answers: dict[Any, Any] = {}

    def next_step(self) -> None:
        """A step begins."""
        if self._n_steps % self._interval == 0:
            self._answers.clear()
        self._n_steps += 1

    def remembering(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """`forward`, called once between two full steps."""

        @functools.wraps(forward)
        def remembered(*inputs: Any, **named_inputs: Any) -> Any:
            if forward not in self._answers:
                self._answers[forward] = forward(*inputs, **named_inputs)
            return self._answers[forward]

        return remembered


def _taylorseer(member: Any, interval: float, owner: str) -> Forget:
    """Attention and feed-forward layers answer anew every `interval` steps, and by a straight line in between.

    Liu et al., arXiv 2503.06923, through diffusers' hooks, of first order.
    """
    layers = [name for name, layer in member.named_modules() if isinstance(layer, Attention | FeedForward)]
    if not layers:
        raise ConfigError(f"{owner}: taylorseer finds no attention layer of diffusers in {type(member).__name__}")
    config = TaylorSeerCacheConfig(
        cache_interval=round(interval),
        disable_cache_before_step=2,  # two steps make a straight line
        taylor_factors_dtype=next(member.parameters()).dtype,
        cache_identifiers=[re.escape(name) for name in layers],
    )
    apply_taylorseer_cache(member, config)
    return functools.partial(forget, remembering(member))


def _tomesd(member: Any, ratio: float, owner: str) -> Forget:
    """Attention at a U-Net's finest resolution sees this share of tokens less (Bolya & Hoffman, arXiv 2303.17604).

    Similar tokens are merged before and copied apart after it. That resolution is the latents' in Stable Diffusion 1.x,
    half of it in SDXL. Nothing is remembered from step to step.
    """
    if find_spec("tomesd") is None:
        raise EnvironmentProblem(
            f"{owner}: accelerator tomesd needs the package tomesd, which is not installed",
            hint="pip install 'tstitch-search[tomesd]'",
        )
    import tomesd

    unet = getattr(member, "unet", member)
    blocks = unet.config.down_block_types if isinstance(unet, UNet2DConditionModel) else ()
    finest = next((i for i, block in enumerate(blocks) if "CrossAttn" in block), None)
    if finest is None:
        raise ConfigError(f"{owner}: tomesd merges tokens of U-Nets with cross attention, got {type(member).__name__}")
    # chosen at random, tokens would differ from batch to batch
    tomesd.apply_patch(unet, ratio=ratio, max_downsample=2**finest, use_rand=False)
    return lambda: None


KINDS: dict[str, Callable[[Any, float, str], Forget]] = {
    "deepcache": _deepcache,
    "taylorseer": _taylorseer,
    "tomesd": _tomesd,
}

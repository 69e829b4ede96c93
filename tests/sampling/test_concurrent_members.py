"""Right answers from several threads at once, each on a shallow copy of one stitched pipeline, whatever the members.

LoRA members, cached ones and both in one share the base's weights; every thread has an allocation of its own.
"""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from sampling.tiny_pipelines import TINY, Tiny, draw

from tstitch_search import stitch
from tstitch_search.config.models import SpaceConfig
from tstitch_search.members.changes.twins import tensors_of, twin_of
from tstitch_search.sampling.assembly import accelerated
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

N_STEPS, SCALE, N_THREADS, N_ROUNDS = 6, 5.0, 4, 3
RANGE = [-1, 1001]
ACCELERATORS: dict[str, dict[str, Any]] = {
    "fbc": {"first_block": {"threshold": 0.5}},
    "mag": {"mag_cache": {"mag_ratios": [1.0, 1.1, 1.05, 1.0, 0.9, 0.95], "threshold": 0.5}},
    "pab": {"pyramid_attention_broadcast": {"spatial_attention_timestep_skip_range": RANGE}},
    "taylor": {"taylorseer": {"cache_interval": 2, "disable_cache_before_step": 2}},
    "lora+fbc": {"first_block": {"threshold": 0.5}},
}
ALLOCATIONS = (
    *(f"{name}*{N_STEPS}" for name in (*ACCELERATORS, "lora", "XL")),
    "XL*2-mag*4",
    "lora*3-pab*3",
    "fbc*2-lora+fbc*2-fbc*2",
    "pab*3-taylor*3",
    "lora+fbc*4-XL*2",
)


def adapted(module: Any) -> Any:
    """A twin with a LoRA on it."""
    from peft import LoraConfig

    torch.manual_seed(9)
    twin = twin_of(module)
    twin.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    return twin.requires_grad_(False)


def stitched_pipeline(tiny: Tiny) -> Any:
    members = {name: adapted(tiny.denoiser) if "lora" in name else twin_of(tiny.denoiser) for name in ACCELERATORS}
    members |= {"lora": adapted(tiny.denoiser), "XL": tiny.denoiser}
    listed = [{"name": name, "of": "XL", "accelerator": a} for name, a in ACCELERATORS.items()]
    listed += [{"name": "lora", "of": "XL"}, {"name": "XL", "weights": "somewhere"}]
    space = SpaceConfig.model_validate({"name": "space", "denoisers": listed, "n_steps": N_STEPS})
    denoiser = StitchedDenoiser(members)
    pipeline = tiny.pipeline(denoiser)
    accelerated(space, denoiser, pipeline, SCALE)
    return pipeline


def drawn(tiny: Tiny, pipeline: Any, allocation: str) -> torch.Tensor:
    return draw(tiny, stitch(copy.copy(pipeline), allocation), N_STEPS, **{tiny.scale: SCALE})


def test_four_threads_at_once_draw_what_each_draws_alone_bit_for_bit() -> None:
    tiny = TINY["FluxPipeline"]()
    pipeline = stitched_pipeline(tiny)
    alone = {allocation: drawn(tiny, pipeline, allocation) for allocation in ALLOCATIONS}
    assert len({latents.numpy().tobytes() for latents in alone.values()}) == len(ALLOCATIONS)
    together = threading.Barrier(N_THREADS)

    def serve(k: int) -> list[str]:
        together.wait()
        turns = [ALLOCATIONS[(i + k) % len(ALLOCATIONS)] for i in range(N_ROUNDS * len(ALLOCATIONS) // N_THREADS)]
        wrong = [a for a in turns if not torch.equal(drawn(tiny, pipeline, a), alone[a])]
        same = [ALLOCATIONS[k % 2]] * 3  # of one member at once
        return wrong + [a for a in same if not torch.equal(drawn(tiny, pipeline, a), alone[a])]

    with ThreadPoolExecutor(N_THREADS) as threads:
        assert list(threads.map(serve, range(N_THREADS))) == [[]] * N_THREADS


def test_members_of_one_base_are_its_bytes_and_those_of_their_loras() -> None:
    tiny = TINY["FluxPipeline"]()
    base = sum(tensor.nbytes for tensor in tensors_of([tiny.denoiser]))
    members = stitched_pipeline(tiny).transformer.members
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_of(members)}
    loras = [
        {key: p.nbytes for key, p in member.named_parameters() if "lora_" in key}
        for member in members
        if any("lora_" in key for key, _ in member.named_parameters())
    ]
    assert len(loras) == 2
    assert sum(storages.values()) == base + sum(sum(each.values()) for each in loras)

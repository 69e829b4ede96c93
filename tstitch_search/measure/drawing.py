"""Images of one allocation for people, without anything that measures them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.measure.features import to_uint8
from tstitch_search.members.device import resolve_device
from tstitch_search.members.execution import attention
from tstitch_search.sampling.assembly import assemble
from tstitch_search.sampling.conditions import Condition


def draw(
    study: Study,
    allocation: Allocation,
    conditions: Sequence[Condition],
    seeds: Sequence[int],
    on_step: Callable[[int], None],
) -> np.ndarray:
    """Images (n, h, w, 3), or clips (n, frames, h, w, 3), uint8 of the conditions, image i from its own seed.

    `on_step(i)` is called after i sampling steps.
    Only the denoisers that the allocation uses are loaded. Raises what assembling the pipeline raises.
    """
    used = tuple(denoiser for denoiser in study.space.denoisers if denoiser.name in allocation.steps)
    study = study.model_copy(update={"space": study.space.model_copy(update={"denoisers": used})})
    stitched = assemble(study, resolve_device(study.config.workers.device))
    stitched.turn_to(allocation)
    stitched.denoiser.on_step = on_step
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    with attention(study.config.execution):
        images = stitched.family.sample(
            stitched.pipeline, conditions, generators, allocation.n_steps, study.config.guidance_scale
        )
    return to_uint8(images).movedim(-3, -1).cpu().numpy()

"""Before the first request: what is compiled or allocated at the first call of a member is made by a short one."""

import copy
import time
from typing import Any

from diffusers import DiffusionPipeline

from tstitch_search.errors import ConfigError
from tstitch_search.sampling.deployment.stitch import stitch
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# The first step of a turn and a further one: members with a cache go different ways in them.
N_STEPS = 2


def warm_up(pipeline: DiffusionPipeline, **call: Any) -> dict[str, float]:
    """Seconds that each member of the stitched `pipeline` took for a call of two steps, compiling included.

    `call`: the arguments of a call as requests will make it. Its shapes count (batch, height, width, frames), since a
    compiled member is compiled once for each; call it again for others. The pipeline keeps its entry. Raises
    ConfigError for a pipeline that is not stitched.
    """
    denoiser = next((c for c in pipeline.components.values() if isinstance(c, StitchedDenoiser)), None)
    if denoiser is None:
        raise ConfigError(
            f"nothing is stitched in this {type(pipeline).__name__} yet", hint="stitch(pipeline, entry, members) before"
        )
    seconds = {}
    for name in denoiser.names:
        alone, began = stitch(copy.copy(pipeline), f"{name}*{N_STEPS}"), time.monotonic()
        alone(**call, num_inference_steps=N_STEPS)
        seconds[name] = time.monotonic() - began
    return seconds

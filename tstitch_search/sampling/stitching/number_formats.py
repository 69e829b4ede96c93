"""Members in a number format of their own, in a pipeline that asks in another."""

from typing import Any

import torch
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.sampling.stitching.calls import Forward, ForwardAdapter, changed
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# Positions, which denoisers keep in the format that they come in.
KEPT = ("image_rotary_emb",)


def in_own_formats(space: SpaceConfig, denoiser: StitchedDenoiser, dtype: torch.dtype) -> None:
    """Have members with a `dtype` of their own asked in it, and their answers in `dtype`, which is the pipeline's.

    It comes before every other way of asking. Timesteps stay as they are: few bits would make them others.
    """
    for d in space.denoisers:
        if d.dtype is not None and d.name in denoiser.names:
            denoiser.asked_in = dtype
            denoiser.adapt(d.name, _asked_in(getattr(torch, d.dtype), dtype))


def _asked_in(own: torch.dtype, of_pipeline: torch.dtype) -> ForwardAdapter:
    def adapter(forward: Forward) -> Forward:
        def asked(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
            named = {name: v if name in KEPT else _cast(v, own) for name, v in named_inputs.items()}
            output = forward(member, *(_cast(value, own) for value in inputs), **named)
            return changed(output, lambda prediction: _cast(prediction, of_pipeline))

        return asked

    return adapter


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Tensors of more than one axis in `dtype`, in lists and mappings too."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() and value.dim() > 1 else value
    if isinstance(value, dict):
        return {key: _cast(part, dtype) for key, part in value.items()}
    return type(value)(_cast(part, dtype) for part in value) if isinstance(value, list | tuple) else value

"""How a pipeline's question reaches one member, and how the member's answer takes the form the pipeline expects."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn

# How a family puts the pipeline's question to one member: (member, *the pipeline's arguments) -> the member's output.
Forward: TypeAlias = Callable[..., Any]
# A way of asking made into another: for a member that was trained to answer differently.
ForwardAdapter: TypeAlias = Callable[[Forward], Forward]

# Inputs that a pipeline prepares for the anchor, by the key of a member's config that says whether it takes them too.
OPTIONAL_INPUTS = {
    "guidance": "guidance_embeds",
    "timestep_cond": "time_cond_proj_dim",
    "added_cond_kwargs": "addition_embed_type",
}


def call(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
    """The member's answer to the question as it is."""
    return member(*inputs, **named_inputs)


def fitted(forward: Forward, member: nn.Module, anchor: nn.Module) -> Forward:
    """`forward` for a member beside this anchor: without inputs it does not know, and with the anchor's channels.

    A pipeline shapes its questions for the anchor and expects the anchor's output. Learned variances that only the
    member has are dropped; where only the anchor has them, zeros stand in, the middle of a learned range.
    """
    unknown = unknown_inputs(member)
    n_channels = _out_channels(anchor)
    if n_channels != _out_channels(member) and n_channels is not None:
        forward = _with_channels(forward, n_channels)
    if not unknown:
        return forward

    def without_unknown(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
        return forward(member, *inputs, **{name: v for name, v in named_inputs.items() if name not in unknown})

    return without_unknown


def unknown_inputs(member: nn.Module) -> frozenset[str]:
    """The optional inputs that the member does not take: its config switches them off, or its forward lacks them."""
    config, known = getattr(member, "config", {}), inspect.signature(member.forward).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
    absent = {name for name in OPTIONAL_INPUTS if name not in known and not takes_all}
    return frozenset(absent | {name for name, key in OPTIONAL_INPUTS.items() if key in config and not config[key]})


def changed(output: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A member's output, a tuple or a diffusers output, with `change` applied to its prediction."""
    if isinstance(output, tuple):
        return (change(output[0]), *output[1:])
    output.sample = change(output.sample)
    return output


def _with_channels(forward: Forward, n_channels: int) -> Forward:
    """`forward` whose answers (n, c, ...) have `n_channels` channels: the first ones, or filled up with zeros."""

    def fit(prediction: torch.Tensor) -> torch.Tensor:
        missing = n_channels - prediction.shape[1]
        if missing <= 0:
            return prediction[:, :n_channels]
        return torch.cat([prediction, prediction.new_zeros(len(prediction), missing, *prediction.shape[2:])], dim=1)

    def with_channels(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
        return changed(forward(member, *inputs, **named_inputs), fit)

    return with_channels


def _out_channels(member: nn.Module) -> int | None:
    config = getattr(member, "config", {})
    found: int | None = config.get("out_channels") or config.get("in_channels")
    return found

"""A member with a guidance of its own inside a pipeline that guides all its steps alike.

The pipeline makes u + W (c - u) of the answers c and u that it gets. A member without guidance computes its c only and
gives it for both: c + W 0 is c, at half the cost. A member of another scale w gives what the pipeline makes
u + w (c - u) of. So a guidance interval (Kynkaanniemi et al., arXiv 2404.07724) is an ordinary allocation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tstitch_search.config.guidance import Guidance, guidance_of
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.sampling.stitching.calls import Forward, ForwardAdapter, changed
from tstitch_search.sampling.stitching.prefixes import copied
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser
from tstitch_search.sampling.stitching.trajectory import NOW

# Settings of a guider that make it u + scale (c - u) at every step.
PLAIN_GUIDER = {"guidance_rescale": 0.0, "use_original_formulation": False, "start": 0.0, "stop": 1.0, "enabled": True}
# Tensors that go with tokens, not with images: their first axis is no batch, whatever its length.
WITHOUT_BATCH = ("image_rotary_emb", "img_ids", "txt_ids")


def guide(space: SpaceConfig, denoiser: StitchedDenoiser, pipeline: Any, guidance_scale: float) -> None:
    """Have members of their own guidance answer with it in this pipeline, which is called with `guidance_scale`.

    It comes after every other way of asking: it decides which halves of a question are put at all. Raises ConfigError
    where it is not known how the pipeline guides.
    """
    own = {d.name: d.guidance_scale for d in space.denoisers if d.name in denoiser.names}
    for name, scale in own.items():
        if scale is None or scale == guidance_scale:
            continue
        facts = guidance_of(type(pipeline).__name__)
        _require_plain(getattr(pipeline, "guider", None))
        adapter = _embedded(denoiser, pipeline, scale) or _guided_by(facts, scale, guidance_scale)
        if adapter is not None:
            denoiser.adapt(name, adapter)
            denoiser.keeps_answers |= facts.calls == "two"
            denoiser.fixed[name] = {facts.argument: guidance_scale, **facts.plain}


def _require_plain(guider: Any) -> None:
    """Nothing, when there is no guider, or it does what is known of its pipeline. Raises ConfigError otherwise."""
    if guider is None:
        return
    changed_to = {name: value for name, value in PLAIN_GUIDER.items() if guider.config.get(name, value) != value}
    if type(guider).__name__ != "ClassifierFreeGuidance" or changed_to:
        settings = "".join(f" {name} {guider.config[name]}" for name in changed_to)
        raise ConfigError(
            f"members of their own guidance_scale: the pipeline's guider is a {type(guider).__name__}{settings}",
            hint="leave guidance_scale out of the denoisers; it is known of a plain ClassifierFreeGuidance",
        )


def _embedded(denoiser: StitchedDenoiser, pipeline: Any, scale: float) -> ForwardAdapter | None:
    """How to ask for another scale where denoisers take it as an input (distilled guidance); None where they do not."""
    width = denoiser.config.get("time_cond_proj_dim")
    if width:
        return _with_input("timestep_cond", pipeline.get_guidance_scale_embedding(torch.tensor([scale - 1.0]), width))
    if denoiser.config.get("guidance_embeds"):
        return _with_input("guidance", torch.tensor([scale]))
    return None


def _with_input(name: str, value: torch.Tensor) -> ForwardAdapter:
    """With this row in place of every row of a named input."""

    def adapter(forward: Forward) -> Forward:
        def given(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
            nonlocal value
            there = named_inputs[name]
            value = value.to(there)  # once: a copy to the device makes the host wait
            return forward(member, *inputs, **{**named_inputs, name: value.expand_as(there)})

        return given

    return adapter


def _guided_by(guidance: Guidance, scale: float, pipeline_scale: float) -> ForwardAdapter | None:
    """How to ask a member of guidance `scale` in a pipeline that guides with `pipeline_scale`; None: as any other."""
    if guidance.calls == "embedded":
        raise ConfigError(
            "members of their own guidance_scale: these denoisers take no guidance as an input",
            hint="leave guidance_scale out of the denoisers",
        )
    if max(scale, pipeline_scale) <= guidance.off:
        return None
    if pipeline_scale <= guidance.off:
        raise ConfigError(
            f"a member has guidance_scale {scale:g}, but with the study's {pipeline_scale:g} the pipeline asks for no "
            "unconditional half",
            hint=f"set the study's to {scale:g}, and guidance_scale: 1 for the denoisers without guidance",
        )
    if guidance.calls == "two":
        return _answered_once if scale <= guidance.off else _rescaled(scale, pipeline_scale)
    return _half_asked(guidance) if scale <= guidance.off else _guided_within(guidance, scale)


def _half_asked(guidance: Guidance) -> ForwardAdapter:
    """Of a doubled batch only the conditional half is asked, and its answer given for both."""

    def adapter(forward: Forward) -> Forward:
        def conditional(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
            latents = _latents(inputs, named_inputs)
            n, in_lists = len(latents) // 2, isinstance(latents, list)
            half = slice(0, n) if guidance.conditional == "first" else slice(n, None)

            def cut(value: Any) -> Any:
                return _cut(value, 2 * n, half, in_lists)

            named = {name: v if name in WITHOUT_BATCH else cut(v) for name, v in named_inputs.items()}
            return changed(forward(member, *map(cut, inputs), **named), _twice)

        return conditional

    return adapter


def _cut(value: Any, n: int, half: slice, in_lists: bool) -> Any:
    """The half of every batch of `n` in the value; `in_lists`: a batch is a list of what belongs to its images."""
    if isinstance(value, torch.Tensor):
        return value[half] if value.dim() and len(value) == n else value
    if isinstance(value, Mapping):
        return {key: _cut(part, n, half, in_lists) for key, part in value.items()}
    if isinstance(value, list | tuple):
        is_batch = in_lists and len(value) == n
        return value[half] if is_batch else type(value)(_cut(part, n, half, in_lists) for part in value)
    return value


def _twice(prediction: Any) -> Any:
    return prediction * 2 if isinstance(prediction, list) else torch.cat([prediction, prediction])


def _guided_within(guidance: Guidance, scale: float) -> ForwardAdapter:
    """Both halves of the answer are the guided prediction, which the pipeline then leaves as it is."""

    def adapter(forward: Forward) -> Forward:
        def guided(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
            latents = _latents(inputs, named_inputs)

            def combine(prediction: Any) -> Any:
                if isinstance(prediction, list):
                    return _twice(_combined(prediction, guidance, scale))
                return _guided_channels(prediction, latents.shape[1], guidance, scale)

            return changed(forward(member, *inputs, **named_inputs), combine)

        return guided

    return adapter


def _guided_channels(prediction: torch.Tensor, n_channels: int, guidance: Guidance, scale: float) -> torch.Tensor:
    """Channels beyond the latents' (learned variances) stay those of their half: pipelines do not guide them."""
    if prediction.shape[1] != 2 * n_channels:
        return _twice(_combined(prediction, guidance, scale))
    both = _twice(_combined(prediction[:, :n_channels], guidance, scale))
    return torch.cat([both, prediction[:, n_channels:]], dim=1)


def _combined(prediction: Any, guidance: Guidance, scale: float) -> Any:
    """What the pipeline would make of the two halves with this scale; a tensor, or a list of one for each image."""
    n = len(prediction) // 2
    c, u = prediction[:n], prediction[n:]
    if guidance.conditional == "last":
        c, u = u, c
    added_to = c if guidance.added_to == "conditional" else u
    if isinstance(prediction, list):
        return [base + scale * (a - b) for base, a, b in zip(added_to, c, u, strict=True)]
    return added_to + scale * (c - u)


def _answered_once(forward: Forward) -> Forward:
    """The answer to the conditional call, which comes first, is given to the unconditional one too."""

    def answer(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
        earlier = _earlier()
        return copied(earlier[0]) if earlier else forward(member, *inputs, **named_inputs)

    return answer


def _rescaled(scale: float, pipeline_scale: float) -> ForwardAdapter:
    """The unconditional call is answered such that the pipeline's W makes of it what `scale` would."""
    share = (scale - 1) / (pipeline_scale - 1)

    def adapter(forward: Forward) -> Forward:
        def answer(member: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
            output, earlier = forward(member, *inputs, **named_inputs), _earlier()
            if not earlier:
                return output
            c = earlier[0][0]
            return changed(output, lambda u: c + share * (u - c))

        return answer

    return adapter


def _earlier() -> Sequence[Any]:
    """What was answered at the present timestep already."""
    trajectory = NOW.get()
    return trajectory.answers if trajectory else ()


def _latents(inputs: Sequence[Any], named_inputs: Mapping[str, Any]) -> Any:
    """The latents of a pipeline's question, the first input of every denoiser; a tensor, or a list of them."""
    return inputs[0] if inputs else named_inputs.get("hidden_states", named_inputs.get("sample"))

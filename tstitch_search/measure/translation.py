"""Members that answer in another way than the pipeline's solver expects: what differs, and how it is converted.

All three prediction types say the same about a noisy latent x = a x0 + s eps, with a^2 + s^2 = 1 (Salimans and Ho,
arXiv 2202.00512, appendix D): eps itself, x0 itself, or v = a eps - s x0.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from tstitch_search.measure.noise_process import NoiseProcess

if TYPE_CHECKING:
    import torch

    from tstitch_search.measure.asking import Ask, Translation

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def compare(have: NoiseProcess, want: NoiseProcess) -> tuple[Literal["same", "convertible", "refused"], str]:
    """Whether a member of the noise process `have` can answer a solver of `want`, and why (not)."""
    if have == want:
        return "same", ""
    if replace(have, prediction_type=want.prediction_type) != want:
        return "refused", "its timesteps stand for other amounts of noise"
    if {have.prediction_type, want.prediction_type} <= set(PREDICTIONS):
        return "convertible", f"{have.prediction_type} becomes {want.prediction_type} with `convert: true`"
    return "refused", f"{have.prediction_type} is none of {', '.join(PREDICTIONS)}"


def translation_of(have: NoiseProcess, want: NoiseProcess) -> "Translation":
    """What lets a member of `have` answer a solver of `want`, where `compare` says convertible."""
    from tstitch_search.measure.asking import changed

    signal = _signal(want)

    def translation(ask: "Ask") -> "Ask":
        def translated(member: Any, latents: "torch.Tensor", timestep: "torch.Tensor", *more: Any, **named: Any) -> Any:
            def convert(prediction: "torch.Tensor") -> "torch.Tensor":
                a = signal(timestep, latents)
                return converted(prediction, latents, a, have.prediction_type, want.prediction_type)

            return changed(ask(member, latents, timestep, *more, **named), convert)

        return translated

    return translation


def converted(
    prediction: "torch.Tensor", latents: "torch.Tensor", a: "torch.Tensor", have: str, want: str
) -> "torch.Tensor":
    """The prediction (n, c or more, ...) of kind `have` about latents (n, c, ...) as kind `want`.

    `a` (n or 1, 1, ...) is the signal's share. Channels beyond the latents' (learned variances) stay as they are.
    """
    import torch

    n_channels = latents.shape[1]
    said, more = prediction[:, :n_channels], prediction[:, n_channels:]
    s = (1 - a**2).sqrt()
    match have:
        case "epsilon":
            x0, eps = (latents - s * said) / a, said
        case "sample":
            x0, eps = said, (latents - a * said) / s
        case _:
            x0, eps = a * latents - s * said, s * latents + a * said
    result = {"epsilon": eps, "sample": x0, "v_prediction": a * eps - s * x0}[want]
    return torch.cat([result.to(prediction.dtype), more], dim=1)


def _signal(noise: NoiseProcess) -> Any:
    """The signal's share a of timesteps, shaped to be multiplied with latents; between whole timesteps interpolated."""
    import torch
    from diffusers import DDPMScheduler

    shares = DDPMScheduler(**noise.as_config()).alphas_cumprod.sqrt()

    def signal(timestep: Any, latents: torch.Tensor) -> torch.Tensor:
        nonlocal shares
        shares = shares.to(latents.device)
        t = torch.as_tensor(timestep, device=latents.device).reshape(-1).to(torch.float32)
        below = t.floor().long().clamp(0, len(shares) - 1)
        above = (below + 1).clamp(max=len(shares) - 1)
        a = torch.lerp(shares[below], shares[above], t - t.floor())
        return a.reshape(-1, *[1] * (latents.dim() - 1))

    return signal

"""How one denoiser's training is expressed in terms of another's. Imports no torch.

Notation: x_t = alpha x_0 + sigma eps with alpha^2 + sigma^2 = 1 (variance preserving);
log-SNR = log(alpha^2 / sigma^2).
"""

from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

from tstitch_search.members.noise_process import NoiseProcess

Verdict: TypeAlias = Literal["same", "convertible", "refused"]

# What a denoiser may predict, in diffusers' words: eps, alpha eps - sigma x_0, x_0.
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
# Flow matching, which has no betas: where its noise is.
FLOWS = {"flow": "its end", "rising flow": "time 0"}
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")


def compare(have: NoiseProcess, want: NoiseProcess) -> tuple[Verdict, str]:
    """Whether a member of the noise process `have` can answer a solver of `want`, and why (not)."""
    if have == want:
        return "same", ""
    if have.beta_schedule in FLOWS and want.beta_schedule in FLOWS:
        return "refused", _why_no_time(have, want)
    for noise in (have, want):
        if noise.prediction_type not in PREDICTION_TYPES:
            return "refused", f"{noise.prediction_type} is none of {', '.join(PREDICTION_TYPES)}"
        if noise.beta_schedule not in BETA_SCHEDULES:
            return "refused", f"{noise.beta_schedule} is none of {', '.join(BETA_SCHEDULES)}"
    if replace(have, prediction_type=want.prediction_type) != want:
        return "convertible", "its timesteps stand for other amounts of noise, and are matched with `convert: true`"
    return "convertible", f"{have.prediction_type} becomes {want.prediction_type} with `convert: true`"


def _why_no_time(have: NoiseProcess, want: NoiseProcess) -> str:
    """What keeps a member of flow matching from being asked at the time of another flow."""
    if have.num_train_timesteps != want.num_train_timesteps:
        return f"it counts time to {have.num_train_timesteps}, the trajectory to {want.num_train_timesteps}"
    return f"its noise is at {FLOWS[have.beta_schedule]}, the trajectory's at {FLOWS[want.beta_schedule]}"


def alphas_cumprod(noise: NoiseProcess) -> np.ndarray:
    """alpha^2 at each training timestep (num_train_timesteps,), falling, of a variance-preserving process."""
    n = noise.num_train_timesteps
    if noise.beta_schedule == "linear":
        betas = np.linspace(noise.beta_start, noise.beta_end, n)
    elif noise.beta_schedule == "scaled_linear":
        betas = np.linspace(noise.beta_start**0.5, noise.beta_end**0.5, n) ** 2
    elif noise.beta_schedule == "squaredcos_cap_v2":  # Nichol & Dhariwal, arXiv 2102.09672, eq. 17
        f = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    else:
        raise ValueError(f"no betas are known of the noise schedule {noise.beta_schedule!r}")
    cumprod = np.cumprod(1 - betas)
    if noise.rescale_betas_zero_snr:  # Lin et al., arXiv 2305.08891, algorithm 1
        root = np.sqrt(cumprod)
        cumprod = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return cumprod


def log_snr(noise: NoiseProcess) -> np.ndarray:
    """log(alpha^2 / sigma^2) at each training timestep (num_train_timesteps,), falling; at least -27."""
    signal = np.clip(alphas_cumprod(noise), 1e-12, None)
    return np.log(signal) - np.log1p(-signal)


def matching_timesteps(trajectory: NoiseProcess, member: NoiseProcess) -> np.ndarray:
    """The member's timestep with the same log-SNR, for every training timestep of the trajectory, not rounded.

    Where the member was never trained on as much, or as little, noise, its nearest timestep. Latents need no rescaling:
    variance-preserving processes of equal log-SNR have equal alpha and equal sigma.
    """
    if replace(trajectory, prediction_type=member.prediction_type) == member:
        return np.arange(trajectory.num_train_timesteps, dtype=float)
    snr = log_snr(member)[::-1]
    return np.interp(log_snr(trajectory), snr, np.arange(member.num_train_timesteps, dtype=float)[::-1])


def clean_and_noise(prediction: Any, x: Any, alpha: Any, sigma: Any, prediction_type: str) -> tuple[Any, Any]:
    """(x_0, eps) that a prediction at `x` stands for; arrays or tensors alike. Salimans & Ho, arXiv 2202.00512, D."""
    if prediction_type == "epsilon":
        return (x - sigma * prediction) / alpha, prediction
    if prediction_type == "sample":
        return prediction, (x - alpha * prediction) / sigma
    if prediction_type == "v_prediction":
        return alpha * x - sigma * prediction, sigma * x + alpha * prediction
    raise ValueError(f"prediction type {prediction_type!r}, expected one of {', '.join(PREDICTION_TYPES)}")


def prediction_of(clean: Any, noise: Any, alpha: Any, sigma: Any, prediction_type: str) -> Any:
    """What a denoiser of this prediction type says for x_0 = `clean` and eps = `noise`: `clean_and_noise` undone."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return clean
    if prediction_type == "v_prediction":
        return alpha * noise - sigma * clean
    raise ValueError(f"prediction type {prediction_type!r}, expected one of {', '.join(PREDICTION_TYPES)}")

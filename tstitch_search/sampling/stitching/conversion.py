"""A member trained for another noise process than that of the trajectory, asked as if it were trained for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import (
    alphas_cumprod,
    clean_and_noise,
    matching_timesteps,
    prediction_of,
)
from tstitch_search.sampling.stitching.calls import Forward, ForwardAdapter, changed


def conversion_of(have: NoiseProcess, want: NoiseProcess) -> ForwardAdapter:
    """How to ask a member trained for `have` in a trajectory of `want`. Both are variance preserving."""
    tables, same_betas = _Tables(have, want), replace(have, prediction_type=want.prediction_type) == want

    def adapter(forward: Forward) -> Forward:
        def converted(
            member: nn.Module, latents: torch.Tensor, timestep: torch.Tensor, *inputs: Any, **named_inputs: Any
        ) -> Any:
            theirs, *shares = tables.at(timestep, latents.device)
            output = forward(member, latents, timestep if same_betas else theirs, *inputs, **named_inputs)
            if have.prediction_type == want.prediction_type:
                return output
            types = have.prediction_type, want.prediction_type
            return changed(output, lambda prediction: _converted(prediction, latents, types, *shares))

        return converted

    return adapter


class _Tables:
    """By the trajectory's timestep: the member's of equal log-SNR, the member's alpha and sigma, the trajectory's."""

    def __init__(self, have: NoiseProcess, want: NoiseProcess):
        signal = alphas_cumprod(want)
        own_signal = np.clip(signal, *alphas_cumprod(have)[[-1, 0]])  # equal wherever the member knows the log-SNR
        shares = [own_signal**0.5, (1 - own_signal) ** 0.5, signal**0.5, (1 - signal) ** 0.5]
        self._tables = torch.from_numpy(np.stack([matching_timesteps(want, have), *shares], dtype=np.float32))

    def at(self, timestep: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The tables at the timestep () or (n,), as (5,) or (5, n); linear between training timesteps."""
        self._tables = tables = self._tables.to(device)
        at = timestep.to(device, tables.dtype).clamp(0, tables.shape[1] - 1)
        below = at.floor().long()
        above = (below + 1).clamp(max=tables.shape[1] - 1)
        return torch.lerp(_columns(tables, below), _columns(tables, above), at - below)


def _columns(table: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """`table[:, at]`, which for an `at` of no dimensions would wait for the device to tell its value."""
    return table.index_select(1, at.reshape(-1)).reshape(len(table), *at.shape)


def _converted(
    output: torch.Tensor, latents: torch.Tensor, types: tuple[str, str], *shares: torch.Tensor
) -> torch.Tensor:
    """The prediction in `output` as the second of `types`; channels beyond the latents' (learned sigma) stay.

    `shares`: alpha and sigma of the member, then of the trajectory.
    """
    own_alpha, own_sigma, alpha, sigma = (share.reshape(-1, 1, 1, 1) for share in shares)
    n_channels = latents.shape[1]
    prediction, rest = output[:, :n_channels].float(), output[:, n_channels:]
    clean, noise = clean_and_noise(prediction, latents.float(), own_alpha, own_sigma, types[0])
    return torch.cat([prediction_of(clean, noise, alpha, sigma, types[1]).to(output.dtype), rest], dim=1)

"""A member trained for another noise process than the trajectory it takes part in, as if it were trained for it."""

from typing import Any

import numpy as np
import torch
from torch import nn

from tstitch_search.measure.noise_schedule import (
    NoiseProcess,
    alphas_cumprod,
    clean_and_noise,
    matching_timesteps,
    prediction_of,
)


class ConvertedDenoiser(nn.Module):
    """`member`, asked and answering in terms of the trajectory's noise process.

    It is asked at its own timestep of the same log-SNR, and its prediction is turned into the trajectory's prediction
    type. Channels beyond the latents' (learned sigma) are handed on as they are. No tensor is read from the device.
    """

    def __init__(self, member: nn.Module, own: NoiseProcess, trajectory: NoiseProcess):
        """`own` is what the member was trained for. Both processes are variance preserving."""
        super().__init__()
        self.member = member
        self._types = own.prediction_type, trajectory.prediction_type
        theirs = matching_timesteps(trajectory, own)
        signal = alphas_cumprod(trajectory)
        own_signal = np.clip(signal, *alphas_cumprod(own)[[-1, 0]])  # equal wherever the member knows the log-SNR
        tables = np.stack([theirs, *_alpha_sigma(own_signal), *_alpha_sigma(signal)], dtype=np.float32)
        self.register_buffer("_tables", torch.from_numpy(tables), persistent=False)

    def __getattr__(self, name: str) -> Any:
        """What a module does not have itself, the member answers."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "member":  # under construction
                raise
            return getattr(self.member, name)

    def forward(self, latents: torch.Tensor, timestep: torch.Tensor, *inputs: Any, **named_inputs: Any) -> Any:
        """The member's output, its prediction converted. Latents (n, c, h, w); the trajectory's timestep () or (n,)."""
        theirs, *shares = self._at(timestep)
        output = self.member(latents, theirs, *inputs, **named_inputs)
        if isinstance(output, tuple):
            return (self._convert(output[0], latents, *shares), *output[1:])
        output.sample = self._convert(output.sample, latents, *shares)
        return output

    def _at(self, timestep: torch.Tensor) -> torch.Tensor:
        """The five tables at the timestep, (5,) or (5, n), between training timesteps linear."""
        tables: torch.Tensor = self._tables
        at = timestep.to(tables.device, tables.dtype).clamp(0, tables.shape[1] - 1)
        below = at.floor().long()
        above = (below + 1).clamp(max=tables.shape[1] - 1)
        return torch.lerp(tables[:, below], tables[:, above], at - below)

    def _convert(
        self,
        output: torch.Tensor,
        latents: torch.Tensor,
        own_alpha: torch.Tensor,
        own_sigma: torch.Tensor,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
    ) -> torch.Tensor:
        own_type, asked_type = self._types
        if own_type == asked_type:
            return output
        own_alpha, own_sigma, alpha, sigma = (s.reshape(-1, 1, 1, 1) for s in (own_alpha, own_sigma, alpha, sigma))
        prediction, rest = output.float().split([latents.shape[1], output.shape[1] - latents.shape[1]], dim=1)
        clean, noise = clean_and_noise(prediction, latents.float(), own_alpha, own_sigma, own_type)
        converted = prediction_of(clean, noise, alpha, sigma, asked_type)
        return torch.cat([converted, rest], dim=1).to(output.dtype)


def _alpha_sigma(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sqrt(signal), np.sqrt(1 - signal)

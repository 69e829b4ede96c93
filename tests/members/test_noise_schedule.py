"""Noise processes compared, matched by log-SNR and converted: against diffusers, and a denoiser known exactly."""

import itertools

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn

from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import (
    PREDICTION_TYPES,
    alphas_cumprod,
    clean_and_noise,
    compare,
    log_snr,
    matching_timesteps,
    prediction_of,
)
from tstitch_search.sampling.stitching.calls import call
from tstitch_search.sampling.stitching.conversion import conversion_of

DIT = NoiseProcess()
STABLE_DIFFUSION = NoiseProcess(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
COSINE = NoiseProcess(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
ZERO_SNR = NoiseProcess(
    beta_schedule="scaled_linear", prediction_type="v_prediction", rescale_betas_zero_snr=True, num_train_timesteps=500
)
FLOW = NoiseProcess.of({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
PROCESSES = (DIT, STABLE_DIFFUSION, COSINE, ZERO_SNR)
PAIRS = list(itertools.permutations(PROCESSES, 2))


@pytest.mark.parametrize("noise", PROCESSES, ids=lambda noise: noise.beta_schedule)
def test_the_schedules_are_diffusers_own(noise: NoiseProcess) -> None:
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=noise.num_train_timesteps,
        beta_schedule=noise.beta_schedule,
        beta_start=noise.beta_start,
        beta_end=noise.beta_end,
        rescale_betas_zero_snr=noise.rescale_betas_zero_snr,
    )
    np.testing.assert_allclose(alphas_cumprod(noise), scheduler.alphas_cumprod.numpy(), rtol=2e-4, atol=1e-7)
    assert NoiseProcess.of({**scheduler.config, "prediction_type": noise.prediction_type}) == noise


def test_dits_noise_end_is_noisier_than_stable_diffusions() -> None:
    """0.0047 is the known signal share left by Stable Diffusion's schedule (Lin et al., arXiv 2305.08891, table 1)."""
    assert alphas_cumprod(STABLE_DIFFUSION)[-1] == pytest.approx(0.0047, abs=5e-5)
    assert alphas_cumprod(DIT)[-1] == pytest.approx(4.036e-5, rel=1e-3)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (DIT, NoiseProcess(), "same"),
        (FLOW, NoiseProcess.of({"use_flow_sigmas": True, "prediction_type": "flow_prediction"}), "same"),
        (DIT, STABLE_DIFFUSION, "convertible"),
        (DIT, NoiseProcess(prediction_type="sample"), "convertible"),
        (COSINE, ZERO_SNR, "convertible"),
        (DIT, FLOW, "refused"),
        (DIT, NoiseProcess(beta_schedule="sigmoid"), "refused"),
        (DIT, NoiseProcess(prediction_type="flow_prediction"), "refused"),
    ],
)
def test_three_verdicts_whichever_way_round(a: NoiseProcess, b: NoiseProcess, verdict: str) -> None:
    assert compare(a, b)[0] == compare(b, a)[0] == verdict


@pytest.mark.parametrize(("trajectory", "member"), PAIRS, ids=lambda n: n.beta_schedule)
def test_matched_timesteps_have_the_same_log_snr_and_lead_back(trajectory: NoiseProcess, member: NoiseProcess) -> None:
    theirs = matching_timesteps(trajectory, member)
    wanted, known = log_snr(trajectory), log_snr(member)
    inside = (wanted >= known[-2]) & (wanted <= known[0])
    smooth = inside & (np.abs(wanted) < 5)  # further out a whole timestep may span several units of log-SNR
    back = np.interp(theirs, np.arange(member.num_train_timesteps), matching_timesteps(member, trajectory))
    assert smooth.sum() > 200
    assert np.abs(np.interp(theirs, np.arange(len(known)), known) - wanted)[inside].max() < 1e-6
    assert np.abs(back - np.arange(trajectory.num_train_timesteps))[smooth].max() < 0.1
    noisier = wanted < known[-1]
    assert (theirs[noisier] == member.num_train_timesteps - 1).all()


@pytest.mark.parametrize("trajectory", PROCESSES, ids=lambda noise: noise.beta_schedule)
def test_another_prediction_type_alone_changes_no_timestep(trajectory: NoiseProcess) -> None:
    member = NoiseProcess(**{**trajectory.__dict__, "prediction_type": "sample"})
    assert (matching_timesteps(trajectory, member) == np.arange(trajectory.num_train_timesteps)).all()


@pytest.mark.parametrize(("first", "second"), list(itertools.product(PREDICTION_TYPES, repeat=2)))
@pytest.mark.parametrize("sigma", [0.1, 0.6, 0.99])
def test_prediction_types_round_trip(first: str, second: str, sigma: float) -> None:
    """There and back again, in float64 to 1e-12."""
    x, prediction = np.random.default_rng(0).normal(size=(2, 100))
    alpha = np.sqrt(1 - sigma**2)
    there = prediction_of(*clean_and_noise(prediction, x, alpha, sigma, first), alpha, sigma, second)
    back = prediction_of(*clean_and_noise(there, x, alpha, sigma, second), alpha, sigma, first)
    np.testing.assert_allclose(back, prediction, atol=1e-12)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_true_prediction_gives_the_image_and_the_noise_it_was_made_of(prediction_type: str) -> None:
    clean, noise = np.random.default_rng(1).normal(size=(2, 100))
    alpha, sigma = 0.8, 0.6
    prediction = prediction_of(clean, noise, alpha, sigma, prediction_type)
    found = clean_and_noise(prediction, alpha * clean + sigma * noise, alpha, sigma, prediction_type)
    np.testing.assert_allclose(found, (clean, noise), atol=1e-12)


class BestDenoiser(nn.Module):
    """The best denoiser of Gaussian images of variance 1/4: E[eps | x_t] = sigma x_t / (alpha^2/4 + sigma^2)."""

    def __init__(self, noise: NoiseProcess):
        super().__init__()
        self.noise = noise

    def forward(self, x: torch.Tensor, timestep: torch.Tensor, extra: int = 0) -> Transformer2DModelOutput:
        snr = log_snr(self.noise)
        signal = 1 / (1 + np.exp(-np.interp(timestep.double().numpy(), np.arange(len(snr)), snr)))
        alpha, sigma = (
            torch.from_numpy(np.atleast_1d(s)).reshape(-1, 1, 1, 1) for s in (signal**0.5, (1 - signal) ** 0.5)
        )
        eps = sigma * x / (alpha**2 / 4 + sigma**2)
        clean = alpha / 4 * x / (alpha**2 / 4 + sigma**2)
        prediction = prediction_of(clean, eps, alpha, sigma, self.noise.prediction_type)
        return Transformer2DModelOutput(torch.cat([prediction.float(), torch.full_like(x, extra)], dim=1))


@pytest.mark.parametrize(("trajectory", "member"), PAIRS, ids=lambda n: n.beta_schedule)
def test_a_converted_member_answers_as_one_trained_for_the_trajectory(
    trajectory: NoiseProcess, member: NoiseProcess
) -> None:
    """Checked on the timesteps whose log-SNR both know; learned-sigma channels pass untouched."""
    forward, best = conversion_of(member, trajectory)(call), BestDenoiser(member)
    known, wanted = log_snr(member), log_snr(trajectory)
    both = np.flatnonzero((wanted <= known[0]) & (wanted >= known[-2]) & (wanted > -20))
    timestep = torch.from_numpy(both[:: len(both) // 7])
    x = torch.randn(len(timestep), 3, 4, 4)
    expected = BestDenoiser(trajectory)(x, timestep, extra=7).sample
    torch.testing.assert_close(forward(best, x, timestep=timestep, extra=7).sample, expected, rtol=2e-3, atol=2e-3)
    one = forward(best, x, timestep[3], extra=7).sample[3]
    torch.testing.assert_close(one, expected[3], rtol=2e-3, atol=2e-3)


def test_fractional_timesteps_lie_between_their_neighbours() -> None:
    forward = conversion_of(COSINE, DIT)(call)
    x = torch.ones(3, 1, 1, 1)
    low, middle, high = forward(BestDenoiser(COSINE), x, torch.tensor([300.0, 300.5, 301.0])).sample[:, 0, 0, 0]
    assert float(middle) == pytest.approx(float(low + high) / 2, rel=1e-4)
    assert low != high

"""A member trained on with the timesteps that an allocation leaves it (T-Stitch, arXiv 2402.14167, appendix A.12).

The member learns what it was trained for: to predict, from noised latents of real images with their labels, what its
noise process asks for. It is in evaluation mode, as in a pipeline; what is saved is the moving average of its weights.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.facts import MemberFacts
from tstitch_search.members.loading import load_member, load_model
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import alphas_cumprod, prediction_of
from tstitch_search.probes.intervals import Interval, n_timesteps
from tstitch_search.probes.labelled_images import LabelledImages
from tstitch_search.sampling.assembly import be_quiet
from tstitch_search.zoo.objective import LabelledLatents, Process, denoising_loss, latent_moments
from tstitch_search.zoo.trainer import REPORT_EVERY, Course, Recipe, Trainer

# Images that the VAE encodes at once: always as many, so that latents are the same bits after an interruption.
ENCODED_AT_ONCE = 16
# The share of images that are shown without their label, so that guidance keeps working (DiT and the zoo: 0.1).
LABEL_DROPOUT = 0.1


@dataclass(frozen=True)
class Training:
    """A member, its own noise process and the intervals of timesteps it is trained on; images, recipe and seed.

    `vae`: folder of the autoencoder that turns images into latents.
    """

    member: MemberFacts
    noise: NoiseProcess
    intervals: tuple[Interval, ...]
    vae: Path
    images: LabelledImages
    recipe: Recipe
    seed: int


# Told the images that have been encoded, and the iterations done with the mean loss and the seconds left.
OnEncoded = Callable[[int], None]
OnTrained = Callable[[int, float, float], None]


def train(
    training: Training, work: Path, device: torch.device, save_every: int, encoded: OnEncoded, trained: OnTrained
) -> Mapping[str, Any]:
    """Train, leave the member in `work/saved` and return the record of it; goes on from what `work` holds.

    Raises ConfigError when the loss is not finite any more, EnvironmentProblem when memory or disk do not suffice.
    """
    be_quiet()
    try:
        moments = _encoded(training, work / "latents.npy", device, encoded)
        trainer = _trainer(training, moments, work, device, save_every, trained)
        trainer.run()
    except torch.OutOfMemoryError as error:
        raise EnvironmentProblem(
            f"the device has too little memory to train on {training.recipe.batch_size} images at once",
            hint="a smaller --batch-size",
        ) from error
    net = trainer.averaged()
    _require_finite(all(bool(weights.isfinite().all()) for weights in net.parameters()), trainer)
    _save(net, training.noise, work / "saved")
    return trainer.record()


def _trainer(
    training: Training, moments: torch.Tensor, work: Path, device: torch.device, save_every: int, trained: OnTrained
) -> Trainer:
    """The member as its training left it in `work`, or about to begin."""
    net: Any = load_member(training.member, device, torch.float32).requires_grad_(True)
    has_null = net.config.get("null_seed") is None
    labels = torch.from_numpy(training.images.labels)
    data = LabelledLatents(moments, labels, training.member.n_classes, LABEL_DROPOUT if has_null else 0.0)
    timesteps = torch.cat([torch.arange(first, last + 1) for first, last in training.intervals])
    loss = denoising_loss(data, process_of(training.noise), timesteps, str(device))
    every = max(1, min(REPORT_EVERY, training.recipe.n_steps // 20))
    course = Course(partial(_report, trained), every, save_every)
    seed_of = partial(seed_of_batch, training.seed)
    return Trainer("checkpoint", training.recipe, net, loss, len(labels), work, str(device), seed_of, course)


def seed_of_batch(seed: int, i: int) -> int:
    """Of batch i: 32 bits, for torch's generator on the CPU takes no more, and batches of other seeds are others."""
    return int(np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1)[0])


def process_of(noise: NoiseProcess) -> Process:
    """The process as a denoiser is trained for it. Raises ConfigError for one whose noise levels are not known here."""
    if noise.beta_schedule == "flow":  # x_t = (1 - s) x_0 + s eps with s = t / T; asked for is eps - x_0
        sigma = torch.arange(n_timesteps(noise)) / noise.num_train_timesteps
        return Process(1 - sigma, sigma, lambda clean, noise, alpha, sigma: noise - clean)
    try:
        signal = torch.from_numpy(alphas_cumprod(noise))
    except ValueError as error:
        raise ConfigError(str(error), hint="fine-tune with the code that the member was trained with") from error
    target = partial(prediction_of, prediction_type=noise.prediction_type)
    return Process(signal.sqrt().float(), (1 - signal).sqrt().float(), target)


def _report(trained: OnTrained, trainer: Trainer) -> None:
    _require_finite(bool(np.isfinite(trainer.losses[-1])), trainer)
    trained(trainer.step, trainer.losses[-1], trainer.seconds_left)


def _require_finite(is_finite: bool, trainer: Trainer) -> None:
    if not is_finite:
        raise ConfigError(
            f"loss or weights are no numbers any more after {trainer.step} iterations",
            hint="a smaller --learning-rate, into another folder",
        )


def _encoded(training: Training, path: Path, device: torch.device, on_encoded: OnEncoded) -> torch.Tensor:
    """Mean and spread of the latents of all images, (n, 2c, h, w) float16, kept at `path` and read from there."""
    if not path.exists():
        partial_path = path.with_suffix(".partial")
        try:
            with partial_path.open("wb") as stream:
                _write_moments(training, stream, device, on_encoded)
            partial_path.replace(path)
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot write {path}: {error.strerror}", hint="make room, then run again"
            ) from error
    return torch.from_numpy(np.load(path, mmap_mode="r+"))


def _write_moments(training: Training, stream: IO[bytes], device: torch.device, on_encoded: OnEncoded) -> None:
    """The same as a .npy file, batch by batch: the latents of a large dataset do not fit into memory."""
    vae: Any = load_model(training.vae, device, torch.float32)
    n_images, n_done = len(training.images.labels), 0
    for pixels in training.images.images.batches(ENCODED_AT_ONCE):
        moments = latent_moments(vae, _as_input(pixels, vae.config.in_channels).to(device)).numpy()
        if n_done == 0:
            header = {"descr": "<f2", "fortran_order": False, "shape": (n_images, *moments.shape[1:])}
            np.lib.format.write_array_header_1_0(stream, header)
        stream.write(moments.astype("<f2").tobytes())
        n_done += len(moments)
        on_encoded(n_done)


def _as_input(pixels: np.ndarray, n_channels: int) -> torch.Tensor:
    """uint8 (n, h, w, 3) -> float (n, c, h, w) in [-1, 1]; for an autoencoder of grey images their mean."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    return images.mean(dim=1, keepdim=True) if n_channels == 1 else images


def _save(net: Any, noise: NoiseProcess, folder: Path) -> None:
    """A diffusers folder, with the noise process beside the weights, as `check` reads it."""
    net.cpu().save_pretrained(folder)
    (folder / "scheduler_config.json").write_text(json.dumps(asdict(noise), indent=2) + "\n")

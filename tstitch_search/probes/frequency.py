"""Which spatial frequencies the members predict, step by step along one trajectory (T-Stitch, figure 11).

Why a small member may take the early steps: they settle low frequencies. A prediction is looked at as the clean
latents, and as the noise, that it stands for. All members answer the questions of one trajectory, as in
`similarity.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import atan, cos, sin
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from tstitch_search.errors import MeasurementError
from tstitch_search.measurement import Frequencies, Probe, Spectrum, Step
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import PREDICTION_TYPES, clean_and_noise
from tstitch_search.probes.along_trajectory import Sample, answers_of_all, prediction_in, probe_along
from tstitch_search.sampling.stitching.prefixes import Path
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# Bands of latents that are large enough for as many.
MAX_BANDS = 8
# What flow matching predicts, eps - x_0 at x = (1 - s) x_0 + s eps, in diffusers' words.
FLOW = "flow_prediction"
Part: TypeAlias = Literal["clean", "noise"]
PARTS: tuple[Part, ...] = ("clean", "noise")


@dataclass(frozen=True)
class NoiseLevels:
    """What predictions stand for: `sigma[step]`, noise over signal at the start of a step, and the prediction type.

    Of `flow_prediction` sigma is the share of noise, in [0, 1].
    """

    sigma: tuple[float, ...]
    prediction_type: str

    @classmethod
    def of(cls, scheduler: Any, steps: Sequence[Step]) -> "NoiseLevels":
        """Those of a diffusers scheduler whose timetable is `steps`. Raises MeasurementError when it has none."""
        sigmas = [step.sigma for step in steps if step.sigma is not None]
        kind = NoiseProcess.of({**scheduler.config, "_class_name": type(scheduler).__name__}).prediction_type
        if len(sigmas) < len(steps) or kind not in (*PREDICTION_TYPES, FLOW):
            raise MeasurementError(
                f"of {type(scheduler).__name__} with {kind} it is not known which clean latents a prediction stands for"
            )
        return cls(tuple(sigmas), kind)

    def parts(self, prediction: torch.Tensor, x: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(x_0, eps) that a prediction at the question `x` stands for."""
        sigma = self.sigma[step]
        if self.prediction_type == FLOW:
            return x - sigma * prediction, x + (1 - sigma) * prediction
        angle = atan(sigma)  # the question is scaled so that alpha^2 + sigma^2 = 1
        clean, noise = clean_and_noise(prediction, x, cos(angle), sin(angle), self.prediction_type)
        return clean, noise


def frequencies(
    job: Probe, denoiser: StitchedDenoiser, sample: Sample, batch_size: int, levels: NoiseLevels
) -> Frequencies:
    """Energy by frequency band of what each of the job's denoisers predicts, per step over its images.

    Of a step with several questions (Heun) the first one counts. Raises MeasurementError when a member goes by its own
    earlier calls, which questions in between would disturb.
    """
    questions, n_channels = _Questions(), denoiser.config.in_channels
    hook = denoiser.register_forward_pre_hook(questions.listen, with_kwargs=True)
    try:
        asked = probe_along(
            job, denoiser, sample, batch_size, lambda n: _Energies(job.denoisers, n_channels, n, levels, questions)
        )
    finally:
        hook.remove()
    steps = range(job.along.n_steps)
    spectra = []
    for name in job.denoisers:
        for i, part in enumerate(PARTS):
            energy = np.stack([np.concatenate([probe.of[step][name][i] for probe in asked]) for step in steps])
            spectra.append(_spectrum(name, part, energy))
    return Frequencies(tuple(spectra), job.images.n_images)


def band_energies(latents: np.ndarray) -> np.ndarray:
    """Energy (n, n_bands) of latents (n, c, h, w) by radial frequency: a row adds up to its mean square (Parseval).

    Band i of b holds frequencies above i / b and up to (i + 1) / b of the highest one along a row or column; the mean
    counts to the first band, the corners of the spectrum to the last.
    """
    height, width = latents.shape[2:]
    n_bands = max(1, min(MAX_BANDS, height // 2, width // 2))
    power = np.abs(np.fft.fft2(latents, norm="ortho")) ** 2 / (height * width)
    radius = 2 * np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    band = np.clip(np.ceil(radius * n_bands - 1e-9) - 1, 0, n_bands - 1).astype(int)
    return np.stack([power[:, :, band == i].sum(axis=2).mean(axis=1) for i in range(n_bands)], axis=1)


class _Questions:
    """Hears what the denoiser is asked about: `x` (n, c, h, w), the first of its inputs."""

    def __init__(self) -> None:
        self.x = torch.empty(0)

    def listen(self, module: Any, inputs: tuple[Any, ...], named_inputs: Mapping[str, Any]) -> None:
        named = (named_inputs[name] for name in ("hidden_states", "sample") if name in named_inputs)
        self.x = inputs[0] if inputs else next(named)


class _Energies:
    """Looks at all denoisers at the first question of a step.

    `of[step][denoiser]`: energies (n_images, n_bands) of the clean latents and of the noise.
    """

    def __init__(
        self, names: tuple[str, ...], n_channels: int, n_images: int, levels: NoiseLevels, questions: _Questions
    ):
        self._names, self._n_channels, self._n_images = names, n_channels, n_images
        self._levels, self._questions, self._step = levels, questions, 0
        self.of: dict[int, dict[str, tuple[np.ndarray, ...]]] = {}

    def on_step(self, n_done: int) -> None:
        self._step = n_done

    def answer(self, path: Path, ask: Callable[[str], Any]) -> Any:
        if self._step in self.of:
            return ask(path[-1])
        outputs = answers_of_all(self._names, path, ask)
        self.of[self._step] = {name: self._energies(outputs[name]) for name in self._names}
        return outputs[path[-1]]

    def _energies(self, output: Any) -> tuple[np.ndarray, ...]:
        """Of the clean latents and of the noise in an output; over both rows of an image where guidance has two."""
        x = self._questions.x[:, : self._n_channels].double().cpu()
        prediction = prediction_in(output, self._n_channels).double().cpu()
        parts = self._levels.parts(prediction, x, self._step)
        rows = (band_energies(part.numpy()) for part in parts)
        return tuple(energy.reshape(-1, self._n_images, energy.shape[1]).mean(axis=0) for energy in rows)


def _spectrum(name: str, part: Part, energy: np.ndarray) -> Spectrum:
    """From energies (n_steps, n_images, n_bands)."""
    sd = energy.std(axis=1, ddof=1) if energy.shape[1] > 1 else np.zeros_like(energy[:, 0])
    return Spectrum(name, part, _rows(energy.mean(axis=1)), _rows(sd))


def _rows(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in values)

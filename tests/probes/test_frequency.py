"""Frequency content along the trajectory: no energy is lost, and predictions stand for what the solver knows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from text_to_image import PROMPTS, save_sdxl

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import MeasurementError
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Chunk, Frequencies, MakeImages, Probe, Step
from tstitch_search.probes.frequency import NoiseLevels, band_energies

# diffusers' Euler hands torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

NAMES = ("S", "XL")
IMAGES = Chunk("search", 0, 13)  # two device batches


@pytest.fixture(scope="module")
def measurer(tiny_family: Path) -> StudyMeasurer:
    measurer = StudyMeasurer(load_study(tiny_family / "study.yaml"), threads=1)
    measurer.load()
    return measurer


def probed(measurer: StudyMeasurer, names: tuple[str, ...] = NAMES) -> Frequencies:
    answer = measurer.do(Probe(Allocation.parse("XL*4"), names, IMAGES, "frequencies"))
    assert isinstance(answer, Frequencies)
    return answer


@pytest.mark.parametrize("shape", [(8, 8), (9, 14), (32, 64), (1, 1)])
def test_the_bands_of_an_image_hold_all_of_its_energy(shape: tuple[int, int]) -> None:
    latents = np.random.default_rng(0).normal(size=(3, 4, *shape))
    assert np.allclose(band_energies(latents).sum(axis=1), (latents**2).mean(axis=(1, 2, 3)))


def test_a_wave_lies_in_the_band_of_its_frequency() -> None:
    """Of 32 pixels the highest frequency has 16 periods, so that 8 bands are 2 periods wide."""
    row = np.arange(32) * 2 * np.pi / 32
    for periods, band in ((0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (9, 4), (16, 7)):
        wave = np.broadcast_to(np.cos(periods * row), (1, 4, 32, 32))
        energy = band_energies(wave)[0]
        assert energy.argmax() == band
        assert energy.sum() == pytest.approx(energy[band])


def test_white_noise_has_energy_by_the_area_of_the_bands() -> None:
    energy = band_energies(np.random.default_rng(0).normal(size=(200, 4, 16, 16))).mean(axis=0)
    assert energy.sum() == pytest.approx(1, abs=0.02)
    assert np.all(np.diff(energy) > 0)
    assert energy[7] > 0.25  # the corners beyond the highest frequency of a row are 1 - pi / 4 of the plane


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_a_perfect_prediction_stands_for_the_clean_latents_and_the_noise_it_was_made_of(kind: str) -> None:
    clean, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = 0.7
    signal = 1 / (1 + sigma**2) ** 0.5
    x = signal * clean + signal * sigma * noise
    said = {"epsilon": noise, "sample": clean, "v_prediction": signal * noise - signal * sigma * clean}[kind]
    parts = NoiseLevels((sigma,), kind).parts(said, x, 0)
    assert torch.allclose(parts[0], clean)
    assert torch.allclose(parts[1], noise)


def test_so_does_one_of_flow_matching() -> None:
    clean, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = NoiseLevels((0.3,), "flow_prediction").parts(noise - clean, 0.7 * clean + 0.3 * noise, 0)
    assert torch.allclose(parts[0], clean)
    assert torch.allclose(parts[1], noise)


def test_at_no_signal_a_v_prediction_says_the_clean_latents_itself() -> None:
    said = torch.ones(1, 4, 8, 8, dtype=torch.float64)
    clean, _ = NoiseLevels((float("inf"),), "v_prediction").parts(said, torch.zeros_like(said), 0)
    assert torch.allclose(clean, -said)


def test_a_solver_without_noise_levels_is_refused() -> None:
    class Scheduler:
        config = {"prediction_type": "epsilon"}  # noqa: RUF012

    with pytest.raises(MeasurementError, match="it is not known which clean latents"):
        NoiseLevels.of(Scheduler(), [Step(999, None)])


def test_every_member_has_a_spectrum_at_every_step(measurer: StudyMeasurer) -> None:
    found = probed(measurer)
    assert [(s.denoiser, s.of) for s in found.spectra] == [(n, of) for n in NAMES for of in ("clean", "noise")]
    assert found.n_images == 13
    for spectrum in found.spectra:
        assert np.shape(spectrum.mean) == np.shape(spectrum.sd) == (4, 4)  # latents of 8 x 8 have room for 4 bands
        assert np.all(np.array(spectrum.mean) > 0)
        assert np.all(np.array(spectrum.sd) > 0)
    assert found.spectra[0].mean != found.spectra[2].mean


def test_a_member_named_twice_has_the_same_spectrum_twice(measurer: StudyMeasurer) -> None:
    found = probed(measurer, ("XL", "XL"))
    assert found.spectra[0] == found.spectra[2]


SDXL_STUDY = """\
name: tiny_sdxl
search_space: space.yaml
guidance_scale: 1
proxy_set: {prompts: prompts.txt, chunk_size: 10}
quality: {objective: inception_score, extractor: fashion-cnn, n_images: 20}
confirm: {n_images: 20}
workers: {pool: inline, device: cpu, device_batch_size: 10}
"""


@pytest.mark.parametrize("kind", ["DDIM asks about the latents", "Euler about scaled ones"])
def test_the_clean_latents_of_the_last_step_are_those_that_are_decoded(
    kind: str, tiny_family: Path, tmp_path: Path
) -> None:
    """Against a second computation: solvers that add no noise end at their last prediction of the clean latents."""
    if kind.startswith("Euler"):
        study = save_sdxl(tmp_path) / "study.yaml"
        study.write_text(SDXL_STUDY)
        (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    else:
        study = tiny_family / "study.yaml"
    measurer = StudyMeasurer(load_study(study, ["guidance_scale=1"]), threads=1)
    measurer.load()
    decoded: list[torch.Tensor] = []
    vae = measurer._assembly.pipeline.vae
    decode = vae.decode

    def listening(latents: torch.Tensor, *args: object, **kwargs: object) -> object:
        decoded.append(latents * vae.config.scaling_factor)
        return decode(latents, *args, **kwargs)

    vae.decode = listening
    largest = measurer._denoiser.names[-1]
    along = Allocation.of([(largest, 4)])
    measurer.do(MakeImages(along, IMAGES))
    expected = band_energies(torch.cat(decoded).double().numpy()).mean(axis=0)
    found = measurer.do(Probe(along, (largest,), IMAGES, "frequencies"))
    assert isinstance(found, Frequencies)
    assert found.spectra[0].mean[-1] == pytest.approx(tuple(expected), rel=2e-3)


def test_probing_leaves_the_images_as_they_were(measurer: StudyMeasurer) -> None:
    job = MakeImages(Allocation.parse("S*2-XL*2"), Chunk("search", 0, 3))
    before = measurer.do(job)
    probed(measurer)
    assert np.array_equal(measurer.do(job), before)
    assert measurer._denoiser.on_step is None
    assert not measurer._denoiser._forward_pre_hooks

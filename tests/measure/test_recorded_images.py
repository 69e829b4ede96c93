"""Simulated images have the recorded FID, the stated noise and correlation; real features are disjoint rows."""

import re
from pathlib import Path

import numpy as np
import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.recorded.images import FeatureFolder, SimulatedImages
from tstitch_search.measurement import Chunk
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.metrics.fid import FID

A, B = Allocation.parse("S*8-XL*12"), Allocation.parse("XL*20")
N = 500


def log_fids(noise: float, correlation: float, allocation: Allocation, fid: float, n_repeats: int) -> np.ndarray:
    """log FID-500 of fresh images, (n_repeats,)."""
    distance = FrechetDistance(SimulatedImages(0, 0, 0).reference)
    of = [SimulatedImages(seed, noise**2 * N, correlation) for seed in range(n_repeats)]
    return np.log([distance(images.features(allocation, fid, Chunk("search", 0, N))) for images in of])


@pytest.mark.parametrize("noise", [0.02, 0.1])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_level_noise_and_correlation_are_as_stated(noise: float, correlation: float) -> None:
    """Over 600 repeats; tolerances are four standard errors."""
    a, b = (log_fids(noise, correlation, each, fid, 600) for each, fid in ((A, 10.0), (B, 40.0)))
    assert np.exp(a).mean() == pytest.approx(10 * (1 + 0.5 / N), rel=4 * noise / np.sqrt(600) + 0.5 / N)
    assert a.std() == pytest.approx(noise, rel=4 / np.sqrt(1200) + noise**2)
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(correlation, abs=4 * (1 - correlation**2) / np.sqrt(600) + 1e-3)


def test_noise_shrinks_with_the_root_of_the_number_of_images_and_the_jackknife_sees_it() -> None:
    images = SimulatedImages(0, 0.05**2 * N, 0.0)
    distance = FID.bind(images.reference)
    for n in (N, 16 * N):
        found = jackknifed(distance, images.features(A, 10.0, Chunk("search", 0, n)))
        assert found.se / found.value == pytest.approx(0.05 * np.sqrt(N / n), rel=0.5)


def test_without_noise_the_fid_is_the_recorded_one() -> None:
    images = SimulatedImages(0, 0.0, 0.9)
    value = FrechetDistance(images.reference)(images.features(A, 8.95, Chunk("search", 0, 40)))
    assert value == pytest.approx(8.95, rel=1e-6)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_an_image_depends_on_seed_set_and_index_not_on_its_chunk(correlation: float) -> None:
    images = SimulatedImages(3, 1.0, correlation)
    whole = images.features(A, 10.0, Chunk("search", 0, 60))
    parts = [images.features(A, 10.0, Chunk("search", i, i + 20)) for i in (0, 20, 40)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.allclose(whole, images.features(A, 10.0, Chunk("confirm", 0, 60)))
    assert not np.allclose(whole, SimulatedImages(4, 1.0, correlation).features(A, 10.0, Chunk("search", 0, 60)))
    assert np.allclose(whole, images.features(B, 10.0, Chunk("search", 0, 60))) == (correlation == 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Features of 100 images under two allocations, and a reference, d = 3."""
    rng = np.random.default_rng(0)
    for allocation in (A, B):
        np.save(tmp_path / f"{allocation.file_name}.npy", rng.normal(size=(100, 3)).astype(np.float16))
    np.savez(tmp_path / "reference.npz", mu=np.zeros(3), sigma=np.eye(3))
    return tmp_path


def test_search_and_confirmation_are_different_rows_of_the_file(folder: Path) -> None:
    images = FeatureFolder(folder, n_search=60, n_confirm=40)
    rows = np.load(folder / f"{A.file_name}.npy")
    assert np.array_equal(images.features(A, 0.0, Chunk("search", 10, 60)), rows[10:60].astype(np.float32))
    confirm = images.features(A, 0.0, Chunk("confirm", 0, 40))
    assert np.array_equal(confirm[::-1], rows[60:].astype(np.float32))
    assert confirm.dtype == np.float32


def test_images_for_one_set_only_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="holds 100 images, expected at least 101: 61 for the search and 40 others"):
        FeatureFolder(folder, n_search=61, n_confirm=40).check([A, B])


@pytest.mark.parametrize(
    ("content", "error", "expected"),
    [
        (np.zeros((90, 3)), ConfigError, r"holds \(90, 3\), expected \(100, 3\)"),
        (np.zeros((100, 2)), ConfigError, r"holds \(100, 2\), expected \(100, 3\)"),
        (np.zeros(100), ConfigError, "expected floats"),
        (np.zeros((100, 3), dtype=int), ConfigError, "expected floats"),
        (np.array([None]), ConfigError, "no .npy file of numbers"),
        (None, EnvironmentProblem, "every recorded allocation needs its features"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    folder: Path, content: object, error: type[Exception], expected: str
) -> None:
    path = folder / f"{B.file_name}.npy"
    path.unlink()
    if content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(error) as caught:
        FeatureFolder(folder, 40, 40).check([A, B])
    assert path.name in str(caught.value)
    assert re.search(expected, str(caught.value))


def test_a_folder_without_reference_is_refused(folder: Path) -> None:
    (folder / "reference.npz").unlink()
    with pytest.raises(ConfigError, match=r"measure.features: .*reference\.npz is missing"):
        FeatureFolder(folder, 40, 40).check([A, B])


def test_the_hash_of_the_folder_is_of_its_content(folder: Path) -> None:
    images = FeatureFolder(folder, 40, 40)
    before = images.check([A, B])
    assert images.check([A, B]) == before
    np.save(images.path(B), np.ones((100, 3)))
    assert images.check([A, B]) != before

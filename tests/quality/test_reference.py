"""Reference statistics: what is read from a file, and files that are refused."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.reference import Reference, load_reference, summarise

D = 4


def save(folder: Path, **changes: Any) -> Path:
    """A reference.npz of 4 features; a change of None leaves the array out."""
    arrays = {"mu": np.arange(D, dtype=np.float32), "sigma": np.eye(D, dtype=np.float32), **changes}
    path = folder / "reference.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_statistics_are_read_in_double_precision_and_the_file_is_hashed(tmp_path: Path) -> None:
    path = save(tmp_path, n_images=np.int64(60_000), features=np.ones((5, D), dtype=np.float16))
    found = load_reference("reference.npz", tmp_path)
    assert found.mu.dtype == found.sigma.dtype == np.float64
    assert np.array_equal(found.mu, np.arange(D))
    assert found.n_images == 60_000
    assert found.features is not None
    assert (found.features.shape, found.features.dtype) == ((5, D), np.float32)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_of_mu_and_sigma_only_will_do(tmp_path: Path) -> None:
    save(tmp_path)
    found = load_reference(str(tmp_path / "reference.npz"), Path("elsewhere"))
    assert (found.n_images, found.features) == (None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu": None}, "expected arrays mu and sigma, or features, or arr_0.*; found sigma"),
        ({"sigma": None}, "expected arrays mu and sigma, .*; found mu"),
        ({"sigma": np.eye(D + 1)}, r"got \(4,\) and \(5, 5\)"),
        ({"mu": np.zeros((D, 1))}, r"got \(4, 1\) and \(4, 4\)"),
        ({"mu": np.full(D, np.nan)}, "must be finite"),
        ({"sigma": np.full((D, D), np.inf)}, "must be finite"),
        ({"features": np.zeros((5, D + 1))}, r"expected features \(m, 4\), got \(5, 5\)"),
        ({"mu": np.array([{"an": "object"}] * D, dtype=object)}, "plain arrays"),
        ({"mu": np.array(["a"] * D)}, "plain arrays"),
    ],
)
def test_arrays_that_are_no_reference_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    save(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        load_reference("reference.npz", tmp_path)


@pytest.mark.parametrize("content", [b"text", b"PK\x03\x04 cut off"])
def test_files_that_are_no_npz_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "reference.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"not usable: expected a \.npz file"):
        load_reference("reference.npz", tmp_path)


def test_one_plain_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mu.npy", np.zeros(D))
    with pytest.raises(ConfigError, match="not usable"):
        load_reference("mu.npy", tmp_path)


@pytest.mark.parametrize("text", ["missing.npz", "zoo:nowhere", "."])
def test_a_missing_file_is_named_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(EnvironmentProblem, match=f"cannot read the reference '{text}' at "):
        load_reference(text, tmp_path)


def test_of_very_many_images_ten_thousand_evenly_spread_keep_their_features() -> None:
    rows = np.random.default_rng(0).normal(size=(25_000, 2)).astype(np.float32)
    found = summarise(np.array_split(rows, 7), len(rows), sha256="")
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(found.mu, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.sigma, np.cov(exact, rowvar=False), rtol=1e-12)
    assert found.n_images == 25_000
    assert found.features is not None
    assert np.array_equal(found.features, rows[np.arange(10_000) * 5 // 2])


@pytest.mark.parametrize(
    ("sigma", "complaint"),
    [
        (np.triu(np.ones((3, 3))), "sigma must be symmetric"),
        (-np.eye(3), "negative variance"),
        (np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]), "eigenvalue of -1: it is no covariance"),
    ],
)
def test_a_sigma_that_is_no_covariance_is_refused(sigma, complaint):
    with pytest.raises(ConfigError, match=complaint):
        FrechetDistance(Reference(np.zeros(3), sigma, None, None, ""))

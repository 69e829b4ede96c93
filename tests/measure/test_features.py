"""Images to features: rounding, torch-fidelity's own numbers, and weights that cannot be had."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset

from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError
from tstitch_search.measure.features import count_features, extract, load_extractor, published_fid, to_uint8
from tstitch_search.quality.reference import Reference

CPU = torch.device("cpu")


class Images(Dataset[torch.Tensor]):
    """uint8 images (n, 3, h, w) as torch-fidelity wants them."""

    def __init__(self, images: torch.Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


def reference_of(features: np.ndarray) -> Reference:
    mu, sigma = features.mean(0, dtype=np.float64), np.cov(features.astype(np.float64), rowvar=False)
    return Reference(mu, sigma, len(features), None, sha256="")


def test_rounding_is_to_the_nearest_level_and_grey_becomes_rgb() -> None:
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    for shift in (-0.49, 0.0, 0.49):
        images = to_uint8((levels + shift) / 255)
        assert images.shape == (1, 3, 16, 16)
        assert images.dtype == torch.uint8
        assert all(torch.equal(images[0, c], levels[0, 0].to(torch.uint8)) for c in range(3))


def test_half_precision_images_round_the_same_way() -> None:
    assert torch.equal(to_uint8(torch.full((1, 3, 2, 2), 0.5, dtype=torch.float16)), torch.full((1, 3, 2, 2), 128))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_images_that_are_not_finite_are_a_measurement_error(bad: float) -> None:
    images = torch.zeros(2, 1, 4, 4)
    images[1, 0, 2, 2] = bad
    with pytest.raises(MeasurementError, match="not finite"):
        to_uint8(images)


def test_our_route_gives_torch_fidelitys_number_on_the_same_images(tiny_family: Path) -> None:
    weights = tiny_family / "features.safetensors"
    a = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8)
    b = torch.randint(0, 200, (200, 3, 32, 32), dtype=torch.uint8)
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(a),
        input2=Images(b),
        fid=True,
        cuda=False,
        feature_extractor="fashion-cnn",
        feature_extractor_weights_path=str(weights),
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )["frechet_inception_distance"]
    extractor = load_extractor("fashion-cnn", weights, CPU)
    features = np.concatenate([extract(extractor, batch) for batch in a.split(64)])
    assert features.shape == (300, 64)
    assert features.dtype == np.float32
    ours = published_fid(features.mean(0), np.cov(features, rowvar=False), reference_of(extract(extractor, b)))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_worse_set_has_a_higher_fid_and_the_reference_itself_none(tiny_family: Path) -> None:
    extractor = load_extractor("fashion-cnn", tiny_family / "features.safetensors", CPU)
    real = torch.rand(200, 1, 32, 32)
    reference = reference_of(extract(extractor, to_uint8(real)))

    def fid(images: torch.Tensor) -> float:
        features = extract(extractor, to_uint8(images.clamp(0, 1))).astype(np.float64)
        return published_fid(features.mean(0), np.cov(features, rowvar=False), reference)

    fids = [fid(real * (1 - fault)) for fault in (0.0, 0.1, 0.3, 0.6)]
    assert fids == sorted(fids)
    assert fids[0] == pytest.approx(0, abs=1e-5)
    assert fids[1] > 1e-3


def test_an_unknown_extractor_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'inception', expected one of .*fashion-cnn, inception-v3-compat"):
        load_extractor("inception", None, CPU)


@pytest.mark.parametrize("name", ["fashion-cnn", "inception-v3-compat"])
def test_a_given_weights_file_must_be_there_and_be_readable(tmp_path: Path, name: str) -> None:
    with pytest.raises(EnvironmentProblem, match=rf"'{name}' are not at .*weights.pth"):
        load_extractor(name, tmp_path / "weights.pth", CPU)
    (tmp_path / "weights.pth").write_bytes(b"these are no weights")
    with pytest.raises(EnvironmentProblem, match=rf"'{name}' cannot be loaded"):
        load_extractor(name, tmp_path / "weights.pth", CPU)


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty TORCH_HOME, and a proxy at a port where nobody listens, so that no download can succeed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    urllib.request.install_opener(None)  # the next request reads the environment anew
    yield tmp_path
    urllib.request.install_opener(None)


def test_inception_weights_that_cannot_be_downloaded_are_named_with_their_place(no_network: Path) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        load_extractor("inception-v3-compat", None, CPU)
    assert f"'inception-v3-compat' are not in {no_network}/hub/checkpoints and could not be" in caught.value.message
    assert "weights-inception-2015-12-05-6726825d.pth" in caught.value.hint
    assert "quality.extractor_weights" in caught.value.hint


def test_an_extractor_says_how_many_features_it_gives(tiny_family: Path) -> None:
    assert count_features(load_extractor("fashion-cnn", tiny_family / "features.safetensors", CPU)) == 64

"""Published values are torch-fidelity's, and the numpy forms used while searching agree with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from tstitch_search.errors import ConfigError
from tstitch_search.measure.features import extract, load_extractor
from tstitch_search.measure.published import publish
from tstitch_search.quality.metrics import METRICS
from tstitch_search.quality.reference import Reference

N, N_REAL = 300, 200
THEIR_NAMES = {
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "inception_score": "inception_score_mean",
    "precision": "precision",
    "recall": "recall",
}


class Images(Dataset[torch.Tensor]):
    """uint8 images (n, 3, h, w) as torch-fidelity wants them."""

    def __init__(self, images: torch.Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


def textures(n: int, seed: int, darkest: int) -> torch.Tensor:
    """Images (n, 3, 32, 32) of grey squares of random size and brightness."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randint(darkest, 256, (n, 1, 4, 4), generator=g)
    fine = torch.randint(darkest, 256, (n, 1, 32, 32), generator=g)
    share = torch.rand(n, 1, 1, 1, generator=g)
    squares = coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    return (share * squares + (1 - share) * fine).to(torch.uint8).expand(-1, 3, -1, -1)


GENERATED, REAL = textures(N, seed=1, darkest=0), textures(N_REAL, seed=2, darkest=10)


def arrays_of(images: torch.Tensor, chunk_size: int, weights: Path) -> dict[str, np.ndarray]:
    """The arrays as a run stores them: chunk by chunk."""
    extractor = load_extractor("fashion-cnn", weights, torch.device("cpu"), ("features", "logits"))
    chunks = [extract(extractor, chunk) for chunk in images.split(chunk_size)]
    return {array: np.concatenate([chunk[array] for chunk in chunks]) for array in ("features", "logits")}


@pytest.fixture(scope="module")
def weights(tiny_family: Path) -> Path:
    return tiny_family / "features.safetensors"


@pytest.fixture(scope="module")
def arrays(weights: Path) -> dict[str, np.ndarray]:
    scores = np.random.default_rng(0).uniform(0, 40, size=N).astype(np.float32)
    return {
        **arrays_of(GENERATED, N, weights),
        **{metric.array: scores for metric in METRICS.values() if metric.kind != "set"},
    }


@pytest.fixture(scope="module")
def reference(weights: Path) -> Reference:
    features = arrays_of(REAL, N_REAL, weights)["features"]
    mu, sigma = features.mean(0, dtype=np.float64), np.cov(features, rowvar=False, dtype=np.float64)
    return Reference(mu, sigma, N_REAL, features, sha256="")


def torch_fidelitys(weights: Path, batch_size: int, **options: Any) -> dict[str, float]:
    """What torch-fidelity says of the images themselves."""
    asked: dict[str, Any] = {"cache": False, "isc": True, "fid": True, "kid": True, "prc": True, **options}
    found: dict[str, float] = torch_fidelity.calculate_metrics(
        input1=Images(GENERATED),
        input2=Images(REAL),
        isc_splits=1,
        kid_subset_size=N_REAL,
        feature_extractor="fashion-cnn",
        feature_extractor_weights_path=str(weights),
        batch_size=batch_size,
        cuda=False,
        save_cpu_ram=True,
        verbose=False,
        **asked,
    )
    return found


@pytest.mark.parametrize("batch_size", [64, 17])
@pytest.mark.parametrize("chunk_size", [100, 7])
def test_published_values_are_torch_fidelitys_of_the_same_images(
    weights: Path, reference: Reference, chunk_size: int, batch_size: int
) -> None:
    theirs = torch_fidelitys(weights, batch_size)
    stored = arrays_of(GENERATED, chunk_size, weights)
    for name, their_name in THEIR_NAMES.items():
        published = publish(name, stored[METRICS[name].array], reference)
        assert published == pytest.approx(theirs[their_name], rel=1e-4), name
    assert 0.01 < theirs["precision"] < 0.99  # or the agreement would be empty
    assert 0.01 < theirs["recall"] < 0.99
    assert abs(theirs["kernel_inception_distance_mean"]) > 1e-5


@pytest.mark.parametrize(
    ("name", "rel"),
    [("fid", 1e-6), ("inception_score", 1e-9), ("precision", 1e-6), ("recall", 1e-6), ("clip_score", 1e-12)],
)
def test_the_numpy_form_is_the_published_value(
    arrays: dict[str, np.ndarray], reference: Reference, name: str, rel: float
) -> None:
    metric = METRICS[name]
    array = arrays[metric.array]
    assert metric.bind(reference)(array) == pytest.approx(publish(name, array, reference), rel=rel)


def test_the_numpy_kid_is_torch_fidelitys_with_one_subset_of_all_images(
    arrays: dict[str, np.ndarray], reference: Reference
) -> None:
    features, real = arrays["features"][:N_REAL].astype(np.float64), reference.features
    assert real is not None
    theirs = kid_features_to_metric(
        torch.from_numpy(features),
        torch.from_numpy(real.astype(np.float64)),
        kid_subsets=1,
        kid_subset_size=N_REAL,
        verbose=False,
    )[KEY_METRIC_KID_MEAN]
    assert METRICS["kid"].bind(reference)(features) == pytest.approx(theirs, rel=1e-8)


def test_the_mean_over_subsets_stays_near_the_kid_of_all_images(
    arrays: dict[str, np.ndarray], reference: Reference
) -> None:
    features = arrays["features"]
    assert publish("kid", features, reference) == pytest.approx(METRICS["kid"].bind(reference)(features), rel=0.05)


@pytest.mark.parametrize("name", METRICS)
def test_the_same_arrays_are_published_with_the_same_value_and_in_silence(
    arrays: dict[str, np.ndarray], reference: Reference, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    array = arrays[METRICS[name].array]
    np.random.seed(1)
    torch.manual_seed(1)
    first = publish(name, array, reference)
    assert publish(name, array, reference) == first
    assert isinstance(first, float)
    assert capfd.readouterr() == ("", "")


def test_a_planted_cache_file_that_misleads_torch_fidelity_changes_nothing_here(
    weights: Path, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = publish("fid", arrays_of(GENERATED, N, weights)["features"], reference)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "fidelity_cache").mkdir()
    plant = tmp_path / "fidelity_cache" / "generated-fashion-cnn-stat-fid-64.pt"
    torch.save({"mu": np.full(64, 9, dtype=np.float32), "sigma": np.eye(64)}, plant)
    misled = torch_fidelitys(weights, 64, cache=True, input1_cache_name="generated", isc=False, kid=False, prc=False)
    assert misled[THEIR_NAMES["fid"]] > 2 * truth
    assert publish("fid", arrays_of(GENERATED, N, weights)["features"], reference) == truth
    assert list((tmp_path / "fidelity_cache").iterdir()) == [plant]


def test_a_worse_set_has_a_higher_fid_and_the_reference_itself_none(weights: Path, reference: Reference) -> None:
    darker = [(REAL * (1 - fault)).to(torch.uint8) for fault in (0.0, 0.1, 0.3, 0.6)]
    fids = [publish("fid", arrays_of(images, N_REAL, weights)["features"], reference) for images in darker]
    assert fids == sorted(fids)
    assert fids[0] == pytest.approx(0, abs=1e-5)
    assert fids[1] > 1e-3


@pytest.mark.parametrize("name", METRICS)
def test_too_few_images_and_a_lacking_reference_are_refused(
    arrays: dict[str, np.ndarray], reference: Reference, name: str
) -> None:
    metric = METRICS[name]
    with pytest.raises(ConfigError, match=r"at least \d images, got 0"):
        publish(name, arrays[metric.array][:0], reference)
    if metric.needs != "nothing":
        with pytest.raises(ConfigError, match=f"{metric.label} needs a reference"):
            publish(name, arrays[metric.array], None)
    if metric.needs == "features":
        with pytest.raises(ConfigError, match=f"{metric.label} needs features of real images"):
            publish(name, arrays[metric.array], replace(reference, features=None))


def test_an_unknown_metric_is_refused(arrays: dict[str, np.ndarray], reference: Reference) -> None:
    with pytest.raises(ConfigError, match="unknown metric 'mind'"):
        publish("mind", arrays["features"], reference)

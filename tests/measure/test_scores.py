"""Values per pair: each keeps the contract of `PairScore` and agrees with a second implementation."""

import warnings
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torchvision.models import alexnet

from tstitch_search.config.models import QualityConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError
from tstitch_search.measure.scores import PairScore, Scores
from tstitch_search.measure.scores.contract import PairScoreContract
from tstitch_search.measure.scores.lpips import Lpips
from tstitch_search.measure.scores.perceptual import ZooPerceptual
from tstitch_search.measure.scores.psnr import psnr
from tstitch_search.measure.scores.ssim import ssim
from tstitch_search.quality.metrics.pairs import PSNR_CEILING

CPU = torch.device("cpu")
CHANNELS = (64, 192, 384, 256, 256)


class OfWrongLength:
    """A pair metric of the user's own that answers one value only, or NaN."""

    kind, label, higher_is_better = "pair", "a wrong length", False

    def __init__(self, device: torch.device):
        pass

    def __call__(self, images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1)


class NotANumber(OfWrongLength):
    label = "no number"

    def __call__(self, images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images),), torch.nan)


def pictures(size: int, seed: int = 0, n: int = 4) -> torch.Tensor:
    """Smooth random pictures, uint8 (n, 3, size, size)."""
    noise = np.random.default_rng(seed).normal(size=(n, 3, size, size))
    smooth = np.stack([[gaussian_filter(channel, 2) for channel in image] for image in noise])
    return torch.from_numpy((smooth / np.abs(smooth).max() * 127 + 128).astype(np.uint8))


def disturbed(images: torch.Tensor, by: float, seed: int = 1) -> torch.Tensor:
    noise = torch.from_numpy(np.random.default_rng(seed).normal(0, by, images.shape))
    return (images + noise).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def lpips_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout that `lpips.LPIPS(net="alex").state_dict()` has."""
    torch.manual_seed(0)
    ends, state = (2, 5, 8, 10, 12), {}
    for name, tensor in alexnet().features.state_dict().items():
        index = int(name.split(".")[0])
        state[f"net.slice{1 + next(i for i, end in enumerate(ends) if index < end)}.{name}"] = tensor.clone()
    state |= {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(CHANNELS)}
    path = tmp_path_factory.mktemp("lpips") / "alex.safetensors"
    save_file(state, path)
    return path


class TestPsnr(PairScoreContract):
    size, higher_is_better, best = 32, True, PSNR_CEILING

    def score(self) -> PairScore:
        return psnr


class TestSsim(PairScoreContract):
    size, higher_is_better, best = 32, True, 1.0

    def score(self) -> PairScore:
        return ssim


class TestPerceptual(PairScoreContract):
    size = 32

    def score(self) -> PairScore:
        return ZooPerceptual(CPU)


class TestLpips(PairScoreContract):
    @pytest.fixture(autouse=True)
    def _weights(self, lpips_file: Path) -> None:
        self.weights = lpips_file

    def score(self) -> PairScore:
        return Lpips(self.weights, CPU)


def test_a_metric_that_breaks_the_contract_is_found_out() -> None:
    class Backwards(PairScoreContract):
        def score(self) -> PairScore:
            return psnr

    with pytest.raises(AssertionError):
        Backwards().test_more_noise_is_worse_for_every_image()


def test_the_example_of_ones_own_metric_is_loaded_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str((Path(__file__).parents[2] / "examples" / "own_metric.py").parent))
    x, brighter = pictures(32) // 2, pictures(32) // 2 + 51
    values = scores_of("own_metric:Brightness").of(brighter, [""] * 4, x)
    assert values["own_metric:Brightness"].tolist() == pytest.approx([0.2] * 4)


def test_psnr_is_that_of_numpy() -> None:
    x, y = disturbed(pictures(32), 20), pictures(32)
    error = ((x.numpy().astype(float) - y.numpy().astype(float)) ** 2).mean(axis=(1, 2, 3))
    assert psnr(x, y).tolist() == pytest.approx(list(20 * np.log10(255 / np.sqrt(error))))


def test_ssim_is_that_of_scipy_filters() -> None:
    x, y = disturbed(pictures(48), 20), pictures(48)

    def blurred(a: np.ndarray) -> np.ndarray:
        return gaussian_filter(a, 1.5, radius=5)[5:-5, 5:-5]

    def one(a: np.ndarray, b: np.ndarray) -> float:
        ma, mb, c1, c2 = blurred(a), blurred(b), 2.55**2, 7.65**2
        va, vb, cab = blurred(a * a) - ma * ma, blurred(b * b) - mb * mb, blurred(a * b) - ma * mb
        return float(((2 * ma * mb + c1) * (2 * cab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())

    expected = [np.mean([one(*channels) for channels in zip(*pair, strict=True)]) for pair in zip(*(
        images.numpy().astype(float) for images in (x, y)), strict=True)]  # fmt: skip
    assert ssim(x, y).tolist() == pytest.approx(expected, rel=1e-9)


def test_lpips_is_that_of_the_package_of_its_authors(tmp_path: Path) -> None:
    """Its own linear layers, and the same random AlexNet, since the trained one is a download."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks torchvision for no weights in an old way
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    torch.save(theirs.state_dict(), tmp_path / "alex.pth")
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        expected = theirs(first / 127.5 - 1, second / 127.5 - 1).flatten()
    found = Lpips(tmp_path / "alex.pth", CPU)(first, second)
    assert expected.min() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_images_that_are_too_small_are_refused_with_what_to_take_instead(lpips_file: Path) -> None:
    small = pictures(8)
    for score in (ssim, ZooPerceptual(CPU), Lpips(lpips_file, CPU)):
        with pytest.raises(ConfigError) as error:
            score(small, small)
        assert "psnr" in error.value.hint


def test_weights_of_lpips_that_are_missing_or_foreign_say_how_to_get_them(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    for path in (tmp_path / "none.pth", foreign):
        with pytest.raises(EnvironmentProblem, match=path.name) as error:
            Lpips(path, CPU)
        assert "pip install lpips" in error.value.hint


def scores_of(*metrics: str) -> Scores:
    return Scores.load(QualityConfig(objective="psnr", metrics=metrics), Path(), CPU)


def test_a_metric_of_ones_own_that_answers_wrongly_costs_one_clear_error() -> None:
    x = pictures(32)
    with pytest.raises(ConfigError, match="a wrong length answers 4 images with shape"):
        scores_of(f"{__name__}:OfWrongLength").of(x, [""] * 4, x)
    with pytest.raises(MeasurementError, match="no number of image 0 of 4 in its batch is not finite"):
        scores_of(f"{__name__}:NotANumber").of(x, [""] * 4, x)


def test_pairs_without_the_anchor_or_of_another_size_are_refused() -> None:
    with pytest.raises(MeasurementError, match="needs the anchor's images"):
        scores_of().of(pictures(32), [""] * 4, None)
    with pytest.raises(MeasurementError, match="cannot be held against"):
        scores_of().of(pictures(32), [""] * 4, pictures(16))

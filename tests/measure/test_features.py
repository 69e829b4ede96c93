"""Images to features: rounding, extractors of all origins, and weights that cannot be had."""

import pickle
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError
from tstitch_search.measure.features import count_features, extract, load_extractor, require_content, to_uint8
from tstitch_search.quality.reference import Reference

CPU = torch.device("cpu")


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


def test_features_and_logits_are_the_networks_own_in_one_call(tiny_family: Path) -> None:
    extractor = load_extractor("fashion-cnn", tiny_family / "features.safetensors", CPU, ("logits", "features"))
    images = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8)
    found = extract(extractor, images)
    network = extractor.network.net
    features, logits = network(images.float().mean(1, keepdim=True) / 127.5 - 1)
    assert list(found) == ["logits", "features"]
    assert {array: (v.shape, v.dtype) for array, v in found.items()} == {
        "logits": ((70, 10), np.float32),
        "features": ((70, 64), np.float32),
    }
    np.testing.assert_allclose(found["features"], features.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["logits"], logits.numpy(), rtol=1e-5, atol=1e-6)


def test_features_alone_are_given_unless_more_is_asked_for(tiny_family: Path) -> None:
    extractor = load_extractor("fashion-cnn", tiny_family / "features.safetensors", CPU)
    assert list(extract(extractor, torch.zeros(2, 3, 32, 32, dtype=torch.uint8))) == ["features"]


OWN = """
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

class Means(FeatureExtractorBase):
    def __init__(self, name, features_list, **options):
        super().__init__(name, features_list)

    get_provided_features_list = staticmethod(lambda: ("means", "kinds"))
    get_default_feature_layer_for_metric = staticmethod(lambda metric: "kinds" if metric == "isc" else "means")
    get_dummy_input_for_compile = staticmethod(lambda: torch.zeros(1, 3, 4, 4, dtype=torch.uint8))

    def forward(self, images):
        means = images.float().mean(dim=(2, 3))
        by_layer = {"means": means, "kinds": 2 * means}
        return tuple(by_layer[layer] for layer in self.features_list)

class OneLayer(Means):
    get_default_feature_layer_for_metric = staticmethod(lambda metric: "means")

class NoExample(Means):
    get_dummy_input_for_compile = staticmethod(FeatureExtractorBase.get_dummy_input_for_compile)

class Map(Means):
    def forward(self, images):
        return (images.float(),)

class OneRow(Means):
    def forward(self, images):
        return (images.float().mean(dim=(0, 2, 3))[None],)

class Bare(Means):
    def forward(self, images):
        return images.float().mean(dim=(2, 3))

class NotFinite(Means):
    def forward(self, images):
        return (images.float().mean(dim=(2, 3)) / 0,)

class TakesNothing(Means):
    def __init__(self):
        pass

class Stranger:
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a user's module of extractors, which Python can import."""
    name = f"extractors_in_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    return name


IMAGES = torch.arange(2 * 3 * 16, dtype=torch.uint8).reshape(2, 3, 4, 4)


def test_an_extractor_of_the_users_own_is_imported_and_asked_for_both_arrays(own_module: str) -> None:
    for _ in range(2):  # the second time it is known already
        extractor = load_extractor(f"{own_module}:Means", None, CPU, ("features", "logits"))
        found = extract(extractor, IMAGES)
        assert np.array_equal(found["features"], IMAGES.float().mean(dim=(2, 3)).numpy())
        assert np.array_equal(found["logits"], 2 * found["features"])
    assert count_features(extractor) == 3


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (":Missing", "cannot be imported: AttributeError: module .* has no attribute 'Missing'"),
        ("_missing:Means", "cannot be imported: ModuleNotFoundError"),
        ("_broken:Means", "cannot be imported: ZeroDivisionError"),
        (":Stranger", "is a type, expected a subclass of torch_fidelity's FeatureExtractorBase"),
        (":torch", "is a module, expected a subclass"),
        (":TakesNothing", "cannot be made: TypeError"),
    ],
)
def test_what_is_no_extractor_is_refused_by_its_name(own_module: str, end: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"'{own_module}{end}' {message}"):
        load_extractor(f"{own_module}{end}", None, CPU)


@pytest.mark.parametrize(
    ("class_name", "error", "message"),
    [
        ("Map", ConfigError, r"answers 2 images with layer 'means' of shape \(2, 3, 4, 4\), expected \(2, d\)"),
        ("OneRow", ConfigError, r"answers 2 images with layer 'means' of shape \(1, 3\), expected \(2, d\)"),
        ("Bare", ConfigError, "answers with a Tensor, expected a tuple of the layers means"),
        ("NotFinite", MeasurementError, "gives values that are not finite in layer 'means'"),
    ],
)
def test_answers_that_are_no_features_name_the_extractor(
    own_module: str, class_name: str, error: type[Exception], message: str
) -> None:
    extractor = load_extractor(f"{own_module}:{class_name}", None, CPU)
    with pytest.raises(error, match=f"'{own_module}:{class_name}' {message}"):
        extract(extractor, IMAGES)
    with pytest.raises(error, match=message):  # before the first chunk is made
        count_features(extractor)


def test_an_extractor_without_an_example_image_is_told_to_give_one(own_module: str) -> None:
    extractor = load_extractor(f"{own_module}:NoExample", None, CPU)
    with pytest.raises(ConfigError, match="NoExample' gives no example of an image"):
        count_features(extractor)


def test_an_extractor_that_classifies_nothing_has_no_logits(own_module: str) -> None:
    with pytest.raises(ConfigError, match="OneLayer' classifies nothing"):
        load_extractor(f"{own_module}:OneLayer", None, CPU, ("features", "logits"))


def test_weights_of_dinov2_cannot_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"anything")
    with pytest.raises(ConfigError, match="'dinov2-vit-s-14' cannot take its weights from a file"):
        load_extractor("dinov2-vit-s-14", tmp_path / "weights.pth", CPU)


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


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 2, 8, 8), (3, 8, 8)])
def test_images_of_another_number_of_channels_are_refused(shape):
    with pytest.raises(MeasurementError, match="expected images of shape"):
        to_uint8(torch.rand(shape))


def test_an_image_of_one_colour_is_refused_by_its_index():
    images = torch.randint(0, 255, (5, 3, 8, 8), dtype=torch.uint8)
    require_content(images, first=100)
    images[2] = torch.tensor([7, 9, 200], dtype=torch.uint8)[:, None, None]
    images[4] = 0
    with pytest.raises(MeasurementError, match="image 102 is of one colour all over, and 1 more of 5"):
        require_content(images, first=100)


class RunsCode:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_weights_that_could_run_code_are_refused_before_torch_fidelity_unpickles_them(
    tmp_path: Path, save: Callable[[object, Path], object]
) -> None:
    save({"weight": RunsCode(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(EnvironmentProblem, match="holds more than tensors"):
        load_extractor("inception-v3-compat", tmp_path / "weights.pth", torch.device("cpu"))
    assert not (tmp_path / "ran").exists()

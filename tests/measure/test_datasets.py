"""Datasets that torch-fidelity has registered, as real images: what is read, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_fidelity import register_dataset
from torch_fidelity.registry import DATASETS_REGISTRY

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.datasets import batches_of, count_images
from tstitch_search.real_images import RegisteredDataset

PIXELS = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)


def fail(root: str, download: bool) -> Any:
    raise RuntimeError(f"no network, {download=}\nat all")


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Some datasets under names of our own."""
    ours = {"pixels": PIXELS, "floats": PIXELS / 255, "wide": PIXELS.repeat(1, 1, 1, 2), "texts": ["one"]}
    for name, dataset in ours.items():
        register_dataset(name, lambda root, download, dataset=dataset: dataset)
    register_dataset("absent", fail)
    yield
    for name in (*ours, "absent"):
        del DATASETS_REGISTRY[name]


@pytest.fixture(autouse=True)
def own_torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_a_dataset_is_read_in_parts_of_any_size() -> None:
    images, expected = RegisteredDataset("pixels", 8), PIXELS.permute(0, 2, 3, 1).numpy()
    assert count_images(images) == 20
    for size in (1, 7, 100):
        assert np.array_equal(np.concatenate(list(batches_of(images, size))), expected)
    assert np.array_equal(np.concatenate(list(batches_of(images.part(3, 9).part(1, 4), 2))), expected[4:7])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("floats", r"image 0 of the dataset 'floats' is torch.float32 \(3, 8, 8\)"),
        ("wide", r"is torch.uint8 \(3, 8, 16\), the study's images are torch.uint8 \(3, 8, 8\)"),
        ("texts", "is str, the study's"),
        ("pixles", "unknown dataset 'pixles', expected one of .*cifar10-train.*pixels"),
    ],
)
def test_a_dataset_of_something_else_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        next(batches_of(RegisteredDataset(name, 8), 5))
    assert caught.value.hint


def test_a_dataset_that_cannot_be_had_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        count_images(RegisteredDataset("absent", 8))
    assert f"'absent' is neither in {tmp_path}/fidelity_datasets nor could it be" in caught.value.message
    assert caught.value.message.endswith("no network, download=True")

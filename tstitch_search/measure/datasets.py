"""Real images as a worker reads them: files and arrays, and the datasets that torch-fidelity has registered."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch_fidelity.registry import DATASETS_REGISTRY

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.weights import first_line
from tstitch_search.real_images import RealImages, RegisteredDataset


def count_images(images: RealImages) -> int:
    """How many there are. Raises ConfigError for a dataset that is not registered."""
    return len(_dataset(images.name)) if isinstance(images, RegisteredDataset) else images.n_images


def batches_of(images: RealImages, size: int) -> Iterator[np.ndarray]:
    """uint8 (n, h, w, 3) of up to `size` images each.

    Raises ConfigError for an image that cannot be used, EnvironmentProblem for a file or dataset that cannot be had.
    """
    if not isinstance(images, RegisteredDataset):
        yield from images.batches(size)
        return
    dataset = _dataset(images.name)
    last = len(dataset) if images.last is None else images.last
    for i in range(images.first, last, size):
        yield np.stack([_image(images, dataset[j], j) for j in range(i, min(i + size, last))])


@lru_cache(maxsize=1)
def _dataset(name: str) -> Sequence[torch.Tensor]:
    """The dataset from where torch-fidelity keeps them, downloaded when it is not there."""
    if name not in DATASETS_REGISTRY:
        known = ", ".join(sorted(DATASETS_REGISTRY))
        raise ConfigError(f"unknown dataset {name!r}, expected one of {known}", hint="or give a folder of images")
    root = os.path.join(torch.hub.get_dir(), os.pardir, "fidelity_datasets")
    try:
        os.makedirs(root, exist_ok=True)
        dataset: Sequence[torch.Tensor] = DATASETS_REGISTRY[name](root, True)
    except Exception as error:  # whatever a dataset's own code raises
        raise EnvironmentProblem(
            f"the dataset {name!r} is neither in {os.path.normpath(root)} nor could it be downloaded: "
            f"{first_line(error)}",
            hint="put its files there, or give its images as a folder",
        ) from error
    return dataset


def _image(images: RegisteredDataset, image: torch.Tensor, i: int) -> np.ndarray:
    shape = (3, images.resolution, images.resolution)
    if not isinstance(image, torch.Tensor) or image.dtype != torch.uint8 or tuple(image.shape) != shape:
        given = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, torch.Tensor) else type(image).__name__
        raise ConfigError(
            f"image {i} of the dataset {images.name!r} is {given}, the study's images are torch.uint8 {shape}",
            hint="take a dataset of the study's resolution: nothing is resized here, since that changes FID",
        )
    return image.permute(1, 2, 0).numpy()

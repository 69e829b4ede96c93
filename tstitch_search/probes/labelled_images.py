"""Real images with a class label each, to train on. No torch."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tstitch_search.errors import ConfigError
from tstitch_search.files import cache_folder
from tstitch_search.real_images import ImageFiles, list_images
from tstitch_search.zoo.data import RESOLUTION, load_fashion_mnist

FASHION = "zoo:fashion"


class Images(Protocol):
    """Images of one size, in a fixed order: those of `real_images.py`, and arrays."""

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """uint8 (n, h, w, 3) of up to `size` images each."""
        ...

    def sha256(self) -> str:
        """One hash of all of them."""
        ...


@dataclass(frozen=True)
class ImageArray:
    """Grey images (n, h, w) uint8 in memory."""

    values: np.ndarray

    def batches(self, size: int) -> Iterator[np.ndarray]:
        for i in range(0, len(self.values), size):
            yield np.repeat(self.values[i : i + size, :, :, None], 3, axis=3)

    def sha256(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.values).tobytes()).hexdigest()


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels (n,) int64."""

    images: Images
    labels: np.ndarray

    def sha256(self) -> str:
        """One hash of images and labels."""
        return hashlib.sha256(self.images.sha256().encode() + self.labels.tobytes()).hexdigest()


def open_labelled(text: str, resolution: int, n_classes: int) -> LabelledImages:
    """The images that `text` means: a folder with a folder of images for each class, or `zoo:fashion`.

    Class folders are named by their number: 000/, 001/ or 0/, 1/. Raises ConfigError for images without labels, labels
    that the model does not know, no images, or a dataset of another size; files are opened later.
    """
    if text == FASHION:
        return _fashion(resolution, n_classes)
    folder = Path(text)
    if not folder.is_dir():
        raise ConfigError(
            f"--data: {text!r} is no folder", hint=f"a folder of class folders 000/, 001/, ..., or {FASHION}"
        )
    names = list_images(folder)
    labels = np.array([_label_of(name, folder, n_classes) for name in names], dtype=np.int64)
    return LabelledImages(ImageFiles(folder, names, resolution), labels)


def _label_of(name: str, folder: Path, n_classes: int) -> int:
    """The number of the folder directly under `folder` that the image lies in."""
    place, _, rest = name.partition("/")
    if not (rest and place.isascii() and place.isdigit()):
        raise ConfigError(
            f"{folder / name} has no label: expected it in a folder named by its class, as 000/ or 017/",
            hint=f"one folder of images for each class, 0 to {n_classes - 1}",
        )
    if int(place) >= n_classes:
        raise ConfigError(f"{folder / name} is of class {int(place)}, expected 0 to {n_classes - 1}")
    return int(place)


def _fashion(resolution: int, n_classes: int) -> LabelledImages:
    values, labels = load_fashion_mnist("train", cache_folder("datasets"))
    if resolution != RESOLUTION or n_classes <= int(labels.max()):
        raise ConfigError(
            f"--data: {FASHION} has 10 classes of {RESOLUTION} x {RESOLUTION} pixels, "
            f"the members have {n_classes} classes and make {resolution} x {resolution}",
            hint="give a folder of the images that the members were trained on",
        )
    return LabelledImages(ImageArray(values), labels)

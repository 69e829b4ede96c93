"""What a quality metric is: the contract that every file of this package fulfils."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tstitch_search.errors import ConfigError
from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.reference import Reference

BLOCK = 512

Kind = Literal["image", "pair", "set"]


@dataclass(frozen=True)
class Metric:
    """A number that says how good a set of images is.

    `kind`: a mean of values per image, a mean of values per pair of an image with the anchor's of the same seed, or one
    value of the whole set. The kind decides how its error is found (`quality/estimate.py`).

    `array` is the stored array it is computed from: "features" (n, d), "logits" (n, classes), or of values (n,) that
    workers compute where the images are, by the metric's own name. `relative` metrics are compared as a ratio, the
    others, which can be zero or negative, as a difference. `needs` is what it takes from the reference: mu and sigma
    ("statistics"), features of real images, or nothing.

    `bind(reference)` does once what depends on the reference only, and gives the statistic `array -> float`. `bind`
    raises ConfigError when the reference lacks what is needed, the statistic when there are too few images.

    `margin`: the loss, in the metric's own unit, below which an allocation is called lossless; None: the study's share
    of the anchor's value, which says nothing where the anchor's value is 0 by construction.
    """

    name: str
    label: str
    array: str
    higher_is_better: bool
    relative: bool
    needs: Literal["nothing", "statistics", "features"]
    bind: Callable[[Reference | None], Statistic]
    kind: Kind = "set"
    margin: float | None = None

    @property
    def sign(self) -> int:
        """What a difference of values is multiplied with to be a loss."""
        return -1 if self.higher_is_better else 1


def mean_metric(
    name: str, label: str, kind: Literal["image", "pair"], higher_is_better: bool, margin: float | None = None
) -> Metric:
    """The mean over images of values that workers compute, stored under the metric's name."""

    def bind(_: Reference | None) -> Statistic:
        def mean(values: np.ndarray) -> float:
            check_n_images(label, values, at_least=1)
            return float(values.mean(dtype=np.float64))

        return mean

    return Metric(name, label, name, higher_is_better, False, "nothing", bind, kind, margin)


def reference_for(label: str, reference: Reference | None) -> Reference:
    """The reference, if there is one. Raises ConfigError otherwise."""
    if reference is None:
        raise ConfigError(f"{label} needs a reference, got none", hint="set quality.reference")
    return reference


def real_features(label: str, reference: Reference | None, at_least: int) -> np.ndarray:
    """Features (m, d) of the reference's real images. Raises ConfigError when there are none, or less than needed."""
    features = reference_for(label, reference).features
    if features is None:
        raise ConfigError(
            f"{label} needs features of real images, but the reference holds mu and sigma only",
            hint="give quality.reference as a folder of images, or an .npz file with images or features",
        )
    check_n_images(f"{label}, of the reference,", features, at_least)
    return features


def check_n_images(label: str, array: np.ndarray, at_least: int) -> None:
    """Nothing, when `array` is of enough images. Raises ConfigError otherwise."""
    if len(array) < at_least:
        raise ConfigError(f"{label} needs at least {at_least} images, got {len(array)}", hint="ask for more images")


def blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of `features` (n, d) in float64, at most `BLOCK` at a time."""
    for first in range(0, len(features), BLOCK):
        yield features[first : first + BLOCK].astype(np.float64)

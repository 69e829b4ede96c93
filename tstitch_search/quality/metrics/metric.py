"""What a metric is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tstitch_search.quality.jackknife import Statistic as Statistic
from tstitch_search.quality.reference import Reference


@dataclass(frozen=True)
class Metric:
    """A measure of image quality, computed from one stored array of the images and, some of them, from real images.

    `array`: the stored array, "features", "logits" or "clip_score". `relative`: two values compare as a ratio (FID)
    rather than as a difference (KID, which may be negative). `needs`: what is taken from the reference. `bind` gives
    the statistic for one reference.
    """

    name: str
    label: str
    array: str
    higher_is_better: bool
    relative: bool
    needs: Literal["nothing", "statistics", "features"]
    bind: Callable[[Reference | None], Statistic]

"""The quality metrics, all of one shape: a `Metric` that binds to a reference and measures arrays.

Of three kinds: per image (`clip_score.py`, `preferences.py`), per pair with the anchor's image (`pairs.py`), per set
(the other files).
"""

from collections.abc import Iterable

from tstitch_search.errors import ConfigError
from tstitch_search.quality.metrics.clip_score import CLIP_SCORE
from tstitch_search.quality.metrics.cmmd import CMMD
from tstitch_search.quality.metrics.fd_dinov2 import FD_DINOV2
from tstitch_search.quality.metrics.fid import FID
from tstitch_search.quality.metrics.inception_score import INCEPTION_SCORE
from tstitch_search.quality.metrics.kid import KID
from tstitch_search.quality.metrics.metric import Kind, Metric
from tstitch_search.quality.metrics.own import own_metric
from tstitch_search.quality.metrics.pairs import (
    CLIP_DISTANCE,
    DINO_DISTANCE,
    LPIPS,
    PERCEPTUAL,
    PSNR,
    SSIM,
    TEMPORAL,
)
from tstitch_search.quality.metrics.precision_recall import PRECISION, RECALL
from tstitch_search.quality.metrics.preferences import HPS_V2, PICK_SCORE

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        *(FID, KID, CMMD, FD_DINOV2, INCEPTION_SCORE, PRECISION, RECALL),
        *(CLIP_SCORE, PICK_SCORE, HPS_V2),
        *(PSNR, SSIM, PERCEPTUAL, LPIPS, DINO_DISTANCE, CLIP_DISTANCE, TEMPORAL),
    )
}

__all__ = ["METRICS", "Metric", "arrays_for", "metric_named", "needs_real_features", "of_kind"]


def metric_named(name: str) -> Metric:
    """The metric called `name`, or `module:Class` of one's own. Raises ConfigError listing them all otherwise."""
    if ":" in name:
        return own_metric(name)
    if name not in METRICS:
        raise ConfigError(f"unknown metric {name!r}, expected one of {', '.join(METRICS)}, or module:Class")
    return METRICS[name]


def of_kind(names: Iterable[str], *kinds: Kind) -> tuple[str, ...]:
    """Those of the metrics that are of one of these kinds."""
    return tuple(name for name in names if metric_named(name).kind in kinds)


def arrays_for(names: Iterable[str]) -> tuple[str, ...]:
    """The stored arrays that these metrics are computed from; features are always kept, for metrics to come."""
    return tuple(dict.fromkeys(["features", *(metric_named(name).array for name in names)]))


def needs_real_features(names: Iterable[str]) -> bool:
    """Whether one of these metrics compares with real images' own features, not only with their statistics."""
    return any(metric_named(name).needs == "features" for name in names)

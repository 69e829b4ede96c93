"""The metrics of image quality, one file each, all of one shape. numpy only: the driver computes them too."""

from collections.abc import Iterable

from tstitch_search.errors import ConfigError
from tstitch_search.quality.metrics.fid import FID
from tstitch_search.quality.metrics.metric import Metric

METRICS: dict[str, Metric] = {metric.name: metric for metric in (FID,)}


def metric_named(name: str) -> Metric:
    """The metric called `name`. Raises ConfigError listing those there are."""
    if name not in METRICS:
        raise ConfigError(f"unknown metric {name!r}, expected one of {', '.join(METRICS)}")
    return METRICS[name]


def arrays_for(names: Iterable[str]) -> tuple[str, ...]:
    """The stored arrays that these metrics are computed from; features are always kept, for metrics to come."""
    return tuple(dict.fromkeys(["features", *(metric_named(name).array for name in names)]))

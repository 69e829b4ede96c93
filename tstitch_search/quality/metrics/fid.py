"""FID, the Fréchet inception distance (Heusel et al., arXiv 1706.08500): how far the features' Gaussians lie apart."""

from tstitch_search.errors import ConfigError
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.metrics.metric import Metric, Statistic
from tstitch_search.quality.reference import Reference


def _bind(reference: Reference | None) -> Statistic:
    if reference is None:
        raise ConfigError("FID needs real images to compare with", hint="set quality.reference")
    return FrechetDistance(reference)


FID = Metric("fid", "FID", "features", higher_is_better=False, relative=True, needs="statistics", bind=_bind)

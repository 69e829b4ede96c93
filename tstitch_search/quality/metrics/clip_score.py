"""CLIP score: how well each image fits its prompt, on average.

Hessel et al., arXiv 2104.08718, section 3, with the weight 100 that image generation papers use: the stored array holds
100 max(cos, 0) of each image, made by `measure/clip_score.py`.
"""

import numpy as np

from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics.metric import Metric, check_n_images
from tstitch_search.quality.reference import Reference


def bind(_: Reference | None) -> Statistic:
    """The mean of per-image scores (n,), n >= 1; between 0 and 100."""

    def clip_score(scores: np.ndarray) -> float:
        check_n_images("the CLIP score", scores, at_least=1)
        return float(scores.mean(dtype=np.float64))

    return clip_score


CLIP_SCORE = Metric(
    "clip_score", "CLIP score", "clip_score", higher_is_better=True, relative=False, needs="nothing", bind=bind
)

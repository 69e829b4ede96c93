"""Inception score: how sure a classifier is of each image, and how varied its answers are over all.

Salimans et al., arXiv 1606.03498, section 4: exp E_x KL(p(y|x) || p(y)). One split: ten splits of a few thousand
images measure mostly how few they are.
"""

import numpy as np

from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics.metric import Metric, check_n_images
from tstitch_search.quality.reference import Reference


def bind(_: Reference | None) -> Statistic:
    """Inception score of logits (n, classes), n >= 2, in float64; between 1 and the number of classes."""

    def inception_score(logits: np.ndarray) -> float:
        check_n_images("the Inception score", logits, at_least=2)
        log_p = _log_softmax(logits.astype(np.float64))
        p = np.exp(log_p)
        log_marginal = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))  # 0 log 0 = 0
        return float(np.exp((p * (log_p - log_marginal)).sum(axis=1).mean()))

    return inception_score


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


INCEPTION_SCORE = Metric(
    "inception_score", "IS", "logits", higher_is_better=True, relative=True, needs="nothing", bind=bind
)

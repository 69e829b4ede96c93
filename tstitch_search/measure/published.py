"""Published values: torch-fidelity's own functions on stored arrays, so that its name stands behind the number.

Its `calculate_metrics` is not used: it samples images itself and keeps a cache that knows them by name only.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from tstitch_search.quality.frechet import BLOCK
from tstitch_search.quality.metrics import metric_named
from tstitch_search.quality.metrics.metric import check_n_images, real_features, reference_for
from tstitch_search.quality.metrics.precision_recall import N_NEIGHBOURS
from tstitch_search.quality.moments import moments_of
from tstitch_search.quality.reference import Reference

# torch-fidelity's defaults: KID is the mean over random subsets, here no larger than the smaller set.
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
RNG_SEED = 2020
PRC_BATCH_SIZE = 1000


def publish(metric_name: str, array: np.ndarray, reference: Reference | None) -> float:
    """torch-fidelity's value of the metric of `array` (n, ...) against `reference`, computed in float64.

    What it has not is our own: means over images, metrics of the user's. Raises ConfigError for an unknown metric, too
    few images, or a reference that lacks what the metric needs.
    """
    metric = metric_named(metric_name)
    if metric.name in _PUBLISHED:
        return _PUBLISHED[metric.name](array, reference)
    return metric.bind(reference)(array)


def published_fid(mu: np.ndarray, sigma: np.ndarray, reference: Reference) -> float:
    """torch-fidelity's FID of features with mean (d,) and covariance (d, d) to the reference, in float64."""
    ours = {"mu": np.asarray(mu, dtype=np.float64), "sigma": np.asarray(sigma, dtype=np.float64)}
    real = {"mu": reference.mu, "sigma": reference.sigma}
    return float(fid_statistics_to_metric(ours, real, verbose=False)[KEY_METRIC_FID])


def _fid(features: np.ndarray, reference: Reference | None) -> float:
    real = reference_for("FID", reference)
    check_n_images("FID", features, at_least=2)
    moments = moments_of(features[i : i + BLOCK] for i in range(0, len(features), BLOCK))
    return published_fid(moments.mean, moments.covariance, real)


def _kid(features: np.ndarray, reference: Reference | None) -> float:
    real = real_features("KID", reference, at_least=2)
    check_n_images("KID", features, at_least=2)
    found = kid_features_to_metric(
        _double(features),
        _double(real),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=min(KID_SUBSET_SIZE, len(features), len(real)),
        rng_seed=RNG_SEED,
        verbose=False,
    )
    return float(found[KEY_METRIC_KID_MEAN])


def _inception_score(logits: np.ndarray, _: Reference | None) -> float:
    check_n_images("the Inception score", logits, at_least=2)
    return float(isc_features_to_metric(_double(logits), splits=1, rng_seed=RNG_SEED)[KEY_METRIC_ISC_MEAN])


def _precision(features: np.ndarray, reference: Reference | None) -> float:
    return _precision_recall("precision", features, reference)[KEY_METRIC_PRECISION]


def _recall(features: np.ndarray, reference: Reference | None) -> float:
    return _precision_recall("recall", features, reference)[KEY_METRIC_RECALL]


def _precision_recall(label: str, features: np.ndarray, reference: Reference | None) -> dict[str, float]:
    real = real_features(label, reference, at_least=N_NEIGHBOURS + 1)
    check_n_images(label, features, at_least=N_NEIGHBOURS + 1)
    found: dict[str, float] = prc_features_to_metric(
        _double(features),
        _double(real),
        prc_neighborhood=N_NEIGHBOURS,
        prc_batch_size=PRC_BATCH_SIZE,
        save_cpu_ram=True,
        verbose=False,
    )
    return found


def _double(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float64))


_PUBLISHED: dict[str, Callable[[np.ndarray, Reference | None], float]] = {
    "fid": _fid,
    "kid": _kid,
    "inception_score": _inception_score,
    "precision": _precision,
    "recall": _recall,
}

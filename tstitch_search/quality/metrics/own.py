"""A metric of the user's own: `module:Class`, with what it says of itself as class attributes.

    class Darkness:                      # module `looks`, named in a study as looks:Darkness
        kind = "pair"                    # "image", "pair" or "set"
        label = "darkness"
        higher_is_better = False
        margin = 0.02                    # of a pair: the loss that counts as none

        def __init__(self, device): ...
        def __call__(self, images, anchors): ...  # "pair"; of "image": (images, prompts)

Per image and per pair the instance lives in the worker: uint8 images (n, 3, h, w) on `device` come in, n values go out.
A "set" needs no instance: `bind(reference)`, a static method, gives the statistic of features (n, d), as in `fid.py`.
The driver imports the module too, so let it import torch in `__init__`, not at its top.
"""

import importlib
from functools import lru_cache
from typing import Any

import numpy as np

from tstitch_search.errors import ConfigError
from tstitch_search.quality.jackknife import KnowsItsError, Statistic
from tstitch_search.quality.metrics.metric import Metric, mean_metric


def imported(what: str, name: str) -> Any:
    """What `module:Class` names. Raises ConfigError, which calls it `what`, when it cannot be imported."""
    module, _, class_name = name.partition(":")
    try:
        return getattr(importlib.import_module(module), class_name)
    except Exception as error:  # the user's module can raise anything
        raise ConfigError(
            f"the {what} {name!r} cannot be imported: {type(error).__name__}: {error}",
            hint="install its module where the workers run, or put its folder on PYTHONPATH",
        ) from error


@lru_cache
def own_class(name: str) -> Any:
    """The class `module:Class`. Raises ConfigError when it cannot be imported or lacks an attribute."""
    found = imported("metric", name)
    kind = getattr(found, "kind", None)
    needed = ("label", "higher_is_better", *(["bind"] if kind == "set" else []))
    missing = [attribute for attribute in needed if not hasattr(found, attribute)]
    if kind not in ("image", "pair", "set") or missing:
        problem = f"has no {missing[0]}" if missing else f"is of kind {kind!r}, expected image, pair or set"
        raise ConfigError(f"the metric {name!r} {problem}", hint="see tstitch_search/quality/metrics/own.py")
    return found


def own_metric(name: str) -> Metric:
    """The metric that `module:Class` describes. Raises ConfigError."""
    found = own_class(name)
    if found.kind == "set":
        return Metric(
            name,
            found.label,
            "features",
            found.higher_is_better,
            relative=False,
            needs="features",
            bind=lambda reference: _one_number(found.label, found.bind(reference)),
        )
    return mean_metric(name, found.label, found.kind, found.higher_is_better, getattr(found, "margin", None))


def _one_number(label: str, statistic: Statistic) -> Statistic:
    """The statistic, which raises ConfigError for an answer that is not one finite number."""
    if isinstance(statistic, KnowsItsError):  # a distance of ours
        return statistic

    def value(features: np.ndarray) -> float:
        found = statistic(features)
        if np.ndim(found) != 0 or not np.isfinite(found):
            given = f"an array of shape {np.shape(found)}" if np.ndim(found) else str(found)
            raise ConfigError(
                f"{label} of {len(features)} images is {given}, expected one finite number",
                hint="SetMetricContract of tstitch_search/measure/scores/contract.py tests a metric of your own",
            )
        return float(found)

    return value

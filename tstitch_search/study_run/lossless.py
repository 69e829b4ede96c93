"""Which entries are shown to lose nothing: the margin, and verdicts that hold together."""

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.joint import shown_together
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.study_run.evaluation import LEVEL, Estimates


def shown_lossless(estimates: Estimates, metric: Metric, study: Study) -> set[Allocation]:
    """Whose loss is shown to be below the margin: the metric's own, or the study's share of the anchor's value.

    All verdicts hold together. Without an error, as of recorded values, nothing is shown.
    """
    level = LEVEL / 2 if study.config.confirm.until_lossless else LEVEL
    held = {a: q for a, q in estimates.items() if q.difference_se > 0}
    return shown_together({a: q.p_of_loss(margin_in(q, metric, study)) for a, q in held.items()}, level)


def margin_in(quality: QualityEstimate, metric: Metric, study: Study) -> float:
    """The loss that counts as none, in the metric's own unit."""
    own = margin_of(metric, study)
    return quality.in_units(study.config.confirm.lossless_margin) if own is None else own


def margin_of(metric: Metric, study: Study) -> float | None:
    """The margin in the metric's own unit; None where it is a share of the anchor's value."""
    own = study.config.confirm.margin
    return metric.margin if metric.kind != "pair" or own is None else own

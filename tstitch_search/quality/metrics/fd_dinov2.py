"""FD-DINOv2: FID with the features of DINOv2, which goes with what people see. Stein et al., arXiv 2306.04675."""

from functools import partial

from tstitch_search.quality.metrics.fid import bind
from tstitch_search.quality.metrics.metric import Metric

FD_DINOV2 = Metric(
    "fd_dinov2",
    "FD-DINOv2",
    "features",
    higher_is_better=False,
    relative=True,
    needs="statistics",
    bind=partial(bind, label="FD-DINOv2"),
)

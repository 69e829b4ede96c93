"""How many images a study needs, from how much the first ones differ: for an error, and for a verdict at the margin."""

from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from statistics import median

from tstitch_search.allocation import Allocation
from tstitch_search.errors import TStitchError
from tstitch_search.quality.estimate import QualityEstimate, estimate
from tstitch_search.quality.jackknife import N_GROUPS
from tstitch_search.quality.sequential import images_needed
from tstitch_search.study_run.evaluation import LEVEL, Evaluator
from tstitch_search.study_run.lossless import margin_in
from tstitch_search.tasks.stored import StoredRun

# A verdict is asked of an allocation that loses so much of the margin.
LOSS = 0.5


@dataclass(frozen=True)
class ImagesNeeded:
    """What the images of a run folder say about numbers of images: medians over its `n_allocations`.

    `spread`: the standard error of the paired difference to the anchor times the root of the number of images.
    `margin`: the loss that counts as none, in the unit of the objective; None where there is none. `for_verdict`: so
    many images show, nine times in ten, that a loss of half the margin is below it, in a table of the study's size.
    """

    label: str
    n_seen: int
    n_allocations: int
    spread: float
    margin: float | None
    for_verdict: int | None

    def for_error(self, se: float) -> int:
        """So many images bring the standard error of a difference down to `se`."""
        return ceil((self.spread / se) ** 2)

    def __str__(self) -> str:
        seen = f"from the spread of {self.n_allocations} allocations, {self.n_seen} images each"
        if self.for_verdict is None or self.margin is None:
            return f"not known without a margin; a difference has an error of {self.spread:.3g} / \u221an ({seen})"
        return f"about {self.for_verdict:,} show a loss of half the margin, {self.margin:.3g}, to be below it ({seen})"


def images_of(folder: Path) -> ImagesNeeded | None:
    """What the run folder's images say; None where it has too few of the anchor and of another allocation."""
    try:
        run = StoredRun.open(folder)
        evaluator = Evaluator.of_study(run.study, run.reference())
        found = [q for a in run.chunks if a != run.space.anchor and (q := _difference(run, evaluator, a))]
    except TStitchError:  # of a folder that `run` would repair: its images say nothing yet
        return None
    if not found:
        return None
    spread = median(q.difference_se * sqrt(q.n_images) for q in found)
    margins = [m for q in found if (m := margin_in(q, evaluator.objective, run.study)) > 0]
    margin, level = median(margins) if margins else None, LEVEL / run.study.config.confirm.max_entries
    return ImagesNeeded(
        label=evaluator.objective.label,
        n_seen=round(median(q.n_images for q in found)),
        n_allocations=len(found),
        spread=spread,
        margin=margin,
        for_verdict=None
        if margin is None
        else max(ceil(images_needed(LOSS * margin, spread, 1, margin, level)), N_GROUPS),
    )


def _difference(run: StoredRun, evaluator: Evaluator, allocation: Allocation) -> QualityEstimate | None:
    """The allocation against the anchor on the images that both have, confirmed ones first; None of too few."""
    anchor, metric = run.space.anchor, evaluator.objective
    for set_name in ("confirm", "search"):
        chunks = run.common([allocation, anchor], set_name) if anchor in run.chunks else []
        if sum(chunk.n_images for chunk in chunks) >= N_GROUPS:
            own, other = (evaluator.measured(run, a, chunks) for a in (allocation, anchor))
            found = estimate(own, other, metric)
            return found if found.difference_se > 0 else None
    return None

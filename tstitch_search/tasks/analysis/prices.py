"""What an analysis will take, before it takes it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.study_run.key import StudyFacts
from tstitch_search.study_run.times.calibrations import given_calibration, recall
from tstitch_search.study_run.times.prices import seconds_of
from tstitch_search.tasks.analysis.variants import Variant
from tstitch_search.tasks.plan import rough_calibration


@dataclass(frozen=True)
class AnalysisPrice:
    """Images and device seconds of each run that is needed, and how the seconds are known."""

    n_images: dict[str, int]
    stages_s: dict[str, float]
    latency: LatencyModel
    basis: str

    def __str__(self) -> str:
        n_images, seconds = sum(self.n_images.values()), sum(self.stages_s.values())
        runs = f"{len(self.n_images)} run{'s' if len(self.n_images) != 1 else ''}"
        return (
            f"at most {n_images:,} images in {runs}, about {seconds:.3g} device seconds "
            f"({self.basis}); probes and calibration come on top, what is measured already does not"
        )


def price_of(variants: Sequence[Variant], facts: StudyFacts, n_images: int) -> AnalysisPrice:
    """The price of measuring `n_images` of every allocation of the variants; guidance asks a denoiser twice.

    `facts` are those of the first variant, by whose step times all are priced.
    """
    study = variants[0].study
    known = given_calibration(study, facts.key) or recall(study, facts.key)
    latency = LatencyModel(known or rough_calibration(study, facts))
    basis = f"measured before on {known.device}" if known else "rough: from the number of parameters"

    def seconds(variant: Variant, allocation: Allocation) -> float:
        calls = (1 + variant.is_guided) / (1 + variants[0].is_guided)
        return calls * seconds_of(latency, allocation, n_images)

    stages = {v.name: sum(seconds(v, a) for a in v.allocations) for v in variants}
    return AnalysisPrice({v.name: len(v.allocations) * n_images for v in variants}, stages, latency, basis)

"""The networks that a study's metrics look with: that they can be had is found out before anything costs."""

from typing import NamedTuple

from tstitch_search.config import Study
from tstitch_search.config.models import QualityConfig
from tstitch_search.config.models.quality import OF_TRANSFORMERS
from tstitch_search.members.of_transformers import MODEL, PROCESSOR, locate_pretrained


class Need(NamedTuple):
    """What the metrics look with: one of `places`, folders or hub ids, must have one of `files`."""

    metrics: tuple[str, ...]
    what: str
    places: tuple[str, ...]
    files: tuple[str, ...]


def require_networks(study: Study) -> None:
    """Nothing, when every network of transformers that the study looks with is there, or can be had from the hub.

    Raises EnvironmentProblem: which is missing, how to get it, what works without.
    """
    quality, near = study.config.quality, study.study_path.parent
    if study.config.measure.recorded is not None:
        return
    for need in _needs(quality):
        if set(need.metrics) & set(quality.all_metrics):
            *others, last = need.places
            if not any((near / place / file).is_file() for place in others for file in need.files):
                locate_pretrained(need.what, last, near, need.files)


def _needs(quality: QualityConfig) -> list[Need]:
    clip, pick, processor = (quality.clip_model,), quality.pick_score_model, quality.preference_processor
    needs = [
        Need(("clip_score", "clip_distance"), "CLIP model", clip, MODEL),
        Need(("clip_score",), "processor of the CLIP model", clip, PROCESSOR),
        Need(("dino_distance",), "DINO model", (quality.dino_model,), MODEL),
        Need(("pick_score",), "CLIP model", (pick,), MODEL),
        Need(("pick_score",), "processor of the CLIP model", (pick, processor), PROCESSOR),
        Need(("hps_v2",), "processor of HPS v2", (processor,), PROCESSOR),
    ]
    if published := OF_TRANSFORMERS.get(quality.extractor):
        weights = (quality.extractor_weights or published,)
        needs.append(Need(quality.all_metrics, f"feature extractor {quality.extractor}", weights, MODEL))
    return needs

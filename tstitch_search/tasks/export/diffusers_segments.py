"""JSON: segments with timesteps and sigmas. Readers: scripts around diffusers, and samplers with a start and an end
step for each model.
"""

import json
from typing import Any

from tstitch_search.config import Study
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.lookup import LookupEntry
from tstitch_search.tasks.export.source import Source, ranges


def as_json(source: Source) -> str:
    """The denoisers, and a list of segments for each entry."""
    table, study = source.table, source.study
    said = {
        "study": table.study,
        "pipeline": study.space.pipeline,
        "pipeline_revision": study.space.pipeline_revision,
        "solver": table.provenance.get("solver"),
        "guidance_scale": study.config.guidance_scale,
        "denoisers": [_denoiser(d) for d in study.space.denoisers],
        "entries": [
            {
                "allocation": str(entry.allocation),
                "latency_s": entry.latency_s,
                "num_inference_steps": entry.allocation.n_steps,
                **_profile(study, entry),
                "segments": _segments(source, entry),
            }
            for entry in source.entries
        ],
    }
    return json.dumps(said, indent=2) + "\n"


def _denoiser(denoiser: DenoiserConfig) -> dict[str, Any]:
    """Where its weights are; their layout, its LoRAs and the guidance of its own where it has them."""
    said: dict[str, Any] = denoiser.model_dump(include={"name", "weights", "subfolder", "revision"})
    of_its_own = {"lora", "guidance_scale", "variant", "format", "file", "config"}
    own = denoiser.model_dump(include=of_its_own, exclude_defaults=True)
    return {**said, **own}


def _profile(study: Study, entry: LookupEntry) -> dict[str, Any]:
    """The scheduler of the entry's sampling profile: class and settings in place of the pipeline's."""
    if not (name := entry.allocation.profile):
        return {}
    profile = study.space.profiles[name]
    return {"profile": name, "solver": profile.solver, "scheduler": dict(profile.scheduler)}


def _segments(source: Source, entry: LookupEntry) -> list[dict[str, Any]]:
    steps = source.steps(entry)
    return [
        {
            "denoiser": name,
            "start_at_step": first,
            "end_at_step": last,
            "timesteps": [step.timestep for step in steps[first:last]],
            "sigmas": [step.sigma for step in steps[first:last]],
        }
        for name, first, last in ranges(entry.allocation)
    ]

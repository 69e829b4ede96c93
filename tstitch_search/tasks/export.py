"""A lookup table's step splits in the terms of other samplers: steps, timesteps and sigmas."""

import csv
import io
import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.tasks.from_table import study_from_table

Steps: TypeAlias = list[dict[str, float | None]]
COLUMNS = ("allocation", "step", "denoiser", "timestep", "sigma")


def export(
    path: Path, form: Literal["csv", "diffusers"], study: Path | None = None, settings: Sequence[str] = ()
) -> str:
    """The entries of the table at `path`: as CSV a row for each step, as JSON a list of segments for each entry.

    With `settings` the steps are those of the study's solver with them. Raises ConfigError or EnvironmentProblem when
    the solver is needed and cannot be had here.
    """
    table = LookupTable.read(path)
    recorded = not settings and all(entry.timesteps for entry in table.entries)
    if form == "csv" and recorded:
        return _as_csv(table, [_recorded_steps(entry) for entry in table.entries])
    found = study_from_table(path, table, study, settings)
    steps = [_recorded_steps(e) if recorded else _steps(found, e.allocation.n_steps) for e in table.entries]
    return _as_csv(table, steps) if form == "csv" else json.dumps(_for_diffusers(table, found, steps), indent=2) + "\n"


def _as_csv(table: LookupTable, steps_by_entry: Sequence[Steps]) -> str:
    """Readers: spreadsheets, and samplers that are told which denoiser takes which step."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry, steps in zip(table.entries, steps_by_entry, strict=True):
        for i, (name, step) in enumerate(zip(entry.allocation.by_step, steps, strict=True)):
            rows.writerow((str(entry.allocation), i, name, step["timestep"], step["sigma"]))
    return written.getvalue()


def _for_diffusers(table: LookupTable, study: Study, steps_by_entry: Sequence[Steps]) -> dict[str, Any]:
    """Readers: scripts around diffusers, and samplers with a start and an end step for each model."""
    return {
        "study": table.study,
        "pipeline": study.space.pipeline,
        "pipeline_revision": study.space.pipeline_revision,
        "solver": table.provenance.get("solver"),
        "guidance_scale": study.config.guidance_scale,
        "denoisers": [_denoiser(d) for d in study.space.denoisers],
        "entries": [_entry(entry, steps) for entry, steps in zip(table.entries, steps_by_entry, strict=True)],
    }


def _denoiser(denoiser: DenoiserConfig) -> dict[str, Any]:
    """Where its weights are; its LoRAs and the guidance of its own where it has them."""
    said: dict[str, Any] = denoiser.model_dump(include={"name", "weights", "subfolder", "revision"})
    own = denoiser.model_dump(include={"lora", "guidance_scale"}, exclude_defaults=True)
    return {**said, **own}


def _entry(entry: LookupEntry, steps: Steps) -> dict[str, Any]:
    return {
        "allocation": str(entry.allocation),
        "latency_s": entry.latency_s,
        "num_inference_steps": entry.allocation.n_steps,
        "segments": [
            {
                "denoiser": name,
                "start_at_step": first,
                "end_at_step": last,
                "timesteps": [step["timestep"] for step in steps[first:last]],
                "sigmas": [step["sigma"] for step in steps[first:last]],
            }
            for name, first, last in _ranges(entry.allocation)
        ],
    }


def _ranges(allocation: Allocation) -> list[tuple[str, int, int]]:
    """Denoiser, first step and the one after its last, of every segment."""
    lasts = accumulate(segment.n_steps for segment in allocation.segments)
    return [(s.denoiser, last - s.n_steps, last) for s, last in zip(allocation.segments, lasts, strict=True)]


def _recorded_steps(entry: LookupEntry) -> Steps:
    sigmas = entry.sigmas or (None,) * len(entry.timesteps)
    return [{"timestep": t, "sigma": sigma} for t, sigma in zip(entry.timesteps, sigmas, strict=True)]


def _steps(study: Study, n_steps: int) -> Steps:
    from tstitch_search.sampling.timetable import timetable  # torch, which reading a table does without

    steps = timetable(study.space, study.space_path.parent, n_steps)
    return [{"timestep": step.timestep, "sigma": step.sigma} for step in steps]

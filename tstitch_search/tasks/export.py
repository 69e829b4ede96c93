"""A lookup table's step splits in the terms of other samplers: steps, timesteps and sigmas."""

import csv
import io
import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.tasks.from_table import study_from_table

COLUMNS = ("allocation", "step", "denoiser", "timestep", "sigma")


def export(
    path: Path, form: Literal["csv", "diffusers"], study: Path | None = None, settings: Sequence[str] = ()
) -> str:
    """The entries of the table at `path`: as CSV a row for each step, as JSON a list of segments for each entry.

    Raises ConfigError or EnvironmentProblem when the study's solver cannot be had here.
    """
    table = LookupTable.read(path)
    found = study_from_table(path, table, study, settings)
    return _as_csv(table, found) if form == "csv" else json.dumps(_for_diffusers(table, found), indent=2) + "\n"


def _as_csv(table: LookupTable, study: Study) -> str:
    """Readers: spreadsheets, and samplers that are told who takes which step."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry in table.entries:
        steps = _steps(study, entry.allocation.n_steps)
        for i, (name, step) in enumerate(zip(entry.allocation.by_step, steps, strict=True)):
            rows.writerow((str(entry.allocation), i, name, step["timestep"], step["sigma"]))
    return written.getvalue()


def _for_diffusers(table: LookupTable, study: Study) -> dict[str, Any]:
    """Readers: scripts around diffusers, and samplers with a start and an end step for each model."""
    return {
        "study": table.study,
        "pipeline": study.space.pipeline,
        "pipeline_revision": study.space.pipeline_revision,
        "solver": table.provenance.get("solver"),
        "guidance_scale": study.config.guidance_scale,
        "denoisers": [_denoiser(d) for d in study.space.denoisers],
        "entries": [_entry(entry, _steps(study, entry.allocation.n_steps)) for entry in table.entries],
    }


def _denoiser(denoiser: DenoiserConfig) -> dict[str, Any]:
    """Where its weights are; its LoRAs and the guidance of its own where it has them."""
    said: dict[str, Any] = denoiser.model_dump(include={"name", "weights", "subfolder", "revision"})
    own = denoiser.model_dump(include={"lora", "guidance_scale"}, exclude_defaults=True)
    return {**said, **own}


def _entry(entry: LookupEntry, steps: list[dict[str, float | None]]) -> dict[str, Any]:
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


def _steps(study: Study, n_steps: int) -> list[dict[str, float | None]]:
    from tstitch_search.sampling.timetable import timetable  # torch, which reading a table does without

    steps = timetable(study.space, study.space_path.parent, n_steps)
    return [{"timestep": step.timestep, "sigma": step.sigma} for step in steps]

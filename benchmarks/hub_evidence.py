"""What is owed about published weights: that one member alone is the stock pipeline to the bit, and a small front."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_evidence.machine import facts
from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.files import write_whole
from tstitch_search.measurement import Chunk
from tstitch_search.members.device import resolve_device
from tstitch_search.progress import Silent
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.study_run import run_study
from tstitch_search.study_run.preparation.pool import open_pool

# A study that a large model gets through in half an hour: few images, few allocations.
SMALL = (
    "quality.n_images=20",
    "confirm.n_images=20",
    "confirm.max_entries=3",
    "search.device_seconds=600",
    "latency.n_repeats=3",
    "proxy_set.chunk_size=4",
)


def measure(path: Path, output: Path, overrides: list[str]) -> int:
    """Both parts of the study at `path`, each in `output` as soon as it is known; the number of those that failed."""
    study = load_study(path, [*SMALL, *overrides])
    document: dict[str, Any] = {
        "study": study.config.name,
        "pipeline": study.space.pipeline,
        "overrides": list(study.overrides),
        "machine": facts(),
        "parts": {},
    }
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "equality": lambda: equality(study),
        "front": lambda: front(study, output.with_suffix("")),
    }
    for name, part in parts.items():
        started = time.perf_counter()
        try:
            found = {"state": "done", **part()}
        except Exception as error:  # whatever a model of the hub raises belongs into the evidence
            found = {"state": "failed", "error": f"{type(error).__name__}: {error}"}
        document["parts"][name] = {**found, "seconds": round(time.perf_counter() - started, 1)}
        write_whole(output, (json.dumps(document, indent=2) + "\n").encode())
        print(f"{name}: {found['state']}", flush=True)
    return sum(part["state"] != "done" for part in document["parts"].values())


def equality(study: Study, n_images: int = 2) -> dict[str, Any]:
    """Whether each member alone, stitched, makes the bits that it makes in the stock pipeline."""
    assembly = assemble(study, resolve_device(study.config.workers.device))
    plain = [d.name for d in study.space.denoisers if d.guidance_scale is None and not d.accelerator and not d.lora]
    return {"equal": {name: _is_equal(study, assembly, name, n_images) for name in plain}}


def _is_equal(study: Study, assembly: Assembly, name: str, n_images: int) -> bool:
    n_steps = study.space.n_steps
    assembly.denoiser.set_allocation(Allocation.of([(name, n_steps)]))
    member, pipeline = assembly.denoiser.member(name), assembly.pipeline
    slots = [slot for slot, part in pipeline.components.items() if part is assembly.denoiser]
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    settings = {key: value for key, value in pipeline.config.items() if not isinstance(value, list | tuple)}
    known = {
        key: value for key, value in settings.items() if not key.startswith("_") and key not in pipeline.components
    }
    stock = type(pipeline)(**{**known, **pipeline.components, **dict.fromkeys(slots, member), "scheduler": scheduler})
    stock.set_progress_bar_config(disable=True)
    member.defaults = dict(study.space.call)
    chunk = Chunk("search", 0, n_images)
    made = []
    for each in (pipeline, stock):
        generators = [torch.Generator().manual_seed(i) for i in range(n_images)]
        conditions = ProxySet.of_study(study).conditions_of(chunk)
        made.append(assembly.family.sample(each, conditions, generators, n_steps, study.config.guidance_scale))
    return bool(torch.equal(*made))


def front(study: Study, folder: Path) -> dict[str, Any]:
    """The small study's front, kept with everything else in `folder`."""
    table = run_study(study, folder, open_pool, Silent()).table
    return {"objective": table.objective.label, "entries": table.to_dicts()}

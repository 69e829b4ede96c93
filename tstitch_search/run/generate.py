"""Try before you search: sample a few images with several allocations and the same seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import SpaceConfig, Study
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk, MakeImages
from tstitch_search.run.images import save_grid
from tstitch_search.run.key import resolve_facts
from tstitch_search.run.progress import Progress
from tstitch_search.run.workbench import run_alone
from tstitch_search.workers.protocol import WorkerPool


def generate_grid(
    study: Study,
    texts: Sequence[str],
    n_images: int,
    path: Path,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
) -> None:
    """Write a picture with one row of `n_images` per allocation to `path`.

    Raises ConfigError for an allocation the space cannot hold.
    """
    allocations = [parse_for(study.space, text) for text in texts]
    resolve_facts(study)
    pool = open_pool(study)
    try:
        progress.note("loading the denoisers")
        pool.start()
        rows = []
        for allocation in allocations:
            progress.stage(f"sampling {allocation}")
            images = run_alone(pool, MakeImages(allocation, Chunk("search", 0, n_images)), progress)
            rows.append((str(allocation), np.asarray(images)))
    finally:
        pool.close()
    save_grid(rows, path)


def parse_for(space: SpaceConfig, text: str) -> Allocation:
    """The allocation in `text`, once its denoisers and number of steps are known to be the space's."""
    allocation = Allocation.parse(text)
    if unknown := [name for name in allocation.steps if name not in space.names]:
        raise ConfigError(f"{text}: unknown denoiser {unknown[0]!r}", hint=f"use one of {', '.join(space.names)}")
    if allocation.n_steps != space.n_steps:
        raise ConfigError(f"{text} has {allocation.n_steps} steps, the search space {space.name} has {space.n_steps}")
    return allocation

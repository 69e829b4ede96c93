"""Try before you search: sample a few images with several allocations and the same seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tstitch_search.config import Study
from tstitch_search.measure.picture_files import save_grid
from tstitch_search.measurement import Chunk, MakeImages
from tstitch_search.progress import Progress
from tstitch_search.search_space import allocation_in
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.workbench import run_alone
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
    allocations = [allocation_in(study.space, text) for text in texts]
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

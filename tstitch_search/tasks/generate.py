"""Try before you search: sample a few images with several allocations and the same seeds."""

from collections.abc import Callable, Sequence

import numpy as np

from tstitch_search.config import Study, allocation_in
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk, MakeImages
from tstitch_search.progress import Progress
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.workbench import run_alone
from tstitch_search.workers.protocol import WorkerPool


def images_of(
    study: Study,
    texts: Sequence[str],
    n_images: int,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
) -> dict[str, np.ndarray]:
    """The first `n_images` search images (n, h, w, 3), uint8, of each allocation, by its text.

    Raises ConfigError for no allocation, or one that the space cannot hold.
    """
    if not texts:
        raise ConfigError("which allocations? none was given", hint="-a 'S*8-XL*12', or a lookup.json to pick from")
    allocations = [allocation_in(study.space, text) for text in texts]
    resolve_facts(study)
    pool = open_pool(study)
    try:
        progress.note("loading the denoisers")
        pool.start()
        made = {}
        for allocation in allocations:
            progress.stage(f"sampling {allocation}")
            images = run_alone(pool, MakeImages(allocation, Chunk("search", 0, n_images)), progress)
            made[str(allocation)] = np.asarray(images)
    finally:
        pool.close()
    return made

"""How well the members of a study fit together, before any FID: one short job for a worker."""

from collections.abc import Callable

from tstitch_search.config import Study
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk, Probe, Similarity
from tstitch_search.progress import Progress
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.workbench import run_alone
from tstitch_search.workers.protocol import WorkerPool


def probe_study(
    study: Study, n_images: int, open_pool: Callable[[Study], WorkerPool], progress: Progress
) -> Similarity:
    """How alike the members' predictions are along the largest one's trajectories of the first `n_images` images.

    Accelerated members that go by their own earlier calls are not asked, since questions in between would disturb them.
    """
    remembering = [d.name for d in study.space.denoisers if d.remembers]
    if remembering:
        progress.note(f"not asked, since their answers depend on their earlier ones: {', '.join(remembering)}")
        plain = [denoiser for denoiser in study.space.denoisers if denoiser.name not in remembering]
        study = study.model_copy(update={"space": study.space.model_copy(update={"denoisers": tuple(plain)})})
    if len(study.space.denoisers) < 2:
        raise ConfigError("the probe compares predictions, and needs two denoisers without a cache")
    pool = open_pool(study)
    try:
        pool.start()
        return probe(pool, SearchSpace.of_study(study), n_images, progress)
    finally:
        pool.close()


def probe(pool: WorkerPool, space: SearchSpace, n_images: int, progress: Progress) -> Similarity:
    """The same, by a pool that has been started and has nothing else to do."""
    job = Probe(space.largest, space.denoisers, Chunk("search", 0, n_images))
    answer = run_alone(pool, job, progress)
    assert isinstance(answer, Similarity)
    return answer

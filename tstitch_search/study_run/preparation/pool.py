"""Who works on a study: as many workers as there are GPUs, or cores; torch is loaded in them, not here."""

import os
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Literal

from tstitch_search.config import Study
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.machine import count_cores, count_gpus, share_cores
from tstitch_search.workers.protocol import Measurer, WorkerPool


def open_pool(study: Study) -> WorkerPool:
    """The pool the study asks for, not yet started.

    Raises EnvironmentProblem when it asks for a GPU that is not there, or makes sense on a GPU only.
    """
    workers = study.config.workers
    if workers.address is not None:
        return _open_on_cluster(study, workers.address)
    n_gpus = count_gpus()
    if workers.device == "cuda" and n_gpus == 0:
        raise EnvironmentProblem(
            "workers.device is cuda, but this machine has no NVIDIA GPU",
            hint="use --device cpu, or run where the GPU is",
        )
    on_gpu = workers.device != "cpu" and n_gpus > 0
    if (offload := study.config.execution.offload) != "none" and not on_gpu:
        raise EnvironmentProblem(
            f"execution.offload is {offload}, but the work is done on the CPU, where the members are already",
            hint="execution.offload=none, or a GPU",
        )
    study = _on(study, "cuda" if on_gpu else "cpu")  # a worker whose GPU is lost must not go on without
    if not on_gpu and study.config.measure.recorded is None:
        share_cores()
    n_cores = count_cores()
    if workers.pool == "inline":
        from tstitch_search.workers.inline import InlinePool

        return InlinePool(partial(build_measurer, study, n_cores))
    n_workers = count_workers(study)
    threads = workers.cpus_per_worker or max(1, n_cores // n_workers)
    from tstitch_search.workers.ray_pool import RayPool

    gpus = workers.gpus_per_worker or share_of_gpus(n_gpus, n_workers) if on_gpu else 0
    factory = partial(build_measurer, study, threads)
    return RayPool(factory, n_workers, threads, gpus, timing_device=workers.timing_workers)


def count_workers(study: Study) -> int:
    """How many workers take part, as known before they start: 1 on a cluster, where the study names no number."""
    workers, n_gpus = study.config.workers, count_gpus()
    if workers.pool == "inline":
        return 1
    if workers.address is not None:
        return workers.n_workers or workers.max_workers or 1
    on_gpu = workers.device != "cpu" and n_gpus > 0
    return workers.n_workers or (_n_on_gpus(n_gpus, workers.gpus_per_worker or 1) if on_gpu else count_cores())


def _open_on_cluster(study: Study, address: str) -> WorkerPool:
    """The pool on a Ray cluster: what its machines have is asked there, when the pool starts."""
    workers = study.config.workers
    on_gpu = workers.device == "cuda" or (workers.device == "auto" and workers.gpus_per_worker is not None)
    cpus, gpus = workers.cpus_per_worker or 1, (workers.gpus_per_worker or 1) if on_gpu else 0
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")  # talk to other machines; Ray reads it once
    from tstitch_search.workers.ray_pool import RayPool

    return RayPool(
        partial(build_measurer, _on(_from_anywhere(study), "cuda" if on_gpu else "cpu"), cpus),
        workers.n_workers or workers.max_workers,
        cpus,
        gpus,
        address=address,
        is_elastic=workers.max_workers is not None,
        timing_device=workers.timing_workers,
    )


def _from_anywhere(study: Study) -> Study:
    """The study with absolute paths: a worker's current folder is its machine's."""
    files, images = study.proxy_files, study.proxy_files.control_images
    inputs = tuple((name, tuple(path.absolute() for path in paths)) for name, paths in files.inputs)
    control_images = tuple(path.absolute() for path in images) if images else None
    absolute = {
        "study_path": study.study_path.absolute(),
        "space_path": study.space_path.absolute(),
        "run_folder": study.run_folder and study.run_folder.absolute(),
        "proxy_files": replace(files, control_images=control_images, inputs=inputs),
    }
    return study.model_copy(update=absolute)


def _n_on_gpus(n_gpus: int, each: float) -> int:
    return max(1, int(n_gpus / each + 1e-9) if each >= 1 else n_gpus * int(1 / each + 1e-9))


def share_of_gpus(n_gpus: int, n_workers: int) -> float:
    """What each worker gets so that all fit: whole GPUs, or an equal part of one (Ray gives out nothing else)."""
    return n_gpus // n_workers if n_workers <= n_gpus else 1 / ceil(n_workers / n_gpus)


def _on(study: Study, device: Literal["cpu", "cuda"]) -> Study:
    workers = study.config.workers.model_copy(update={"device": device})
    return study.model_copy(update={"config": study.config.model_copy(update={"workers": workers})})


def build_measurer(study: Study, threads: int) -> Measurer:
    """A measurer of the study, made inside the worker that will use it."""
    if study.config.measure.recorded is not None:
        from tstitch_search.measure.recorded.measurer import RecordedMeasurer

        return RecordedMeasurer(study)
    from tstitch_search.measure.measurer import StudyMeasurer

    return StudyMeasurer(study, threads)

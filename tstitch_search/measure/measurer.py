"""The measurer of a study: holds the members for a whole run and does one job at a time.

A little over 250 lines: every kind of job is answered here, and what runs out of memory is tried again here.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.measure.clock import clock_of
from tstitch_search.measure.datasets import count_images
from tstitch_search.measure.features import require_content, to_uint8
from tstitch_search.measure.kept_arrays import KeptArrays
from tstitch_search.measure.latency import Stand, calibrate, time_allocations
from tstitch_search.measure.memory import memory_of, tensors_mb
from tstitch_search.measure.prompts import Prompts
from tstitch_search.measure.published import publish
from tstitch_search.measure.skipping import require_skipping
from tstitch_search.measurement import (
    AllocationTimes,
    Answer,
    Calibrate,
    Calibration,
    Calls,
    Chunk,
    ChunkFeatures,
    DescribeFeatures,
    ExtractReference,
    FeatureFacts,
    Frequencies,
    Job,
    MakeChunk,
    MakeImages,
    Probe,
    Publish,
    Similarity,
    TimeAllocations,
)
from tstitch_search.members.device import (
    batch_size_that_fits,
    cpu_threads,
    device_name,
    is_gone,
    resolve_device,
    timing_threads,
)
from tstitch_search.members.execution import attention
from tstitch_search.members.weights import first_line
from tstitch_search.probes.frequency import NoiseLevels, frequencies
from tstitch_search.probes.similarity import similarity
from tstitch_search.quality.reference import Reference
from tstitch_search.sampling.assembly import assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.sampling.stitching.prefixes import Answerer, Start, TrajectoryMemo
from tstitch_search.sampling.timetable import calls_by_step, steps_of, timetable


class StudyMeasurer:
    """A `Measurer` of real models: stock pipeline, stitched denoiser and feature extractor on one device.

    `functools.partial(StudyMeasurer, study, threads)` is a `MeasurerFactory`.
    """

    def __init__(self, study: Study, threads: int | None = None):
        """Load nothing yet. `threads`: CPU threads for images. Raises EnvironmentProblem for a device not there."""
        self._study, self._config, self._space = study, study.config, study.space
        self._proxy_set = ProxySet.of_study(study)
        self._device = resolve_device(self._config.workers.device)
        self._threads, self._memo = threads, TrajectoryMemo(self._config.workers.reuse_mb * 10**6)
        self._device_batch_size = self._config.workers.device_batch_size
        self._timed_batch_size = self._config.latency.batch_size
        self._calls = dict[str, list[float]]()
        self.device = device_name(self._device)

    def load(self) -> dict[str, float]:
        """Load every member once, and what they share; the seconds each member took.

        Raises ConfigError for parts that do not fit together, EnvironmentProblem for parts that are missing.
        """
        if self._threads:
            torch.set_num_threads(self._threads)
        self._assembly = assemble(self._study, self._device)
        self._denoiser = self._assembly.denoiser
        self._prompts = Prompts(self._study, self._assembly.prompts, self._sample)
        self._arrays = KeptArrays(self._study, self._device)
        return dict(self._assembly.load_s)

    def do(self, job: Job) -> Answer:
        """The answer to `job`; images that do not fit into memory together are made in smaller batches from then on.

        Raises MeasurementError when this allocation cannot be measured, EnvironmentProblem when the device has failed.
        """
        try:
            return self._do(job)
        except torch.OutOfMemoryError as error:
            problem = first_line(error)
        except RuntimeError as error:
            if not is_gone(error):
                raise
            raise EnvironmentProblem(
                f"the device {self.device} has failed: {first_line(error)}",
                hint="check it with nvidia-smi; what was finished is kept, and the same command goes on from there",
            ) from error
        # Only now is the memory of the failed batch free again. Times are of the batch size asked for, or not at all.
        if self._memo.n_bytes:
            self._memo = TrajectoryMemo(0)
            return self.do(job)
        if not self._may_be_split(job) or self._device_batch_size == 1:
            raise self._out_of_memory(job, problem)
        self._device_batch_size //= 2
        torch.cuda.empty_cache()
        return self.do(job)

    def _may_be_split(self, job: Job) -> bool:
        """Whether smaller device batches give the same answer: not where a cache decides by the whole batch."""
        by_batch = {d.name for d in self._space.denoisers if d.decides_by_batch}
        if isinstance(job, MakeChunk | MakeImages):
            return by_batch.isdisjoint(job.allocation.steps)
        return isinstance(job, ExtractReference)

    def _do(self, job: Job) -> Answer:
        match job:
            case MakeChunk():
                return self._make_chunk(job)
            case MakeImages(allocation, chunk):
                return self._make_images(allocation, chunk)
            case Publish():
                return _publish(job)
            case DescribeFeatures(images):
                return FeatureFacts(self._arrays.n_features(), count_images(images) if images else 0)
            case ExtractReference(images, _):
                return self._arrays.of_reference(images, self._device_batch_size)
            case Probe():
                return self._probe(job)
            case Calibrate() | TimeAllocations():
                return self._time(job)

    def _probe(self, job: Probe) -> Similarity | Frequencies:
        batch_size = self._config.workers.device_batch_size
        if job.wants == "similarity":
            return similarity(job, self._denoiser, self._sample, batch_size)
        steps = timetable(self._space, self._study.space_path.parent, job.along)
        levels = NoiseLevels.of(self._assembly.pipeline.scheduler, steps)
        return frequencies(job, self._denoiser, self._sample, batch_size, levels)

    def _out_of_memory(self, job: Job, problem: str) -> MeasurementError:
        """What to say when the job needed more memory than there is: with the batch size that would have done."""
        is_timing = isinstance(job, Calibrate | TimeAllocations)
        setting = "latency.batch_size" if is_timing else "workers.device_batch_size"
        asked = self._config.latency.batch_size if is_timing else self._device_batch_size

        fits = None
        if isinstance(job, Calibrate | TimeAllocations):
            fits = batch_size_that_fits(partial(self._try_timing, job), asked)
        less = {"none": "execution.offload=model, or ", "model": "execution.offload=group, or "}
        other = less.get(self._config.execution.offload, "") + "a device with more memory"
        return MeasurementError(
            f"the device ran out of memory with {setting}={asked}: {problem}",
            hint=f"{setting}={fits}, which fits" if fits else other,
        )

    def _try_timing(self, job: Calibrate | TimeAllocations, batch_size: int) -> None:
        """Do the job in short with batches of another size: whatever it needs memory for, it needs here too."""
        asked, self._timed_batch_size = self._timed_batch_size, batch_size
        try:
            self._time(replace(job, n_repeats=2))
        finally:
            self._timed_batch_size = asked

    def _make_chunk(self, job: MakeChunk) -> ChunkFeatures:
        self._prompts.ahead(self._device_batch_size)
        started, calls, chunk = time.perf_counter(), Calls(), job.chunk
        against = job.against.read() if job.against else None
        made: list[dict[str, np.ndarray]] = []
        for part, images in self._batches(job.allocation, chunk, calls):
            exact = to_uint8(images)
            require_content(exact, part.first)
            anchors = None if against is None else against[part.first - chunk.first : part.last - chunk.first]
            made.append(self._arrays.of(exact, part, exact if job.is_anchor else _tensor(anchors, exact)))
            if job.is_anchor:
                made[-1]["images"] = exact.movedim(-3, -1).cpu().numpy()
        arrays = {name: np.concatenate([arrays[name] for arrays in made]) for name in made[0]}
        images_kept, saved = arrays.pop("images", None), self._prompts.saved()
        self._prompts.leave()
        return ChunkFeatures(arrays, time.perf_counter() - started, calls, images_kept, saved)

    def _make_images(self, allocation: Allocation, chunk: Chunk) -> np.ndarray:
        batches = [to_uint8(images) for _, images in self._batches(allocation, chunk, Calls())]
        return np.concatenate([images.movedim(-3, -1).cpu().numpy() for images in batches])

    def _batches(self, allocation: Allocation, chunk: Chunk, calls: Calls) -> Iterator[tuple[Chunk, torch.Tensor]]:
        """The chunk's images, or clips, in [0, 1], in device batches. The batch an image is in does not change it."""
        memo = self._memo if self._denoiser.can_replay(allocation) else TrajectoryMemo(0)
        for part in chunk.parts(self._device_batch_size):
            start = Start(part, allocation.n_steps, self._config.guidance_scale, allocation.profile)
            with memo.trajectory(start, calls, share=part.n_images / chunk.n_images) as answerer:
                yield part, self._sample(allocation, part, answerer)

    def _sample(self, allocation: Allocation, images: Chunk, answerer: Answerer | None = None) -> torch.Tensor:
        self._assembly.turn_to(allocation)
        self._denoiser.answerer = answerer
        conditions = self._proxy_set.conditions_of(images)
        # on the CPU, so that every device makes the same images
        generators = [torch.Generator().manual_seed(seed) for seed in self._proxy_set.seeds_of(images)]
        guidance_scale = self._config.guidance_scale
        with attention(self._config.execution):
            return self._assembly.family.sample(
                self._assembly.pipeline, conditions, generators, allocation.n_steps, guidance_scale
            )

    def _time(self, job: Calibrate | TimeAllocations) -> Calibration | AllocationTimes:
        """Time whole batches of the first images. On CPU with the thread count of deployment, not of the workers."""
        self._memo.clear()  # what is timed has the device's memory to itself
        threads = timing_threads(self._config.latency.threads)
        with cpu_threads(threads), self._prompts.afresh():
            stand = self._stand(threads)
            if isinstance(job, TimeAllocations):
                return time_allocations(job, stand)
            cached = {d.name for d in self._space.denoisers if d.remembers and not job.is_more}
            for name in cached.intersection(job.denoisers):
                require_skipping(self._denoiser.member(name), name, job.n_steps, self._run_batch)
            return calibrate(job, stand)

    def _stand(self, threads: int) -> Stand:
        members = zip(self._denoiser.names, self._denoiser.members, strict=True)
        return Stand(
            run=self._run_batch,
            steps=lambda n_steps: steps_of(self._assembly.pipeline.scheduler, n_steps),
            n_calls=lambda n_steps: calls_by_step(self._assembly.pipeline.scheduler, n_steps),
            clock=clock_of(self._device),
            memory=memory_of(self._device),
            device=self.device if self._device.type == "cuda" else f"{self.device}, {threads} threads",
            batch_size=self._timed_batch_size,
            weights_mb=dict(self._assembly.weights_mb),
            resident_mb={name: 0.0 if self._denoiser.offload else tensors_mb([member]) for name, member in members},
            shared_mb=tensors_mb(self._assembly.shared_parts),
            weights_of=dict(self._assembly.weights_of),
            remembering=frozenset(d.name for d in self._space.denoisers if d.remembers),
            profiled=tuple(
                Allocation.of([((profile.denoisers or self._space.names)[0], n_steps)], name)
                for name, profile in self._space.profiles.items()
                for n_steps in profile.step_counts
            ),
            calls=self._calls,
        )

    def _run_batch(self, allocation: Allocation, on_step: Callable[[int], None]) -> None:
        self._denoiser.on_step = on_step
        try:
            self._sample(allocation, Chunk("search", 0, self._timed_batch_size))
        finally:
            self._denoiser.on_step = None


def _tensor(images: np.ndarray | None, like: torch.Tensor) -> torch.Tensor | None:
    """Images (..., h, w, 3) as (..., 3, h, w), where `like` is."""
    return None if images is None else torch.from_numpy(images).movedim(-1, -3).to(like.device)


def _publish(job: Publish) -> float:
    """torch-fidelity's value of the job's metric."""
    if job.mu is None or job.sigma is None:
        return publish(job.metric, job.array, None)
    return publish(job.metric, job.array, Reference(job.mu, job.sigma, None, job.features, sha256=""))

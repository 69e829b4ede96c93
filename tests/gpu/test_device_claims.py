"""What is claimed of work on a GPU: how it is timed, that nothing waits in the loop, memory, and its limits."""

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler
from torch.profiler import ProfilerActivity, profile, record_function

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import MeasurementError
from tstitch_search.measure.clock import clock_of
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import (
    Calibrate,
    Calibration,
    Chunk,
    ChunkFeatures,
    MakeChunk,
    MakeImages,
    TimeAllocations,
)
from tstitch_search.members.execution import Offload
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.stitching.conversion import conversion_of

pytestmark = pytest.mark.gpu
MIXED = Allocation.parse("S*2-XL*2")
CHUNK = Chunk("search", 0, 8)
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def measurer(folder: Path, device: torch.device, *overrides: str) -> StudyMeasurer:
    settings = [f"workers.device={device.type}", "workers.reuse_mb=0", *overrides]
    made = StudyMeasurer(load_study(folder / "study.yaml", settings), threads=1)
    made.load()
    return made


def images(made: StudyMeasurer, chunk: Chunk = CHUNK) -> np.ndarray:
    answer = made.do(MakeImages(MIXED, chunk))
    assert isinstance(answer, np.ndarray)
    return answer


def waits(work: Callable[[], object]) -> list[str]:
    """The calls in `work` that let the host wait for the device, by name, as torch's profiler sees them."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler, record_function("the loop"):
        work()
    events = profiler.events()
    assert events is not None
    loop = next(e for e in events if e.name == "the loop").time_range
    inside = [e for e in events if loop.start <= e.time_range.start < loop.end]
    return sorted(e.name for e in inside if e.name in WAITS)


class TestTheClock:
    def test_events_say_what_a_synchronised_run_takes_on_the_wall(self, cuda: torch.device, record_property) -> None:
        a = torch.randn(4096, 4096, device=cuda)

        def work() -> None:
            for _ in range(30):
                torch.mm(a, a)

        clock = clock_of(cuda)
        by_events, by_wall = [], []
        for _ in range(5):
            work()
            torch.cuda.synchronize()
            started = time.perf_counter()
            work()
            torch.cuda.synchronize()
            by_wall.append(time.perf_counter() - started)
            marks = [clock.mark()]
            work()
            marks.append(clock.mark())
            by_events += clock.seconds_between(marks)
        record_property("events_s", min(by_events))
        record_property("wall_s", min(by_wall))
        assert min(by_events) == pytest.approx(min(by_wall), rel=0.03)

    def test_marks_do_not_wait_and_add_up(self, cuda: torch.device) -> None:
        a, clock = torch.randn(4096, 4096, device=cuda), clock_of(cuda)
        torch.mm(a, a)
        marks = []

        def work() -> None:
            for _ in range(10):
                marks.append(clock.mark())
                torch.mm(a, a)
            marks.append(clock.mark())

        assert waits(work) == []
        parts = clock.seconds_between(marks)
        assert sum(parts) == pytest.approx(clock.seconds_between([marks[0], marks[-1]])[0], rel=1e-3)


class TestTheLoop:
    def test_stitching_waits_for_nothing_where_the_solver_waits_for_nothing(
        self, cuda: torch.device, tiny_family: Path
    ) -> None:
        """Flow matching keeps its levels on the device, so that every wait would be ours."""
        members = {name: load(tiny_family, name, cuda) for name in ("S", "XL")}
        denoiser, scheduler = dit.stitch(members), FlowMatchEulerDiscreteScheduler()
        denoiser.watch(scheduler)
        denoiser.set_allocation(MIXED)
        clock, marks = clock_of(cuda), []
        denoiser.on_step = lambda _: marks.append(clock.mark())
        start = torch.randn(2, 4, 8, 8, device=cuda)
        times, labels = torch.full((2,), 500, device=cuda), torch.zeros(2, dtype=torch.long, device=cuda)

        def loop() -> None:
            latents = start
            for t in scheduler.timesteps:
                answer = denoiser(latents, timestep=times, class_labels=labels).sample
                latents = scheduler.step(answer, t, latents).prev_sample

        for run in (lambda: loop(), lambda: waits(loop)):
            scheduler.set_timesteps(4, device=cuda)
            scheduler.set_begin_index(0)
            said = run()
        assert said == []
        assert len(clock.seconds_between(marks[-5:])) == 4

    def test_a_converted_member_waits_for_nothing(self, cuda: torch.device) -> None:
        have, want = (NoiseProcess.of({"_class_name": "DDIMScheduler", "beta_schedule": kind}) for kind in BETAS)
        ask = conversion_of(have, want)(lambda member, latents, timestep: (latents * timestep.reshape(-1, 1, 1, 1),))
        latents, t = torch.randn(2, 4, 8, 8, device=cuda), torch.tensor(500, device=cuda)
        ask(None, latents, t)
        assert waits(lambda: ask(None, latents, t)) == []

    def test_the_stock_pipeline_waits_as_often_with_a_stitched_denoiser_as_with_its_own(
        self, cuda: torch.device, tiny_family: Path, record_property
    ) -> None:
        made = measurer(tiny_family, cuda)
        pipeline, denoiser = made._assembly.pipeline, made._denoiser

        def sample() -> None:
            generators = [torch.Generator(cuda).manual_seed(i) for i in range(2)]
            pipeline([0, 1], guidance_scale=1, num_inference_steps=4, generator=generators, output_type="pt")

        denoiser.set_allocation(MIXED)
        sample()
        stitched = waits(sample)
        pipeline.transformer = denoiser.members[-1]
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        sample()
        stock = waits(sample)
        record_property("waits_stitched", len(stitched))
        record_property("waits_stock", len(stock))
        assert stitched == stock


BETAS = ("linear", "squaredcos_cap_v2")


def load(folder: Path, name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> DiTTransformer2DModel:
    return DiTTransformer2DModel.from_pretrained(folder / name, torch_dtype=dtype).eval().to(device)


class TestMemory:
    def test_what_a_calibration_says_is_what_a_process_with_that_member_alone_allocates(
        self, cuda: torch.device, tiny_family: Path, record_property
    ) -> None:
        batch = "latency.batch_size=64"
        said = measurer(tiny_family, cuda, batch).do(Calibrate(("S", "XL"), 4, 3))
        assert isinstance(said, Calibration)
        gc.collect()
        before = torch.cuda.memory_allocated()
        made = measurer(tiny_family, cuda, batch)
        alone = made._denoiser.members[made._denoiser.names.index("XL")]
        others = (
            torch.cuda.memory_allocated()
            - before
            - sum(
                t.nbytes
                for part in (alone, *made._assembly.shared_parts)
                for t in (*part.parameters(), *part.buffers())
            )
        )
        job = Allocation.parse("XL*4")
        made._run_batch(job, lambda _: None)
        torch.cuda.reset_peak_memory_stats()
        made._run_batch(job, lambda _: None)
        peak_mb = (torch.cuda.max_memory_allocated() - before - others) / 1e6
        record_property("said_mb", said.member_memory_mb["XL"])
        record_property("peak_mb", peak_mb)
        assert said.member_memory_mb["XL"] == pytest.approx(peak_mb, rel=0.05)

    def test_offloaded_members_are_pinned_at_home_and_leave_nothing_on_the_device(self, cuda: torch.device) -> None:
        members = [torch.nn.Linear(1000, 1000) for _ in range(2)]
        offload = Offload(members, cuda)
        assert all(p.is_pinned() for member in members for p in member.parameters())
        before = torch.cuda.memory_allocated()
        values = [member.weight.clone() for member in members]
        for member, value in zip(members, values, strict=True):
            offload.bring_in(member)
            assert member.weight.is_cuda
            assert torch.equal(member.weight.cpu(), value)
            assert 4e6 < torch.cuda.memory_allocated() - before < 5e6
        offload.leave()
        assert torch.cuda.memory_allocated() == before
        assert all(p.is_pinned() for member in members for p in member.parameters())


class TestOutOfMemory:
    @pytest.fixture
    def little_memory(self, cuda: torch.device) -> Iterator[None]:
        """400 MB more than are in use."""
        gc.collect()
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(cuda).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400e6) / total)
        yield
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()

    def test_a_timed_batch_is_refused_with_one_that_fits_and_the_worker_goes_on(
        self, cuda: torch.device, tiny_family: Path, little_memory: None, record_property
    ) -> None:
        made = measurer(tiny_family, cuda, "latency.batch_size=8192")
        expected = images(made)
        with pytest.raises(MeasurementError, match=r"ran out of memory with latency.batch_size=8192") as raised:
            made.do(TimeAllocations((MIXED,), 3))
        hint = str(raised.value.hint)
        record_property("hint", hint)
        fits = int(hint.removeprefix("latency.batch_size=").split(",")[0])
        assert 1 <= fits < 8192
        assert np.array_equal(images(made), expected)
        del made  # the batch is for a worker that has the device to itself
        gc.collect()
        torch.cuda.empty_cache()
        smaller = measurer(tiny_family, cuda, f"latency.batch_size={fits}")
        assert smaller.do(TimeAllocations((MIXED,), 3)).times[0].latency_s > 0

    def test_images_are_made_in_smaller_batches_then(
        self, cuda: torch.device, tiny_family: Path, little_memory: None
    ) -> None:
        made = measurer(tiny_family, cuda, "workers.device_batch_size=8192")
        answer = made.do(MakeChunk(MIXED, Chunk("search", 0, 8192)))
        assert isinstance(answer, ChunkFeatures)
        assert answer.arrays["features"].shape[0] == 8192
        assert made._device_batch_size < 8192

    def test_a_member_that_does_not_fit_is_home_again(self, cuda: torch.device, little_memory: None) -> None:
        large = torch.nn.Sequential(*(torch.nn.Linear(5000, 5000, bias=False) for _ in range(5)))  # 500 MB
        offload = Offload([large, torch.nn.Linear(3, 3)], cuda)
        with pytest.raises(torch.OutOfMemoryError):
            offload.bring_in(large)
        assert not any(p.is_cuda for p in large.parameters())


class TestImages:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_are_the_same_bits_on_repeat_and_from_another_worker(
        self, device: torch.device, tiny_family: Path, dtype: str
    ) -> None:
        made = measurer(tiny_family, device, f"workers.dtype={dtype}")
        first = images(made)
        assert np.array_equal(images(made), first)
        assert np.array_equal(images(measurer(tiny_family, device, f"workers.dtype={dtype}")), first)

    def test_hardly_depend_on_the_batch_they_are_made_in_nor_on_the_device(
        self, device: torch.device, tiny_family: Path, record_property
    ) -> None:
        made = measurer(tiny_family, device)
        together, alone = images(made), np.concatenate([images(made, Chunk("search", i, i + 1)) for i in range(8)])
        on_cpu = images(measurer(tiny_family, torch.device("cpu")))
        of_batch, of_device = (np.abs(together.astype(int) - other) for other in (alone, on_cpu))
        record_property("largest_difference_of_batch", int(of_batch.max()))
        record_property("largest_difference_of_device", int(of_device.max()))
        assert of_batch.max() <= 2
        assert of_device.max() <= 3

    def test_of_a_stitched_run_are_those_of_calls_by_hand_to_the_bit_in_bfloat16(
        self, device: torch.device, tiny_family: Path
    ) -> None:
        made = measurer(tiny_family, device, "workers.dtype=bfloat16")
        pipeline = made._assembly.pipeline
        made._denoiser.set_allocation(MIXED)
        stitched = pipeline(
            [3, 7], guidance_scale=1.5, num_inference_steps=4, generator=generators(), output_type="pt"
        ).images
        by_name = {name: load(tiny_family, name, device, torch.bfloat16) for name in ("S", "XL")}
        assert torch.equal(stitched, by_hand(by_name, pipeline.vae, pipeline.scheduler.config, device))


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(2)]


@torch.no_grad()
def by_hand(members: dict[str, DiTTransformer2DModel], vae, config, device: torch.device) -> torch.Tensor:
    """Two images of the classes 3 and 7 with guidance 1.5, members and solver called one by one."""
    scheduler = DDIMScheduler.from_config(config)
    rows = [torch.randn(1, 4, 8, 8, generator=g, dtype=torch.bfloat16) for g in generators()]
    latents = torch.cat(rows).to(device)
    labels = torch.tensor([3, 7, 10, 10], device=device)
    scheduler.set_timesteps(4)
    for name, t in zip(MIXED.by_step, scheduler.timesteps, strict=True):
        question = torch.cat([latents, latents])
        answer = members[name](question, timestep=t.to(device).expand(4), class_labels=labels).sample
        labelled, unlabelled = answer.chunk(2)
        guided = unlabelled + 1.5 * (labelled - unlabelled)
        latents = scheduler.step(guided, t, latents).prev_sample
    images = vae.decode(1 / vae.config.scaling_factor * latents).sample
    return (images / 2 + 0.5).clamp(0, 1)

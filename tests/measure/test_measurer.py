"""The whole measurer on a real, tiny family: jobs in, answers out, the same wherever and however they are done."""

import functools
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError
from tstitch_search.measure.kept_arrays import KeptArrays
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measure.published import publish
from tstitch_search.measurement import (
    AllocationTimes,
    Calibrate,
    Calibration,
    Chunk,
    ChunkFeatures,
    Job,
    MakeChunk,
    MakeImages,
    Publish,
    TimeAllocations,
)
from tstitch_search.quality.reference import load_reference
from tstitch_search.workers.protocol import Measurer, MeasurerFactory

MIXED = Allocation.parse("S*2-XL*2")


def loaded(study: Study) -> StudyMeasurer:
    measurer = StudyMeasurer(study, threads=1)
    measurer.load()
    return measurer


def with_workers(study: Study, **values: Any) -> Study:
    workers = study.config.workers.model_copy(update=values)
    return study.model_copy(update={"config": study.config.model_copy(update={"workers": workers})})


@pytest.fixture(scope="module")
def study(tiny_family: Path) -> Study:
    return load_study(tiny_family / "study.yaml")


@pytest.fixture(scope="module")
def measurer(study: Study) -> StudyMeasurer:
    return loaded(study)


def images(measurer: StudyMeasurer, allocation: Allocation, chunk: Chunk) -> np.ndarray:
    answer = measurer.do(MakeImages(allocation, chunk))
    assert isinstance(answer, np.ndarray)
    return answer.astype(int)


def features(measurer: StudyMeasurer, allocation: Allocation, chunk: Chunk) -> ChunkFeatures:
    answer = measurer.do(MakeChunk(allocation, chunk))
    assert isinstance(answer, ChunkFeatures)
    return answer


def test_the_factory_survives_pickling_and_its_measurer_keeps_the_protocol(study: Study) -> None:
    factory: MeasurerFactory = pickle.loads(pickle.dumps(functools.partial(StudyMeasurer, study, 1)))
    measurer: Measurer = factory()
    seconds = measurer.load()
    assert list(seconds) == ["S", "B", "XL"]
    assert all(s > 0 for s in seconds.values())
    assert measurer.device


def test_a_chunk_is_answered_with_its_features_and_seconds(measurer: StudyMeasurer) -> None:
    answer = features(measurer, MIXED, Chunk("search", 0, 13))
    assert answer.arrays["features"].shape == (13, 64)
    assert answer.arrays["features"].dtype == np.float32
    assert np.isfinite(answer.arrays["features"]).all()
    assert answer.seconds > 0


def test_images_are_uint8_rgb_and_those_the_features_are_of(study: Study, measurer: StudyMeasurer) -> None:
    chunk = Chunk("search", 0, 6)
    made = measurer.do(MakeImages(MIXED, chunk))
    assert isinstance(made, np.ndarray)
    assert (made.shape, made.dtype) == ((6, 32, 32, 3), np.uint8)
    exact = torch.from_numpy(made).permute(0, 3, 1, 2)
    again = KeptArrays(study, torch.device("cpu")).of(exact, chunk, anchors=None)["features"]
    np.testing.assert_allclose(features(measurer, MIXED, chunk).arrays["features"], again, rtol=1e-5)


@pytest.mark.parametrize("device_batch_size", [1, 3, 64])
def test_the_device_batch_changes_no_image_by_more_than_one_level(
    study: Study, measurer: StudyMeasurer, device_batch_size: int
) -> None:
    other = loaded(with_workers(study, device_batch_size=device_batch_size))
    chunk = Chunk("search", 0, 12)
    assert np.abs(images(other, MIXED, chunk) - images(measurer, MIXED, chunk)).max() <= 1


def test_labels_from_a_file_make_the_images_of_these_labels(
    tiny_family: Path, measurer: StudyMeasurer, tmp_path: Path
) -> None:
    drawn = [measurer._proxy_set.labels_of(Chunk(name, 0, n)) for name, n in (("search", 20), ("confirm", 40))]
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for labels in drawn for label in labels))
    given = [f"proxy_set.labels={tmp_path / 'labels.txt'}"]
    from_file = loaded(load_study(tiny_family / "study.yaml", given))
    for name in ("search", "confirm"):
        chunk = Chunk(name, 0, 4)
        assert np.array_equal(images(from_file, MIXED, chunk), images(measurer, MIXED, chunk))


def test_half_precision_makes_nearly_the_same_images(study: Study, measurer: StudyMeasurer) -> None:
    half = loaded(with_workers(study, dtype="bfloat16"))
    chunk = Chunk("search", 0, 4)
    difference = np.abs(images(half, MIXED, chunk) - images(measurer, MIXED, chunk))
    assert difference.max() > 0
    assert difference.mean() < 5


def test_an_image_is_the_same_in_whatever_chunk_it_is_made(measurer: StudyMeasurer) -> None:
    whole = images(measurer, MIXED, Chunk("search", 0, 12))
    for first, last in ((0, 5), (5, 12), (7, 8)):
        assert np.abs(images(measurer, MIXED, Chunk("search", first, last)) - whole[first:last]).max() <= 1


def test_the_two_sets_and_the_allocations_make_different_images(measurer: StudyMeasurer) -> None:
    made = [
        images(measurer, allocation, Chunk(name, 0, 2))
        for name in ("search", "confirm")
        for allocation in (MIXED, Allocation.parse("XL*4"))
    ]
    assert len({m.tobytes() for m in made}) == 4


def test_the_same_job_gives_the_same_answer_after_any_other(measurer: StudyMeasurer) -> None:
    chunk = Chunk("search", 0, 4)
    first = images(measurer, MIXED, chunk)
    measurer.do(Calibrate(("S", "XL"), 4, 3))
    assert measurer._denoiser.on_step is None
    images(measurer, Allocation.parse("B*4"), chunk)
    assert np.array_equal(images(measurer, MIXED, chunk), first)


def test_calibration_says_what_was_timed_and_gives_the_threads_back(measurer: StudyMeasurer, tiny_family: Path) -> None:
    threads = torch.get_num_threads()
    found = measurer.do(Calibrate(("S", "B", "XL"), 4, 3))
    assert isinstance(found, Calibration)
    assert list(found.step_s) == list(found.step_se) == list(found.switch_s) == ["S", "B", "XL"]
    assert all(s > 0 for s in found.step_s.values())
    assert (found.batch_size, found.n_repeats) == (2, 3)
    assert found.device.startswith(measurer.device)
    assert min(found.fixed_s, found.fixed_se, found.spread) >= 0
    on_disk = {n: (tiny_family / n / "diffusion_pytorch_model.safetensors").stat().st_size for n in found.weights_mb}
    assert found.weights_mb == {name: size / 1e6 for name, size in on_disk.items()}
    assert all(0 < memory_mb < found.peak_memory_mb < 100 for memory_mb in found.member_memory_mb.values())
    assert torch.get_num_threads() == threads


def test_front_members_are_timed_in_the_order_asked(measurer: StudyMeasurer) -> None:
    answer = measurer.do(TimeAllocations((MIXED, Allocation.parse("S*4")), n_repeats=3))
    assert isinstance(answer, AllocationTimes)
    assert [len(t.seconds) for t in answer.times] == [3, 3]
    assert all(s > 0 for t in answer.times for s in (*t.seconds, *t.predicted_s))
    assert answer.times[0].peak_memory_mb > answer.times[1].peak_memory_mb > 0
    assert [t.timesteps for t in answer.times] == [(999.0, 749.0, 499.0, 249.0)] * 2  # DDIM, trailing, 4 steps
    assert [len(t.sigmas) for t in answer.times] == [4, 4]


def test_the_published_fid_is_that_of_the_reference_in_the_job(measurer: StudyMeasurer, tiny_family: Path) -> None:
    values = features(measurer, MIXED, Chunk("search", 0, 80)).arrays["features"]
    reference = load_reference("reference.npz", tiny_family)
    expected = publish("fid", values, reference)
    assert measurer.do(Publish("fid", values, reference.mu, reference.sigma)) == expected > 0


def test_logits_are_kept_when_a_metric_of_the_study_needs_them(tiny_family: Path) -> None:
    measurer = loaded(load_study(tiny_family / "study.yaml", ["quality.metrics=[inception_score]"]))
    made = features(measurer, MIXED, Chunk("search", 0, 13))
    assert {name: array.shape for name, array in made.arrays.items()} == {"features": (13, 64), "logits": (13, 10)}
    assert 1 <= measurer.do(Publish("inception_score", made.arrays["logits"])) <= 10


def test_a_job_that_cannot_be_done_names_the_reason_and_the_next_one_is_done(measurer: StudyMeasurer) -> None:
    with pytest.raises(ConfigError, match="unknown denoiser 'M'"):
        measurer.do(MakeChunk(Allocation.parse("M*4"), Chunk("search", 0, 2)))
    assert features(measurer, MIXED, Chunk("search", 0, 2)).arrays["features"].shape == (2, 64)


def test_every_allocation_is_sampled_with_its_own_number_of_steps(measurer: StudyMeasurer) -> None:
    done: list[int] = []
    measurer._denoiser.on_step = done.append
    four, two, three = (
        images(measurer, Allocation.parse(a), Chunk("search", 0, 2)) for a in ("XL*4", "XL*2", "S*1-XL*2")
    )
    measurer._denoiser.on_step = None
    assert done == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3]
    assert len({four.tobytes(), two.tobytes(), three.tobytes()}) == 3
    assert np.array_equal(four, images(measurer, Allocation.parse("XL*4"), Chunk("search", 0, 2)))


def test_a_denoiser_that_diverges_is_a_measurement_error_of_its_allocations_only(
    tiny_family: Path, tmp_path: Path
) -> None:
    from diffusers import AutoModel

    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    model = AutoModel.from_pretrained(str(folder / "S"))
    model.proj_out_2.bias.data.fill_(float("nan"))
    model.save_pretrained(folder / "S")
    measurer = loaded(load_study(folder / "study.yaml"))
    with pytest.raises(MeasurementError, match="not finite"):
        features(measurer, MIXED, Chunk("search", 0, 2))
    assert np.isfinite(features(measurer, Allocation.parse("XL*4"), Chunk("search", 0, 2)).arrays["features"]).all()


class Failing(torch.nn.Module):
    """A member that answers up to `limit` latents at once, and raises `error` for more."""

    def __init__(self, member: torch.nn.Module, limit: int, error: RuntimeError) -> None:
        super().__init__()
        self.member, self.config, self.limit, self.error = member, member.config, limit, error

    def forward(self, latents: torch.Tensor, **conditions: torch.Tensor) -> Any:
        if len(latents) > self.limit:
            raise self.error
        return self.member(latents, **conditions)


def with_failing(study: Study, limit: int, error: RuntimeError) -> StudyMeasurer:
    measurer = loaded(study)
    measurer._denoiser.members[0] = Failing(measurer._denoiser.members[0], limit, error)
    return measurer


NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize(
    ("job", "limit", "hint"),
    [
        (MakeChunk(MIXED, Chunk("search", 0, 10)), 1, "execution.offload=model, or a device with more memory"),
        (Calibrate(("S", "XL"), 4, 3), 2, "latency.batch_size=1, which fits"),
        (TimeAllocations((MIXED,), 3), 1, "execution.offload=model, or a device with more memory"),
    ],
)
def test_out_of_memory_is_said_with_the_batch_size_that_would_fit(study: Study, job: Job, limit: int, hint: str):
    measurer = with_failing(study, limit, NO_MEMORY)
    with pytest.raises(MeasurementError, match=r"ran out of memory with .*: CUDA out of memory") as caught:
        measurer.do(job)
    assert caught.value.hint == hint
    assert features(measurer, Allocation.parse("XL*4"), Chunk("search", 0, 10)).arrays["features"].shape == (10, 64)


def test_out_of_memory_under_offload_names_what_takes_less_still(study: Study) -> None:
    execution = study.config.execution.model_copy(update={"offload": "model"})
    measurer = with_failing(study, 1, NO_MEMORY)
    measurer._config = study.config.model_copy(update={"execution": execution})
    with pytest.raises(MeasurementError) as caught:
        measurer.do(MakeChunk(MIXED, Chunk("search", 0, 10)))
    assert caught.value.hint == "execution.offload=group, or a device with more memory"


def test_images_that_do_not_fit_into_memory_together_are_made_in_smaller_batches(study: Study) -> None:
    job = MakeChunk(MIXED, Chunk("search", 0, 10))
    small = with_failing(study, 6, NO_MEMORY)  # 10 and 5 do not fit, 2 do; each counts twice, for guidance
    expected = loaded(study).do(job).arrays["features"]
    np.testing.assert_allclose(small.do(job).arrays["features"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(small.do(job).arrays["features"], expected, rtol=1e-4, atol=1e-5)


def test_a_device_that_fails_is_a_problem_of_the_machine_not_of_the_allocation(study: Study) -> None:
    measurer = with_failing(study, 0, RuntimeError("CUDA error: unspecified launch failure\nCompile with ..."))
    with pytest.raises(EnvironmentProblem, match=r"has failed: CUDA error: unspecified launch failure\n") as caught:
        measurer.do(MakeChunk(MIXED, Chunk("search", 0, 2)))
    assert "what was finished is kept" in caught.value.hint


def test_a_u_net_takes_part_like_any_other_member(tiny_family: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    text = (folder / "space.yaml").read_text()
    (folder / "space.yaml").write_text(text.replace("{name: B, weights: B}", "{name: U, weights: U}"))
    measurer = loaded(load_study(folder / "study.yaml"))
    chunk = Chunk("search", 0, 3)
    made = {text: images(measurer, Allocation.parse(text), chunk).tobytes() for text in ("U*4", "U*2-XL*2", "XL*4")}
    assert len(set(made.values())) == 3


@pytest.mark.parametrize("name", ["features.safetensors", "B/config.json"])
def test_a_missing_part_is_named_before_anything_is_sampled(tiny_family: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    (folder / name).unlink()
    with pytest.raises(EnvironmentProblem, match=name):
        loaded(load_study(folder / "study.yaml"))


def count_calls(measurer: StudyMeasurer) -> list[str]:
    """A live list of who was called."""
    called: list[str] = []
    for name, member in zip(measurer._denoiser.names, measurer._denoiser.members, strict=True):
        member.register_forward_hook(lambda *_, name=name: called.append(name))
    return called


def test_calls_are_counted_and_shared_beginnings_reused_without_changing_a_bit(study: Study) -> None:
    sharing, alone = loaded(study), loaded(with_workers(study, reuse_mb=0))
    called, chunk = count_calls(sharing), Chunk("search", 0, 13)  # two device batches
    for text, reused in (("S*2-XL*2", 0), ("S*2-B*2", 4), ("S*1-XL*3", 2), ("S*4", 4)):
        called.clear()
        made = features(sharing, Allocation.parse(text), chunk)
        expected = features(alone, Allocation.parse(text), chunk)
        assert np.array_equal(made.arrays["features"], expected.arrays["features"])
        assert (made.calls.n_reused, made.calls.n_all) == (reused, 8)
        assert made.calls.made.total() == len(called)
        assert expected.calls.n_reused == 0


def test_nothing_is_reused_while_timing(study: Study) -> None:
    measurer = loaded(study)
    features(measurer, MIXED, Chunk("search", 0, 2))
    called = count_calls(measurer)
    measurer._run_batch(MIXED, lambda _: None)
    assert called == ["S", "S", "XL", "XL"]


def test_what_is_kept_for_reuse_makes_room_when_memory_runs_out(study: Study) -> None:
    measurer = loaded(study)
    expected = features(measurer, MIXED, Chunk("search", 0, 10))

    class ShortOfMemory(torch.nn.Module):
        """A member that has no memory as long as outputs are kept."""

        def __init__(self, member: torch.nn.Module) -> None:
            super().__init__()
            self.member, self.config = member, member.config

        def forward(self, latents: torch.Tensor, **conditions: torch.Tensor) -> Any:
            if measurer._memo.n_bytes:
                raise NO_MEMORY
            return self.member(latents, **conditions)

    measurer._denoiser.members[0] = ShortOfMemory(measurer._denoiser.members[0])
    features(measurer, Allocation.parse("B*4"), Chunk("search", 0, 10))
    made = features(measurer, MIXED, Chunk("search", 0, 10))
    assert np.array_equal(made.arrays["features"], expected.arrays["features"])

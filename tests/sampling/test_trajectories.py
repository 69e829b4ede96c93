"""Several requests at once: each call has its own trajectory, copies share members, one pipeline serves one call."""

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline
from sampling.test_deploy import TEXT, text_pipeline
from text_to_image import new_unet
from torch import nn

from tstitch_search import Allocation, stitch
from tstitch_search.errors import ConfigError
from tstitch_search.members.execution import groups_of
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ENTRIES = ("S*6", "S*2-L*4", "L*6", "L*1-S*5")


def draw(pipeline: Any, seed: int = 0, **options: Any) -> torch.Tensor:
    """An image with the pipeline's own number of steps, which is the entry's."""
    noise = torch.Generator().manual_seed(seed)
    texts = {"prompt_embeds": TEXT, "negative_prompt_embeds": -TEXT}
    return pipeline(**texts, generator=noise, output_type="pt", **options).images


def stitched(entry: str = "S*2-L*4", **members: nn.Module) -> Any:
    parts = members or {"S": new_unet(1, 4), "L": new_unet(2, 12)}
    return stitch(text_pipeline(list(parts.values())[-1]), entry, members=parts)


def in_threads(jobs: list[Callable[[], Any]]) -> list[Any]:
    """What the jobs return, or raise, when they begin together."""
    results: list[Any] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def run(k: int) -> None:
        start.wait()
        try:
            results[k] = jobs[k]()
        except Exception as error:
            results[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class Meeting:
    """Two threads stand here together; called as a pipeline's callback at the end of its first step."""

    def __init__(self) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()

    def __call__(self, pipeline: Any, i: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self.inside.set()
        assert self.leave.wait(30)
        return {}


def while_inside(pipeline: Any, then: Callable[[], Any]) -> tuple[Any, Any]:
    """What a call of the pipeline gives, and what `then` gives in another thread once that call is under way."""
    meeting = Meeting()

    def second() -> Any:
        assert meeting.inside.wait(30)
        try:
            return then()
        finally:
            meeting.leave.set()

    first, other = in_threads([lambda: draw(pipeline, callback_on_step_end=meeting), second])
    return first, other


def test_one_pipeline_entered_twice_at_once_is_refused_and_the_first_call_is_right() -> None:
    pipeline = stitched()
    expected = draw(pipeline)
    first, refused = while_inside(pipeline, lambda: draw(pipeline))
    assert torch.equal(first, expected)
    assert isinstance(refused, ConfigError)
    assert "in use" in str(refused)
    assert "copy.copy(pipeline)" in str(refused.hint)
    assert torch.equal(draw(pipeline), expected)  # and it is free again


def test_a_shallow_copy_that_keeps_the_scheduler_is_the_same_pipeline_in_use() -> None:
    pipeline = stitched()
    _, refused = while_inside(pipeline, lambda: draw(copy.copy(pipeline)))
    assert isinstance(refused, ConfigError)


def test_a_pipeline_is_free_after_a_call_that_failed() -> None:
    pipeline = stitched()
    expected = draw(pipeline)

    def fail(*_: Any) -> dict[str, Any]:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        draw(pipeline, callback_on_step_end=fail)
    (other,) = in_threads([lambda: draw(pipeline)])
    assert torch.equal(other, expected)


def as_diffusers_recommends(pipeline: Any) -> Any:
    request = copy.copy(pipeline)
    request.scheduler = copy.deepcopy(pipeline.scheduler)
    return request


def test_a_copy_with_a_deep_copied_scheduler_draws_the_same_and_so_does_the_original() -> None:
    pipeline = stitched()
    expected = draw(pipeline)
    request = as_diffusers_recommends(pipeline)
    for each in (request, pipeline, request):
        assert torch.equal(draw(each), expected)


def test_an_entry_per_request_changes_nothing_for_others_and_shares_the_members() -> None:
    pipeline = stitched()
    alone = {entry: draw(stitched(entry)) for entry in ENTRIES}
    requests = {entry: stitch(copy.copy(pipeline), entry) for entry in ENTRIES}
    for entry, request in [*requests.items(), *requests.items()]:
        assert torch.equal(draw(request), alone[entry])
        assert torch.equal(draw(pipeline), alone["S*2-L*4"])
        assert request.unet is pipeline.unet


@pytest.mark.parametrize("scheduler", [DDIMScheduler, DPMSolverMultistepScheduler])
def test_four_threads_on_four_copies_draw_what_they_draw_one_by_one(scheduler: type) -> None:
    pipeline = stitched()
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    alone = [draw(stitch(copy.copy(pipeline), entry), seed) for seed, entry in enumerate(ENTRIES)]
    requests = [stitch(copy.copy(pipeline), entry) for entry in ENTRIES]
    for _ in range(3):
        made = in_threads([lambda k=k: draw(requests[k], seed=k) for k in range(4)])
        assert [torch.equal(image, expected) for image, expected in zip(made, alone, strict=True)] == [True] * 4


def test_two_pipelines_of_one_scheduler_at_once_are_found_out_by_the_one_that_was_overtaken() -> None:
    """Related pipelines that diffusers makes share the scheduler and are no copies of the stitched one."""
    pipeline = stitched()
    other = StableDiffusionImg2ImgPipeline.from_pipe(pipeline)
    other.set_progress_bar_config(disable=True)
    image, texts = torch.zeros(1, 3, 32, 32), {"prompt_embeds": TEXT, "negative_prompt_embeds": -TEXT}
    draw_from = {"image": image, "strength": 1.0, "num_inference_steps": 6, "output_type": "pt"}
    expected = other(**texts, **draw_from, generator=torch.Generator().manual_seed(0)).images
    overtaken, made = while_inside(
        pipeline, lambda: other(**texts, **draw_from, generator=torch.Generator().manual_seed(0)).images
    )
    assert isinstance(overtaken, ConfigError)
    assert torch.equal(made, expected)


class Counting(nn.Module):
    """A denoiser of one number that knows how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.n_calls = nn.Parameter(torch.tensor(0.1)), 0

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor]:
        self.n_calls += 1
        return (latents * self.factor,)


@pytest.mark.parametrize("copied_first", [True, False])
def test_a_scheduler_copied_for_something_beside_moves_nothing(copied_first: bool) -> None:
    """As LTX-2 does for the audio: it copies its scheduler, and steps both."""
    members = {"S": Counting(), "L": Counting()}
    denoiser, scheduler = StitchedDenoiser(members), DDIMScheduler(clip_sample=False)
    denoiser.watch(scheduler, Allocation.parse("S*2-L*4"))
    if copied_first:
        beside = copy.deepcopy(scheduler)
        beside.set_timesteps(6)
        scheduler.set_timesteps(6)
    else:
        scheduler.set_timesteps(6)
        beside = copy.deepcopy(scheduler)
    latents = sound = torch.ones(1, 4, 2, 2)
    with torch.no_grad():
        for t in scheduler.timesteps:
            (prediction,) = denoiser(latents)
            latents = scheduler.step(prediction, t, latents).prev_sample
            sound = beside.step(prediction, t, sound).prev_sample
    assert (members["S"].n_calls, members["L"].n_calls) == (2, 4)
    assert torch.equal(latents, sound)


def test_a_member_that_remembers_its_calls_serves_one_call_at_a_time() -> None:
    members = {"S": new_unet(1, 4), "L": new_unet(2, 12)}
    members["S"].is_stateful = True  # as an accelerated one says
    pipeline = stitched(**members)
    _, refused = while_inside(pipeline, lambda: draw(stitch(copy.copy(pipeline), "S*6")))
    assert isinstance(refused, ConfigError)
    assert "a member is in use" in str(refused)
    _, made = while_inside(pipeline, lambda: draw(stitch(copy.copy(pipeline), "L*6")))
    assert torch.equal(made, draw(stitched("L*6")))


@pytest.mark.parametrize("how", ["model", "group"])
def test_copies_of_an_offloaded_pipeline_take_turns(how: str) -> None:
    """diffusers moves the members to the device and back around a call. The device is the CPU here."""
    pytest.importorskip("accelerate")
    pipeline = stitched()
    expected = draw(pipeline)
    if how == "model":
        pipeline.enable_model_cpu_offload(device="cpu")
    else:
        pipeline.enable_group_offload(torch.device("cpu"), num_blocks_per_group=1, offload_type="block_level")
        assert all(list(groups_of(member)) for member in pipeline.unet.members)
    first, refused = while_inside(pipeline, lambda: draw(stitch(copy.copy(pipeline), "S*6")))
    assert torch.equal(first, expected)
    assert isinstance(refused, ConfigError)
    assert "moved to the device for one call at a time" in str(refused)
    assert torch.equal(draw(stitch(copy.copy(pipeline), "S*6")), draw(stitched("S*6")))


def test_a_scheduler_is_saved_and_made_again_under_its_own_name(tmp_path: Path) -> None:
    scheduler = stitched().scheduler
    scheduler.save_pretrained(tmp_path)
    assert '"_class_name": "DDIMScheduler"' in (tmp_path / "scheduler_config.json").read_text()
    assert type(DDIMScheduler.from_pretrained(tmp_path)) is DDIMScheduler
    assert isinstance(scheduler, DDIMScheduler)
    assert type(DPMSolverMultistepScheduler.from_config(scheduler.config)) is DPMSolverMultistepScheduler


def test_a_pipeline_takes_the_entrys_number_of_steps_unless_it_is_told_another() -> None:
    pipeline = stitched()
    assert torch.equal(draw(pipeline), draw(pipeline, num_inference_steps=6))
    with pytest.raises(ConfigError, match="has 6 steps, but the pipeline runs 7") as caught:
        draw(pipeline, num_inference_steps=7)
    assert "num_inference_steps=6" in str(caught.value.hint)


def test_another_scheduler_without_stitching_again_is_refused() -> None:
    pipeline = stitched()
    pipeline.scheduler = DDIMScheduler(clip_sample=False)
    with pytest.raises(ConfigError, match="no trajectory is under way") as caught:
        draw(pipeline)
    assert "stitch(pipeline, entry)" in str(caught.value.hint)


def test_a_stitched_pipeline_is_not_saved_as_if_it_had_one_denoiser(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a stitched pipeline is not saved") as caught:
        stitched().save_pretrained(tmp_path / "new")
    assert "members['XL'].save_pretrained" in str(caught.value.hint)
    assert not (tmp_path / "new").exists()


def test_no_entry_is_refused_with_what_it_means() -> None:
    with pytest.raises(ConfigError, match="nothing that satisfied the limits"):
        stitch(stitched(), None)


def test_what_diffusers_makes_anew_of_a_stitched_pipelines_classes_is_plain() -> None:
    """Pipelines and users make schedulers and pipelines of the class of one that they have."""
    pipeline, unet = stitched(), new_unet(2, 12)
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    plain = type(pipeline)(**{**pipeline.components, "unet": unet, "scheduler": scheduler})
    plain.set_progress_bar_config(disable=True)
    assert torch.equal(draw(plain, num_inference_steps=4), draw(text_pipeline(unet), num_inference_steps=4))

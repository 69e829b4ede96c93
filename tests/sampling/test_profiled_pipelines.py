"""A sampling profile: the bits of the stock pipeline with that scheduler set by hand, and nothing else changes."""

import copy
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers as d
import pytest
import torch
import yaml
from sampling.saved_pipelines import save_pipeline
from sampling.test_deploy_as_studied import table_of
from text_to_image import PROMPTS

from tstitch_search import Allocation, stitch
from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.study_run.key import resolve_facts

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: {scale}
proxy_set: {{chunk_size: 2{prompts}}}
quality: {{objective: inception_score, n_images: 20}}
confirm: {{n_images: 20}}
workers: {{pool: inline, n_workers: 1, device: cpu}}
"""
ByHand = Callable[[Any], Any]
# What a search space says, and what a person would write in its place.
CASES: dict[str, tuple[dict[str, Any], ByHand]] = {
    "sdxl": (
        {"solver": "EulerDiscreteScheduler", "scheduler": {"timestep_spacing": "trailing"}},
        lambda own: d.EulerDiscreteScheduler.from_config(own.config, timestep_spacing="trailing"),
    ),
    "sd3": (
        {"scheduler": {"shift": 5.0}},
        lambda own: d.FlowMatchEulerDiscreteScheduler.from_config(own.config, shift=5.0),
    ),
    "dit": (
        {"solver": "DPMSolverMultistepScheduler", "scheduler": {"timestep_spacing": "trailing"}},
        lambda own: d.DPMSolverMultistepScheduler.from_config(own.config, timestep_spacing="trailing"),
    ),
}


@dataclass(frozen=True)
class Tiny:
    study: Study
    assembly: Assembly
    by_hand: ByHand


@pytest.fixture(scope="module", params=CASES)
def tiny(request: pytest.FixtureRequest, tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    name, (profile, by_hand) = request.param, CASES[request.param]
    folder = tmp_path_factory.mktemp(name) / "family"
    if name == "dit":
        shutil.copytree(tiny_family, folder)
    else:
        folder.mkdir()
        save_pipeline(name, folder)
        (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["profiles"] = {"fast": {"n_steps": 3, **profile}}
    (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    prompts = "" if name == "dit" else ", prompts: prompts.txt"
    (folder / "study.yaml").write_text(STUDY.format(scale=1 if name == "dit" else 3, prompts=prompts))
    study = load_study(folder / "study.yaml")
    return Tiny(study, assemble(study, CPU), by_hand)


def sampled(tiny: Tiny, pipeline: Any, n_steps: int) -> torch.Tensor:
    chunk = Chunk("search", 0, 2)
    conditions = ProxySet.of_study(tiny.study).conditions_of(chunk)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    return tiny.assembly.family.sample(pipeline, conditions, generators, n_steps, tiny.study.config.guidance_scale)


def studied(tiny: Tiny, text: str) -> torch.Tensor:
    allocation = Allocation.parse(text)
    tiny.assembly.turn_to(allocation)
    return sampled(tiny, tiny.assembly.pipeline, allocation.n_steps)


def stock(tiny: Tiny, member: str) -> Any:
    """The pipeline as diffusers has it around one member, with a scheduler of its own."""
    pipeline, denoiser = tiny.assembly.pipeline, tiny.assembly.denoiser
    own = tiny.assembly.schedulers[""]
    slot = next(name for name, part in pipeline.components.items() if part is denoiser)
    parts = {
        **pipeline.components,
        slot: denoiser.member(member),
        "scheduler": type(own).__mro__[1].from_config(own.config),
    }
    made = type(pipeline)(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def test_a_member_alone_makes_the_bits_of_the_stock_pipeline_with_that_scheduler(tiny: Tiny) -> None:
    for member in ("S", tiny.study.space.names[-1]):
        by_hand = stock(tiny, member)
        own_bits = sampled(tiny, by_hand, 3)
        by_hand.scheduler = tiny.by_hand(by_hand.scheduler)
        expected = sampled(tiny, by_hand, 3)
        assert not torch.equal(own_bits, expected)  # the profile says something
        assert torch.equal(studied(tiny, f"{member}*3@fast"), expected)


def test_what_has_no_profile_is_the_same_before_and_after_one(tiny: Tiny) -> None:
    expected = sampled(tiny, stock(tiny, "S"), 4)
    assert torch.equal(studied(tiny, "S*4"), expected)
    last = tiny.study.space.names[-1]
    mixed = studied(tiny, f"S*1-{last}*2@fast")
    assert torch.equal(studied(tiny, "S*4"), expected)
    assert torch.equal(studied(tiny, f"S*1-{last}*2@fast"), mixed)
    assert not torch.equal(mixed, studied(tiny, "S*3@fast"))


def test_a_scheduler_of_another_profile_than_the_allocations_is_refused(tiny: Tiny) -> None:
    studied(tiny, "S*4")
    tiny.assembly.denoiser.set_allocation(Allocation.parse("S*3@fast"))
    with pytest.raises(
        ConfigError, match=r"S\*3@fast has the profile 'fast', but the scheduler in the pipeline"
    ) as found:
        sampled(tiny, tiny.assembly.pipeline, 3)
    assert found.value.hint


# -- deployed


def deployed(tiny: Tiny, pipeline: Any, n_steps: int) -> bytes:
    return sampled(tiny, pipeline, n_steps).numpy().tobytes()


def test_four_threads_on_shallow_copies_make_the_studys_bits_and_the_own_scheduler_comes_back(tiny: Tiny) -> None:
    last = tiny.study.space.names[-1]
    texts = {f"S*1-{last}*3": 4, "S*3@fast": 3, f"{last}*4": 4, f"S*1-{last}*2@fast": 3}
    expected = {text: studied(tiny, text).numpy().tobytes() for text in texts}
    assert len(set(expected.values())) == 4
    table = table_of(tiny.study, resolve_facts(tiny.study), *texts)
    pipeline, members = stock(tiny, "S"), dict(zip(tiny.study.space.names, tiny.assembly.denoiser.members, strict=True))
    own = pipeline.scheduler
    stitched = stitch(pipeline, "S*3@fast", members, table=table)
    together = threading.Barrier(4)

    def serve(text: str) -> list[bool]:
        together.wait()
        turns = [text, *texts]
        return [deployed(tiny, stitch(copy.copy(stitched), t), texts[t]) == expected[t] for t in turns]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(serve, texts)) == [[True] * 5] * 4
    stitch(stitched, f"{last}*4")
    assert stitched.scheduler.config == own.config
    assert type(stitched.scheduler).__name__ == type(own).__name__
    assert deployed(tiny, stitched, 4) == expected[f"{last}*4"]
    tiny.study.study_path.with_name("lookup.json").unlink()


def test_a_profile_without_its_table_is_refused(tiny: Tiny) -> None:
    pipeline, members = stock(tiny, "S"), dict(zip(tiny.study.space.names, tiny.assembly.denoiser.members, strict=True))
    with pytest.raises(ConfigError, match="the profile 'fast' is not known here") as found:
        stitch(pipeline, "S*3@fast", members)
    assert "give the table" in found.value.hint

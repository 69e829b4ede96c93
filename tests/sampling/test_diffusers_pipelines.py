"""What holds for every pipeline that draws from prompts, on tiny saved folders of 22 kinds, no space naming any.

A member alone makes the bits of the stock pipeline; two and three members those of a switch made by hand; planted
mismatches are refused; an image does not depend on its batch.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sampling.saved_pipelines import NAMES, SHORTENED, SLOW, save_pipeline
from text_to_image import PROMPTS

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_space, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk
from tstitch_search.members.loading import load_model
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.tasks.check import check_study

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning"),  # of Mochi, in float32
]

CPU = torch.device("cpu")
N_STEPS = 4
STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 3
proxy_set: {{chunk_size: 2, prompts: prompts.txt{further}}}
quality: {{objective: inception_score, n_images: 20}}
confirm: {{n_images: 20}}
latency: {{batch_size: 1}}
workers: {{pool: inline, n_workers: 1, device: cpu, device_batch_size: {batch}}}
"""
# Their clips are made one by one.
ONE_AT_A_TIME = ("hunyuan_video15", "kandinsky5")


@dataclass(frozen=True)
class Tiny:
    name: str
    folder: Path
    study: Study
    assembly: Assembly


class SwitchByHand(torch.nn.Module):
    """Which member answers is read from the timestep of each call: no part of the product."""

    def __init__(self, members: Mapping[str, Any], turns: tuple[str, ...]):
        super().__init__()
        self.all = torch.nn.ModuleDict(members)
        self.turns, self.seen = turns, []

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.all["L"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
        now = float(torch.as_tensor(timestep).flatten()[0])
        self.seen += [now] if now not in self.seen else []
        return self.all[self.turns[self.seen.index(now)]](*args, **kwargs)


@pytest.fixture(scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in NAMES])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = save_pipeline(request.param, tmp_path_factory.mktemp(request.param))
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    further = ""
    if request.param == "sdxl_controlnet":
        (folder / "controls").mkdir()
        for i in range(40):
            Image.new("RGB", (32, 32), (6 * i, 0, 255 - 6 * i)).save(folder / "controls" / f"{i:02}.png")
        further = ", control_images: controls"
    batch = 1 if request.param in ONE_AT_A_TIME else 2
    (folder / "study.yaml").write_text(STUDY.format(further=further, batch=batch))
    study = load_study(folder / "study.yaml")
    assembly = assemble(study, CPU)
    shorten(request.param, assembly.pipeline)
    return Tiny(request.param, folder, study, assembly)


def shorten(name: str, pipeline: Any) -> None:
    for attribute, value in SHORTENED.get(name, {}).items():
        assert hasattr(pipeline, attribute)
        setattr(pipeline, attribute, value)


def images(tiny: Tiny, pipeline: Any, first: int = 0, n_images: int = 2) -> torch.Tensor:
    chunk = Chunk("search", first, first + n_images)
    generators = [torch.Generator().manual_seed(i) for i in range(chunk.first, chunk.last)]
    conditions = ProxySet.of_study(tiny.study).conditions_of(chunk)
    n_at_once = tiny.study.config.workers.device_batch_size
    scale, batches = tiny.study.config.guidance_scale, range(0, n_images, n_at_once)
    parts = [(conditions[i : i + n_at_once], generators[i : i + n_at_once]) for i in batches]
    return torch.cat([tiny.assembly.family.sample(pipeline, *part, N_STEPS, scale) for part in parts])


def stitched(tiny: Tiny, allocation: str, **options: int) -> torch.Tensor:
    tiny.assembly.denoiser.set_allocation(Allocation.parse(allocation))
    return images(tiny, tiny.assembly.pipeline, **options)


def stock_with(tiny: Tiny, denoiser: Any) -> Any:
    """The pipeline as diffusers has it, around the denoiser, called as the space says."""
    pipeline = tiny.assembly.pipeline
    slots = [name for name, part in pipeline.components.items() if part is tiny.assembly.denoiser]
    assert slots == (["transformer", "transformer_2"] if tiny.name == "wan22" else slots[:1])
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    parts = {**pipeline.components, **dict.fromkeys(slots, denoiser), "scheduler": scheduler}
    if tiny.name == "wan22":
        parts["boundary_ratio"] = pipeline.config.boundary_ratio
    stock = type(pipeline)(**parts, **({"requires_safety_checker": False} if "safety_checker" in parts else {}))
    stock.set_progress_bar_config(disable=True)
    shorten(tiny.name, stock)
    denoiser.defaults = dict(tiny.study.space.call)
    return stock


def members(tiny: Tiny) -> dict[str, Any]:
    return {name: load_model(tiny.folder / name, CPU, torch.float32).eval() for name in "SBL"}


def test_a_member_alone_is_bit_equal_to_the_stock_pipeline(tiny: Tiny) -> None:
    for name, member in members(tiny).items():
        made = stitched(tiny, f"{name}*4")
        assert torch.equal(made, images(tiny, stock_with(tiny, member)))
        assert torch.isfinite(made).all()


@pytest.mark.parametrize("allocation", ["S*1-L*3", "L*2-S*2", "S*1-B*2-L*1"])
def test_two_and_three_members_are_bit_equal_to_a_switch_by_hand(tiny: Tiny, allocation: str) -> None:
    turns = Allocation.parse(allocation).by_step
    made = stitched(tiny, allocation)
    assert torch.equal(made, images(tiny, stock_with(tiny, SwitchByHand(members(tiny), turns))))
    assert not torch.equal(made, stitched(tiny, "L*4"))


def test_an_image_is_the_same_in_whatever_batch_it_is_made(tiny: Tiny) -> None:
    whole = stitched(tiny, "S*2-L*2")
    parts = [stitched(tiny, "S*2-L*2", first=i, n_images=1) for i in range(2)]
    assert ((torch.cat(parts) * 255).round() - (whole * 255).round()).abs().max() <= 1
    assert not torch.equal(whole[0], whole[1])


def test_prompts_that_were_encoded_once_are_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    prompts, fresh = tiny.assembly.prompts, stitched(tiny, "S*2-L*2")
    assert prompts is not None
    prompts.folder = tmp_path
    stitched(tiny, "S*2-L*2")
    assert list(tmp_path.iterdir())
    prompts.leave()
    assert torch.equal(stitched(tiny, "S*2-L*2"), fresh)
    assert prompts.encoders_mb == 0
    prompts.folder = None


def test_a_batch_that_would_not_be_what_its_clips_are_alone_is_refused(tiny: Tiny) -> None:
    study = load_study(tiny.folder / "study.yaml", ["workers.device_batch_size=2"])
    if tiny.name not in ONE_AT_A_TIME:
        assert check_study(study).problem is None
        return
    with pytest.raises(ConfigError, match=r"device_batch_size: got 2, but .*Pipeline takes 1: .*clip"):
        check_study(study)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_check_finds_that_members_fit(tiny: Tiny) -> None:
    found = check_study(tiny.study)
    assert found.problem is None
    assert {match.verdict for match in found.matches} == {"same"}


@pytest.mark.parametrize("kind", ["channels", "conditioning", "VAE scale", "noise"])
def test_a_planted_mismatch_is_refused(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "copy"))
    for part in ("vae", "scheduler"):
        shutil.copytree(folder / part, folder / "B" / part)
    config = json.loads((folder / "B" / "config.json").read_text())
    widths = (
        "caption_channels",
        "joint_attention_dim",
        "cap_feat_dim",
        "text_dim",
        "text_embed_dim",
        "in_text_dim",
        "cross_attention_dim",
    )
    width = next(key for key in widths if config.get(key))
    flow = tiny.name not in ("stable_diffusion", "sdxl", "sdxl_controlnet", "pixart_sigma", "cogvideox")
    other = {"use_flow_sigmas": False, "_class_name": "DDIMScheduler"} if flow else {"beta_end": 0.03}
    file, values = {
        "channels": ("config.json", {"in_visual_dim" if tiny.name == "kandinsky5" else "in_channels": 11}),
        "conditioning": ("config.json", {width: 1021}),
        "VAE scale": ("vae/config.json", {"scaling_factor": 0.5}),
        "noise": ("scheduler/scheduler_config.json", other),
    }[kind]
    change(folder / "B" / file, **values)
    problem = str(check_study(load_study(folder / "study.yaml")).problem)
    assert problem.startswith("denoiser 'B' has")


def test_an_unknown_argument_is_refused_with_the_nearest_name(tiny: Tiny) -> None:
    space = tiny.study.space.model_copy(update={"call": {"hieght": 16}})
    study = tiny.study.model_copy(update={"space": space})
    with pytest.raises(ConfigError, match="takes no 'hieght'") as error:
        check_study(study)
    assert "'height'" in str(error.value.hint)


def with_class(tiny_folder: Path, name: str) -> Path:
    change(tiny_folder / "model_index.json", _class_name=name)
    return tiny_folder / "study.yaml"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("UnCLIPPipeline", "has neither a transformer nor a unet"),
        ("DDPMPipeline", "has no vae"),
        ("StableDifusionPipeline", "which diffusers .* does not have"),
    ],
)
def test_a_pipeline_that_cannot_be_driven_is_refused_by_check(tmp_path: Path, name: str, why: str) -> None:
    folder = save_pipeline("stable_diffusion", tmp_path)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    (folder / "study.yaml").write_text(STUDY.format(further="", batch=2))
    with pytest.raises(ConfigError, match=why):
        check_study(load_study(with_class(folder, name)))


def test_arguments_of_the_call_are_part_of_the_key(tiny: Tiny) -> None:
    from tstitch_search.study_run.key import resolve_facts

    plain, space = resolve_facts(tiny.study), load_space(tiny.folder / "space.yaml")
    other = space.model_copy(update={"call": {**space.call, "max_sequence_length": 8}})
    changed = resolve_facts(tiny.study.model_copy(update={"space": other}))
    assert plain.key != changed.key

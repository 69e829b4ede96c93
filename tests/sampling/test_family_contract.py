"""What every model family holds to, on tiny members of random weights loaded as a study loads them.

A family that is added to TRAITS needs a case here: `test_no_family_is_forgotten` says so.
"""

import itertools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DiTTransformer2DModel
from PIL import Image
from sampling.tiny_families import save_ldm, save_sana
from text_to_image import PROMPTS, save_sdxl, save_sdxl_controlnet, save_stable_diffusion

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.config.family_traits import TRAITS
from tstitch_search.measure.memory import tensors_mb
from tstitch_search.measurement import Chunk
from tstitch_search.members.loading import load_model
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.tasks.check import check_study

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
N_IMAGES, N_STEPS = 3, 4
STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 3
proxy_set: {{chunk_size: 2{proxy_set}}}
quality: {{objective: inception_score, n_images: 20}}
confirm: {{n_images: 20}}
workers: {{pool: inline, n_workers: 1, device: cpu}}
"""
BY_PROMPTS = ", prompts: prompts.txt, negative_prompt: blurry"

# What a member's own repository may say that does not fit: the file, the values in it, and what `check` says of it.
Mismatch = tuple[str, Mapping[str, Any], str]
VAE_SCALE: Mismatch = ("vae/config.json", {"scaling_factor": 0.5}, "has a VAE with scaling_factor 0.5")
SCHEDULER = "scheduler/scheduler_config.json"
SCHEDULE: Mismatch = (SCHEDULER, {"beta_schedule": "linear", "beta_end": 0.03}, "other amounts of noise")
PREDICTION: Mismatch = (SCHEDULER, {"prediction_type": "sample"}, "sample becomes")
TEXT_WIDTH: Mismatch = ("config.json", {"cross_attention_dim": 1024}, "has conditioning width 1024")
NO_FLOW: Mismatch = (SCHEDULER, {"use_flow_sigmas": False}, "flow_prediction is none of")
EPSILON: Mismatch = (SCHEDULER, {"use_flow_sigmas": False, "prediction_type": "epsilon"}, "flow_prediction is none of")


@dataclass(frozen=True)
class Case:
    """A family on disk: `save(folder, tiny_family)` writes it, with space.yaml; `conditioning` is a mismatch of it."""

    family: str
    save: Callable[[Path, Path], object]
    conditioning: Mismatch
    proxy_set: str = BY_PROMPTS
    schedule: Mismatch = SCHEDULE
    prediction: Mismatch = PREDICTION
    convertible: bool = True


def _save_dit(folder: Path, tiny_family: Path) -> None:
    """The tiny family with 1000 classes: a stock DiTPipeline knows no other "no label" than 1000."""
    shutil.copytree(tiny_family, folder, dirs_exist_ok=True)
    for name in ("S", "B", "XL"):
        config = {**DiTTransformer2DModel.load_config(folder / name), "num_embeds_ada_norm": 1000}
        DiTTransformer2DModel.from_config(config).save_pretrained(folder / name)
    space = folder / "space.yaml"
    space.write_text(space.read_text().replace("n_classes: 10", "n_classes: 1000"))


def _save_lcm(folder: Path, _: Path) -> None:
    save_sdxl(folder, time_cond_proj_dim=8)
    with (folder / "space.yaml").open("a") as file:
        file.write("solver: LCMScheduler\n")


CASES = {
    "dit": Case("dit", _save_dit, ("config.json", {"num_embeds_ada_norm": 7}, "has classes 7"), proxy_set=""),
    "ldm": Case(
        "ldm",
        lambda folder, tiny: save_ldm(folder, tiny / "vae"),
        ("config.json", {"num_class_embeds": 10, "null_seed": None}, "has classes 9"),
        proxy_set="",
    ),
    "stable_diffusion": Case("stable_diffusion", lambda folder, _: save_stable_diffusion(folder), TEXT_WIDTH),
    "sdxl": Case("sdxl", lambda folder, _: save_sdxl(folder), TEXT_WIDTH),
    "lcm": Case("sdxl", _save_lcm, TEXT_WIDTH),
    "sdxl_controlnet": Case(
        "sdxl_controlnet",
        lambda folder, _: save_sdxl_controlnet(folder),
        TEXT_WIDTH,
        proxy_set=f"{BY_PROMPTS}, control_images: controls",
    ),
    "sana": Case(
        "sana",
        lambda folder, _: save_sana(folder),
        ("config.json", {"caption_channels": 16}, "has conditioning width 16"),
        schedule=NO_FLOW,
        prediction=EPSILON,
        convertible=False,
    ),
}


@dataclass(frozen=True)
class Tiny:
    """A case on disk, and assembled."""

    case: Case
    folder: Path
    study: Study
    assembly: Assembly


@pytest.fixture(scope="module", params=CASES)
def tiny(request: pytest.FixtureRequest, tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    case, folder = CASES[request.param], tmp_path_factory.mktemp(request.param)
    case.save(folder, tiny_family)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    (folder / "controls").mkdir()
    for i in range(40):
        Image.new("RGB", (32, 32), (6 * i, 0, 255 - 6 * i)).save(folder / "controls" / f"{i:02}.png")
    (folder / "study.yaml").write_text(STUDY.format(proxy_set=case.proxy_set))
    study = load_study(folder / "study.yaml")
    return Tiny(case, folder, study, assemble(study, CPU))


def names(tiny: Tiny) -> list[str]:
    return [denoiser.name for denoiser in tiny.study.space.denoisers]


def images(tiny: Tiny, pipeline: Any, first: int = 0, n_steps: int = N_STEPS, n_images: int = N_IMAGES) -> torch.Tensor:
    """Images of the study's proxy set, by the family's adapter."""
    chunk, guidance = Chunk("search", first, first + n_images), tiny.study.config.guidance_scale
    generators = [torch.Generator().manual_seed(i) for i in range(chunk.first, chunk.last)]
    conditions = ProxySet.of_study(tiny.study).conditions_of(chunk)
    return tiny.assembly.family.sample(pipeline, conditions, generators, n_steps, guidance)


def stitched(tiny: Tiny, allocation: Allocation, **options: int) -> torch.Tensor:
    tiny.assembly.denoiser.set_allocation(allocation)
    return images(tiny, tiny.assembly.pipeline, n_steps=allocation.n_steps, **options)


def test_no_family_is_forgotten() -> None:
    assert {case.family for case in CASES.values()} == set(TRAITS)


def test_all_steps_to_one_member_is_bit_equal_to_the_stock_pipeline(tiny: Tiny) -> None:
    """Of a class that TRAITS names, with that member in the slot of the stitched denoiser."""
    assert type(tiny.assembly.pipeline).__name__ in TRAITS[tiny.study.space.family].pipelines
    for name in names(tiny)[:2]:
        stock = stock_with(tiny, load_model(tiny.folder / name, CPU, torch.float32).eval())
        assert torch.equal(stitched(tiny, Allocation.of([(name, N_STEPS)])), images(tiny, stock))


def stock_with(tiny: Tiny, denoiser: torch.nn.Module) -> Any:
    """The pipeline as diffusers has it, around the denoiser."""
    pipeline = tiny.assembly.pipeline
    slots = [name for name, part in pipeline.components.items() if part is tiny.assembly.denoiser]
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    parts = {**pipeline.components, **dict.fromkeys(slots, denoiser), "scheduler": scheduler}
    stock = type(pipeline)(**parts, **({"requires_safety_checker": False} if "safety_checker" in parts else {}))
    stock.set_progress_bar_config(disable=True)
    return stock


@pytest.fixture(scope="module")
def guided(tiny: Tiny) -> Tiny:
    """The same with two members more of the largest one's weights: without guidance, and with one of 2."""
    text = (tiny.folder / "space.yaml").read_text()
    space = yaml.safe_load(text)
    last = space["denoisers"][-1]["name"]
    space["denoisers"] += [{"name": "Free", "of": last, "guidance_scale": 1}]
    space["denoisers"] += [{"name": "Weak", "of": last, "guidance_scale": 2}]
    (tiny.folder / "guided_space.yaml").write_text(yaml.safe_dump(space))
    study = (tiny.folder / "study.yaml").read_text().replace("space.yaml", "guided_space.yaml")
    (tiny.folder / "guided_study.yaml").write_text(study)
    loaded = load_study(tiny.folder / "guided_study.yaml")
    return Tiny(tiny.case, tiny.folder, loaded, assemble(loaded, CPU))


def largest(tiny: Tiny) -> torch.nn.Module:
    return load_model(tiny.folder / names(tiny)[-3], CPU, torch.float32).eval()


def at_guidance(tiny: Tiny, scale: float) -> Tiny:
    config = tiny.study.config.model_copy(update={"guidance_scale": scale})
    return replace(tiny, study=tiny.study.model_copy(update={"config": config}))


def test_a_member_without_guidance_alone_is_the_pipeline_with_guidance_off_at_half_the_work(guided: Tiny) -> None:
    stock = images(at_guidance(guided, 1.0), stock_with(guided, largest(guided)))
    denoiser, rows = guided.assembly.denoiser, []
    member = denoiser.members[denoiser.names.index("Free")]
    with member.register_forward_pre_hook(
        lambda _, args, named: rows.append(len([*args, *named.values()][0])), with_kwargs=True
    ):
        made = stitched(guided, Allocation.parse(f"Free*{N_STEPS}"))
    if guided.case.family == "sdxl_controlnet":  # the ControlNet sees both halves still, and rounds otherwise
        torch.testing.assert_close(made, stock, atol=1e-5, rtol=0)
    else:
        assert torch.equal(made, stock)
    assert set(rows) == {N_IMAGES}


def test_a_member_of_another_guidance_alone_is_the_pipeline_with_that_guidance(guided: Tiny) -> None:
    stock = images(at_guidance(guided, 2.0), stock_with(guided, largest(guided)))
    torch.testing.assert_close(stitched(guided, Allocation.parse(f"Weak*{N_STEPS}")), stock, atol=1e-5, rtol=0)
    others = [stitched(guided, Allocation.of([(name, N_STEPS)])) for name in (names(guided)[-3], "Free")]
    assert all((other - stock).abs().max() > 1e-3 for other in others)


def test_members_of_one_set_of_weights_hold_it_once(guided: Tiny) -> None:
    denoiser = guided.assembly.denoiser
    base, free, weak = (denoiser.members[denoiser.names.index(n)] for n in (names(guided)[-3], "Free", "Weak"))
    assert len({id(base), id(free), id(weak)}) == 3
    assert tensors_mb([base, free, weak]) == tensors_mb([base]) > 0


@pytest.mark.parametrize("n_steps", [4, 2])
def test_two_and_three_members_generate(tiny: Tiny, n_steps: int) -> None:
    first, second, last = names(tiny)
    splits = [[(first, n_steps)], [(last, n_steps)], [(first, n_steps // 2), (last, n_steps // 2)]]
    splits += [[(first, 1), (second, 2), (last, 1)], [(last, 2), (first, 2)]] if n_steps == 4 else []
    made = [stitched(tiny, Allocation.of(split), n_images=1) for split in splits]
    for image in made:
        assert torch.isfinite(image).all()
        assert 0 <= image.min() < image.max() <= 1
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(made, 2))


def test_an_image_is_the_same_in_whatever_batch_it_is_made(tiny: Tiny) -> None:
    allocation = Allocation.of([(names(tiny)[0], 2), (names(tiny)[-1], 2)])
    whole = stitched(tiny, allocation)
    parts = [stitched(tiny, allocation, first=i, n_images=n) for i, n in ((0, 1), (1, 2))]
    assert ((torch.cat(parts) * 255).round() - (whole * 255).round()).abs().max() <= 1
    assert not torch.equal(whole[0], whole[1])


@pytest.fixture
def damaged(tiny: Tiny, tmp_path: Path) -> Callable[[Mismatch], Path]:
    """Plants a mismatch in a copy whose second member has a whole repository of its own; the path of its study."""
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "copy"))
    for part in ("vae", "scheduler"):
        shutil.copytree(folder / part, folder / names(tiny)[1] / part)

    def plant(mismatch: Mismatch) -> Path:
        place, values, _ = mismatch
        path = folder / names(tiny)[1] / place
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        return folder / "study.yaml"

    return plant


def test_members_fit_before_anything_is_damaged(tiny: Tiny, damaged: Callable[[Mismatch], Path]) -> None:
    found = check_study(load_study(damaged(("config.json", {}, ""))))
    assert found.problem is None
    assert {match.verdict for match in found.matches} == {"same"}


@pytest.mark.parametrize("kind", ["VAE scale", "noise schedule", "prediction type", "conditioning width"])
def test_a_planted_mismatch_is_refused_by_check(tiny: Tiny, damaged: Callable[[Mismatch], Path], kind: str) -> None:
    """What a formula leads from, schedules and prediction types, passes where the space says `convert`; no other."""
    case = tiny.case
    planted = {"VAE scale": VAE_SCALE, "noise schedule": case.schedule, "prediction type": case.prediction}
    mismatch = planted.get(kind, case.conditioning)
    study = damaged(mismatch)
    problem = str(check_study(load_study(study)).problem)
    assert problem.startswith(f"denoiser '{names(tiny)[1]}' has")
    assert mismatch[2] in problem
    converted = check_study(load_study(study, ["space.convert=true"])).problem
    assert (converted is None) == (case.convertible and kind in ("noise schedule", "prediction type"))

"""With its table, an entry in a stock pipeline makes the images of its study: the same bits, whatever its members."""

import copy
import json
import runpy
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoModel,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from members.checkpoint_files import dit_weights, uvit_weights
from PIL import Image
from text_to_image import PROMPTS, save_stable_diffusion
from torch import nn
from transformers import AutoTokenizer, CLIPTextModel

from tstitch_search import Allocation, LookupTable, stitch
from tstitch_search.config import Study, load_study, study_document
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupEntry, OperatingPoint, build_table
from tstitch_search.measure.features import to_uint8
from tstitch_search.members.formats.checkpoint_models import load_checkpoint
from tstitch_search.sampling.assembly import assemble
from tstitch_search.sampling.conditions import Condition
from tstitch_search.study_run.key import StudyFacts, resolve_facts
from tstitch_search.study_run.table import denoiser_facts

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

EXAMPLES = Path(__file__).parents[2] / "examples"
CPU = torch.device("cpu")
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def table_of(study: Study, facts: StudyFacts, *allocations: str) -> LookupTable:
    """A table with these entries, and the provenance that a run of the study would give it, read from its file."""
    entries = [
        LookupEntry(
            allocation=Allocation.parse(allocation),
            latency_s=float(place),
            latency_s_se=0.1,
            latency_s_predicted=float(place),
            quality=10.0 - place,
            quality_se=0.1,
            n_images=20,
            peak_memory_mb=None,
            confirmed=True,
        )
        for place, allocation in enumerate(allocations, start=1)
    ]
    folder = study.study_path.parent
    denoisers = [denoiser_facts(d, facts) for d in study.space.denoisers]
    provenance = {"study": study_document(study, folder), "denoisers": denoisers, "key": dict(facts.key)}
    table = build_table("tiny", [OperatingPoint("default", "a cpu", 2)], entries, [], provenance)
    table.write(folder / "lookup.json")
    return LookupTable.read(folder / "lookup.json")


def seeded() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (5, 6)]


def studied(study: Study, allocation: str) -> torch.Tensor:
    """Two images as the study's measurer makes them."""
    made = assemble(study, CPU)
    made.denoiser.set_allocation(Allocation.parse(allocation))
    conditions = [Condition(label, prompt, "") for label, prompt in enumerate(PROMPTS[:2])]
    n_steps, scale = study.space.n_steps, study.config.guidance_scale
    return to_uint8(made.family.sample(made.pipeline, conditions, seeded(), n_steps, scale))


def by_labels(pipeline: Any, study: Study) -> torch.Tensor:
    """The same two from a stock pipeline, as its own documentation calls it."""
    n_steps, scale = study.space.n_steps, study.config.guidance_scale
    options = {"num_inference_steps": n_steps, "guidance_scale": scale, "generator": seeded()}
    return to_uint8(pipeline([0, 1], output_type="pt", **options).images)


def dit_pipeline(folder: Path, transformer: nn.Module) -> DiTPipeline:
    vae, scheduler = AutoencoderKL.from_pretrained(folder / "vae"), folder / "scheduler"
    kind = json.loads((scheduler / "scheduler_config.json").read_text())["_class_name"]
    pipeline = DiTPipeline(
        transformer=transformer,
        vae=vae,
        scheduler={"DDIMScheduler": DDIMScheduler, "DDPMScheduler": DDPMScheduler}[kind].from_pretrained(scheduler),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def study_in(folder: Path, study: str, denoisers: list[str], **options: object) -> Study:
    lines = [f"{key}: {value}" for key, value in options.items()]
    lines += ["name: tiny", "pipeline: .", "n_steps: 4", "denoisers:", *(f"  - {{{text}}}" for text in denoisers)]
    (folder / "space.yaml").write_text("\n".join(lines))
    (folder / "study.yaml").write_text(study)
    return load_study(folder / "study.yaml")


@pytest.fixture
def family(tiny_family: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_family, tmp_path / "family"))


def loaded(folder: Path, *names: str) -> dict[str, Any]:
    return {name: AutoModel.from_pretrained(str(folder / name)) for name in names}


def test_members_alike(family: Path) -> None:
    study, allocation = load_study(family / "study.yaml"), "S*1-B*1-XL*2"
    table, members = table_of(study, resolve_facts(study), allocation), loaded(family, "XL", "B", "S")
    pipeline = stitch(dit_pipeline(family, members["XL"]), table.entries[0], members, table=table)
    assert torch.equal(by_labels(pipeline, study), studied(study, allocation))


def test_accelerated_members_are_made_of_the_plain_ones_which_stay_plain(family: Path) -> None:
    listed = ["name: U, weights: U", "name: U+deepcache2, weights: U, accelerator: deepcache2"]
    listed += ["name: XL, weights: XL", "name: fast, weights: XL, accelerator: taylorseer3"]
    study = study_in(family, (family / "study.yaml").read_text(), listed, family="dit", n_classes=10)
    allocation = "U+deepcache2*3-XL*1"
    table, members = table_of(study, resolve_facts(study), allocation), loaded(family, "U", "XL")
    pipeline = dit_pipeline(family, members["XL"])
    for _ in range(2):  # members may be given again
        stitch(pipeline, table.entries[0], members, table=table)
        assert torch.equal(by_labels(pipeline, study), studied(study, allocation))
    for other in ("fast*4", "U*1-fast*2-U+deepcache2*1", "U*2-XL*2"):
        assert torch.equal(by_labels(stitch(pipeline, other), study), studied(study, other))
    n_loaded = sum(parameter.numel() for member in members.values() for parameter in member.parameters())
    assert sum(parameter.numel() for parameter in pipeline.transformer.parameters()) == n_loaded


def test_accelerated_members_draw_at_once_what_they_draw_one_by_one(family: Path) -> None:
    """What they remember is each call's own, over the same weights."""
    listed = ["name: U, weights: U", "name: U+deepcache2, of: U, accelerator: deepcache2"]
    listed += ["name: XL, weights: XL", "name: fast, of: XL, accelerator: taylorseer3"]
    study = study_in(family, (family / "study.yaml").read_text(), listed, family="dit", n_classes=10)
    allocations = ["U+deepcache2*4", "fast*4", "U+deepcache2*2-fast*2", "fast*2-U+deepcache2*2"]
    table, members = table_of(study, resolve_facts(study), *allocations), loaded(family, "U", "XL")
    pipeline = stitch(dit_pipeline(family, members["XL"]), table.entries[0], members, table=table)
    expected = [by_labels(stitch(copy.copy(pipeline), allocation), study) for allocation in allocations]
    requests = [stitch(copy.copy(pipeline), allocation) for allocation in allocations * 2]
    start = threading.Barrier(len(requests))

    def draw(request: DiTPipeline) -> torch.Tensor:
        start.wait(30)
        return by_labels(request, study)

    with ThreadPoolExecutor(len(requests)) as pool:
        made = list(pool.map(draw, requests))
    assert [torch.equal(image, e) for image, e in zip(made, expected * 2, strict=True)] == [True] * 8
    n_loaded = sum(parameter.numel() for member in members.values() for parameter in member.parameters())
    assert sum(parameter.numel() for parameter in pipeline.transformer.parameters()) == n_loaded


GUIDED = ["name: S, weights: S", "name: XL-free, weights: XL, guidance_scale: 1", "name: XL, of: XL-free"]


def test_members_of_their_own_guidance_are_made_of_the_modules_given(family: Path) -> None:
    listed = [*GUIDED[:2], "name: XL, of: XL-free, guidance_scale: 2"]
    study = study_in(family, (family / "study.yaml").read_text(), listed, family="dit", n_classes=10)
    allocation = "XL-free*1-XL*1-S*2"
    table, members = table_of(study, resolve_facts(study), allocation), loaded(family, "S", "XL")
    pipeline = stitch(dit_pipeline(family, members["XL"]), table.entries[0], members, table=table)
    assert torch.equal(by_labels(pipeline, study), studied(study, allocation))
    for other in ("XL-free*4", "XL*4"):
        assert torch.equal(by_labels(stitch(pipeline, other), study), studied(study, other))
    n_loaded = sum(parameter.numel() for member in members.values() for parameter in member.parameters())
    assert sum(parameter.numel() for parameter in pipeline.transformer.parameters()) == n_loaded


def test_another_guidance_than_the_studys_is_refused_where_members_have_their_own(family: Path) -> None:
    study = study_in(family, (family / "study.yaml").read_text(), GUIDED, family="dit", n_classes=10)
    table, members = table_of(study, resolve_facts(study), "XL-free*4"), loaded(family, "S", "XL")
    pipeline = stitch(dit_pipeline(family, members["XL"]), table.entries[0], members, table=table)
    with pytest.raises(ConfigError, match="guidance_scale=1: the member 'XL-free' has a guidance of its own"):
        pipeline([0], guidance_scale=1)
    assert stitch(pipeline, "S*4")([0], guidance_scale=1).images  # which nobody of this entry minds


def test_a_member_that_is_missing_is_named_with_those_it_could_be_made_of(family: Path) -> None:
    study = study_in(family, (family / "study.yaml").read_text(), GUIDED, family="dit", n_classes=10)
    table, members = table_of(study, resolve_facts(study), "XL-free*4"), loaded(family, "S")
    with pytest.raises(ConfigError, match="needs the denoiser 'XL-free' or 'XL', got S"):
        stitch(dit_pipeline(family, members["S"]), table.entries[0], members, table=table)


def checkpoints(folder: Path, family: Path, scheduler: Any) -> Path:
    """A DiT of 64 channels and a larger one, both with learned variances, and a U-ViT of 128, as their files."""
    torch.save(dit_weights(64), folder / "DiT-S.pt")
    torch.save(dit_weights(128), folder / "DiT-L.pt")
    torch.save(uvit_weights(128), folder / "uvit.pth")
    for name in ("vae", "features.safetensors", "reference.npz"):
        (shutil.copytree if name == "vae" else shutil.copy)(family / name, folder / name)
    scheduler.save_pretrained(folder / "scheduler")
    return folder


def test_a_dit_beside_a_u_vit_with_another_solver_and_guided_channels(tiny_family: Path, tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, tiny_family, DDIMScheduler(clip_sample=False, **STABLE_DIFFUSION))
    listed = ["name: S, weights: DiT-S.pt, format: dit", "name: H, weights: uvit.pth, format: uvit"]
    options = {"solver": "DPMSolverMultistepScheduler", "convert": "true", "guided_channels": 1, "n_classes": 10}
    study = study_in(folder, (tiny_family / "study.yaml").read_text(), listed, family="dit", **options)
    table = table_of(study, resolve_facts(study), "S*2-H*2")
    members = {"S": load_checkpoint(folder / "DiT-S.pt", "dit"), "H": load_checkpoint(folder / "uvit.pth", "uvit")}
    pipeline = dit_pipeline(folder, members["H"])
    # DiTPipeline itself says "no label" to class 1000, of which these have no embedding: the adapter sees to that
    with_table = by_labels(stitch(pipeline, table.entries[0], members, table=table), study)
    assert torch.equal(with_table, studied(study, "S*2-H*2"))
    without = by_labels(stitch(dit_pipeline(folder, members["H"]), table.entries[0], members), study)
    assert not torch.equal(without, with_table)


def test_learned_variances(tiny_family: Path, tmp_path: Path) -> None:
    """Step noise is the process's own in a plain call, so that the seeds are given as the study gives them."""
    folder = checkpoints(tmp_path, tiny_family, DDPMScheduler(clip_sample=False))
    listed = ["name: S, weights: DiT-S.pt, format: dit", "name: L, weights: DiT-L.pt, format: dit"]
    options = {"learned_variance": "true", "n_classes": 10}
    study = study_in(folder, (tiny_family / "study.yaml").read_text(), listed, family="dit", **options)
    table = table_of(study, resolve_facts(study), "S*2-L*2")
    members = {name: load_checkpoint(folder / f"DiT-{name}.pt", "dit") for name in ("S", "L")}
    pipeline = stitch(dit_pipeline(folder, members["L"]), "S*2-L*2", members, table=table)
    assert pipeline.scheduler.config.variance_type == "learned_range"
    from tstitch_search.sampling.families import dit

    conditions = [Condition(label) for label in (0, 1)]
    images = dit.sample(pipeline, conditions, seeded(), 4, study.config.guidance_scale)
    assert torch.equal(to_uint8(images), studied(study, "S*2-L*2"))


TEXT_STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 5
proxy_set: {prompts: prompts.txt, chunk_size: 2}
quality: {extractor: fashion-cnn, extractor_weights: features.safetensors, reference: reference.npz, n_images: 20}
confirm: {n_images: 20}
workers: {device: cpu}
"""


def v_prediction_beside_epsilon(folder: Path, family: Path) -> Path:
    """The member S says that it was trained for v-prediction; the pipeline's solver expects epsilon."""
    save_stable_diffusion(folder)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    for name in ("features.safetensors", "reference.npz"):
        shutil.copy(family / name, folder / name)
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    text = json.dumps({**config, "prediction_type": "v_prediction"})
    (folder / "S" / "scheduler_config.json").write_text(text)
    return folder


def text_pipeline(folder: Path, unet: nn.Module) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        scheduler=PNDMScheduler.from_pretrained(folder / "scheduler"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def by_prompts(pipeline: Any, study: Study) -> torch.Tensor:
    n_steps, scale = study.space.n_steps, study.config.guidance_scale
    options = {"num_inference_steps": n_steps, "guidance_scale": scale, "generator": seeded()}
    return to_uint8(pipeline(PROMPTS[:2], output_type="pt", **options).images)


@pytest.mark.parametrize("solver", [None, "DDIMScheduler"])
def test_v_prediction_beside_epsilon(tiny_family: Path, tmp_path: Path, solver: str | None) -> None:
    folder = v_prediction_beside_epsilon(tmp_path, tiny_family)
    options = {"family": "stable_diffusion", "convert": "true", **({"solver": solver} if solver else {})}
    study = study_in(folder, TEXT_STUDY, ["name: S, weights: S", "name: L, weights: L"], **options)
    table = table_of(study, resolve_facts(study), "S*2-L*2")
    members = {name: UNet2DConditionModel.from_pretrained(folder / name) for name in ("S", "L")}
    pipeline = stitch(text_pipeline(folder, members["L"]), table.entries[0], members, table=table)
    assert torch.equal(by_prompts(pipeline, study), studied(study, "S*2-L*2"))
    plain = stitch(text_pipeline(folder, members["L"]), table.entries[0], members)
    plain.scheduler = pipeline.scheduler
    assert not torch.equal(by_prompts(stitch(plain, table.entries[0]), study), studied(study, "S*2-L*2"))


def test_the_example_draws_with_two_entries_of_a_table(
    tiny_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = v_prediction_beside_epsilon(tmp_path, tiny_family)
    options = {"family": "stable_diffusion", "convert": "true"}
    study = study_in(folder, TEXT_STUDY, ["name: S, weights: S", "name: L, weights: L"], **options)
    table_of(study, resolve_facts(study), "S*4", "S*2-L*2")
    text_pipeline(folder, UNet2DConditionModel.from_pretrained(folder / "L")).save_pretrained(folder)
    monkeypatch.setattr(sys, "argv", ["deploy_text_to_image.py", str(folder / "lookup.json"), PROMPTS[0]])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "deploy_text_to_image.py"), run_name="__main__")
    assert capsys.readouterr().out.split() == ["S*4", "S*2-L*2"]
    fast, best = (Image.open(tmp_path / name) for name in ("fast.png", "best.png"))
    assert fast.size == best.size == (32, 32)
    assert fast.tobytes() != best.tobytes()


@pytest.fixture
def plain_table(family: Path) -> LookupTable:
    study = load_study(family / "study.yaml")
    return table_of(study, resolve_facts(study), "S*2-XL*2")


def without(table: LookupTable, key: str) -> LookupTable:
    return replace(table, provenance={k: v for k, v in table.provenance.items() if k != key})


def as_recorded(table: LookupTable) -> LookupTable:
    study: Mapping[str, Any] = table.provenance["study"]
    return replace(table, provenance={"study": {**study, "search_space": {**study["search_space"], "pipeline": None}}})


def converted_by_an_earlier_version(table: LookupTable) -> LookupTable:
    denoisers = [{**d, "noise": None} for d in table.provenance["denoisers"]]
    return replace(table, provenance={**table.provenance, "denoisers": denoisers, "key": {"noise.S": "v"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: without(table, "study"), "does not say which study made it"),
        (as_recorded, "holds recorded numbers"),
        (converted_by_an_earlier_version, "says that 'S' was converted, but not from what"),
    ],
)
def test_a_table_that_does_not_say_how_is_refused(
    family: Path, plain_table: LookupTable, change: Callable[[LookupTable], LookupTable], message: str
) -> None:
    members = loaded(family, "S", "XL")
    with pytest.raises(ConfigError, match=message):
        stitch(dit_pipeline(family, members["XL"]), "S*2-XL*2", members, table=change(plain_table))


def test_what_is_not_of_the_table_is_refused(family: Path, tmp_path: Path, plain_table: LookupTable) -> None:
    members = loaded(family, "S", "XL")
    pipeline = dit_pipeline(family, members["XL"])
    with pytest.raises(ConfigError, match="the table knows no denoiser 'M', expected some of S, B, XL"):
        stitch(pipeline, "S*2-XL*2", {**members, "M": members["S"]}, table=plain_table)
    pipeline.scheduler = DDIMScheduler()  # of DiT's noise process, not of this family's
    with pytest.raises(ConfigError, match=r"'S' has noise process .* but the pipeline's scheduler has") as caught:
        stitch(pipeline, "S*2-XL*2", members, table=plain_table)
    assert "that the table was made with" in str(caught.value.hint)
    other = text_pipeline(save_stable_diffusion(tmp_path / "other"), members["XL"])
    with pytest.raises(ConfigError, match="of the family 'dit', got a StableDiffusionPipeline"):
        stitch(other, "S*2-XL*2", members, table=plain_table)


def test_members_under_each_others_names_are_refused(family: Path, plain_table: LookupTable) -> None:
    members = loaded(family, "S", "XL")
    swapped = {"S": members["XL"], "XL": members["S"]}
    with pytest.raises(ConfigError, match=r"'S' is not the table's: it has .* parameters") as caught:
        stitch(dit_pipeline(family, members["XL"]), "S*2-XL*2", swapped, table=plain_table)
    assert "it is the table's 'XL'" in str(caught.value.hint)


def test_a_member_of_the_same_size_and_other_weights_is_refused(family: Path, plain_table: LookupTable) -> None:
    retrained = loaded(family, "S")["S"]
    with torch.no_grad():
        next(retrained.parameters()).add_(1)
    retrained.save_pretrained(family / "retrained")
    members = loaded(family, "XL", "retrained")
    with pytest.raises(ConfigError, match=r"'S' is not the table's: the weights in .*retrained are others"):
        stitch(
            dit_pipeline(family, members["XL"]),
            "S*2-XL*2",
            {"S": members["retrained"], "XL": members["XL"]},
            table=plain_table,
        )


def test_called_plainly_a_pipeline_makes_what_its_entry_was_measured_with(family: Path) -> None:
    """Steps and guidance are the study's; the pipeline's own defaults are 50 steps and a guidance of 4."""
    study, allocation = load_study(family / "study.yaml"), "S*1-B*1-XL*2"
    table, members = table_of(study, resolve_facts(study), allocation), loaded(family, "XL", "B", "S")
    pipeline = stitch(dit_pipeline(family, members["XL"]), table.entries[0], members, table=table)
    images = pipeline([0, 1], generator=seeded(), output_type="pt").images
    assert torch.equal(to_uint8(images), studied(study, allocation))
    guided = pipeline([0, 1], guidance_scale=3, generator=seeded(), output_type="pt").images
    assert not torch.equal(images, guided)


def test_an_accelerated_name_without_a_table_is_refused(family: Path) -> None:
    members = loaded(family, "S", "XL")
    with pytest.raises(ConfigError, match=r"'XL\+taylorseer3' is not accelerated yet") as caught:
        stitch(dit_pipeline(family, members["XL"]), "S*4", {"S": members["S"], "XL+taylorseer3": members["XL"]})
    assert "table=table" in str(caught.value.hint)

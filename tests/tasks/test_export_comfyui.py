"""ComfyUI workflows: allowed by its node definitions, and step by step what a stitched pipeline of diffusers does."""

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sampling.saved_pipelines import save_pipeline
from tasks.stock_nodes import steps_of
from text_to_image import PROMPTS

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupEntry, OperatingPoint, build_table
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import Condition
from tstitch_search.tasks.export import export
from tstitch_search.tasks.export.comfyui_families import _nearest_timestep
from tstitch_search.tasks.export.comfyui_graph import definitions, problems_of

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 3
proxy_set: {prompts: prompts.txt, chunk_size: 10}
quality: {extractor: fashion-cnn, extractor_weights: f, reference: r, n_images: 20}
search: {sampler: enumerate}
confirm: {n_images: 20}
latency: {batch_size: 1}
"""
# B takes its own guidance: of FLUX another scale, of the others none.
SOLVERS = {"sdxl": "EulerDiscreteScheduler", "flux": "FlowMatchEulerDiscreteScheduler"}
SOLVERS["wan"] = SOLVERS["wan22"] = SOLVERS["flux"]
MIXED = "S*2-B*1-L*1"


def saved(name: str, folder: Path) -> Path:
    """A table of a tiny pipeline, beside its study."""
    save_pipeline(name, folder)
    space = (folder / "space.yaml").read_text()
    own = 2 if name == "flux" else 1
    for text in ("{name: B, weights: B}", "- {name: B, weights: B}"):
        space = space.replace(text, text.replace("weights: B", f"of: L, guidance_scale: {own}"), 1)
    (folder / "space.yaml").write_text(space + f"solver: {SOLVERS[name]}\n")
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    (folder / "study.yaml").write_text(STUDY)
    point = OperatingPoint("default", "a cpu", 1)
    entries = [entry("S*4", 0.1, 30.0), entry(MIXED, 0.2, 20.0), entry("L*4", 0.3, 10.0)]
    table = build_table(study="tiny", operating_points=[point], confirmed=entries, others=[], provenance={})
    table.write(folder / "lookup.json")
    return folder


def entry(allocation: str, latency_s: float, fid: float) -> LookupEntry:
    known = {"latency_s": latency_s, "latency_s_se": 0.0, "latency_s_predicted": latency_s, "quality": fid}
    parsed = Allocation.parse(allocation)
    return LookupEntry(allocation=parsed, **known, quality_se=0.1, n_images=10, peak_memory_mb=None, confirmed=True)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: saved(name, tmp_path_factory.mktemp(name)) for name in SOLVERS}


def workflow_of(folder: Path, allocation: str = MIXED, *settings: str) -> dict[str, Any]:
    text = export(folder / "lookup.json", "comfyui", folder / "study.yaml", settings, allocation)
    return json.loads(text)


def questions_of(assembly: Assembly, allocation: str) -> list[tuple[str, float, int, float | None]]:
    """Of each step of a real call: member, timestep from 0 to 1000, rows that were asked, embedded guidance."""
    found: list[tuple[str, float, int, float | None]] = []

    def hear(name: str, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        latents = inputs[0] if inputs else named["hidden_states"]
        time = float(torch.as_tensor(named["timestep"] if "timestep" in named else inputs[1]).flatten()[0])
        scale = named.get("guidance")
        time = time if scale is None else 1000 * time  # FLUX counts from 0 to 1
        rows = len(latents)
        if found and (name, time) == found[-1][:2]:  # asked once more at this step
            rows += found.pop()[2]
        found.append((name, time, rows, None if scale is None else float(scale[0])))

    denoiser = assembly.denoiser
    hooks = [
        member.register_forward_pre_hook(lambda _, a, k, name=name: hear(name, a, k), with_kwargs=True)
        for name, member in zip(denoiser.names, denoiser.members, strict=True)
    ]
    assembly.turn_to(Allocation.parse(allocation))
    generators, n_steps = [torch.Generator().manual_seed(0)], Allocation.parse(allocation).n_steps
    assembly.family.sample(assembly.pipeline, [Condition(0, prompt="a cat")], generators, n_steps, 3.0)
    for hook in hooks:
        hook.remove()
    return found


def profiled(families: dict[str, Path], folder: Path, profile: str) -> Path:
    """The table of the tiny SDXL with an entry of a profile."""
    shutil.copytree(families["sdxl"], folder, dirs_exist_ok=True)
    with (folder / "space.yaml").open("a") as file:
        file.write(f"profiles: {{fast: {profile}}}\n")
    point = OperatingPoint("default", "a cpu", 1)
    made = build_table("tiny", [point], [entry("S*1-L*2@fast", 0.1, 30.0)], [], {})
    made.write(folder / "lookup.json")
    return folder


def test_a_profile_of_eulers_solver_is_its_noise_levels(families: dict[str, Path], tmp_path: Path) -> None:
    folder = profiled(families, tmp_path, "{n_steps: 3, scheduler: {timestep_spacing: trailing}}")
    assembly = assemble(load_study(folder / "study.yaml"), torch.device("cpu"))
    asked, steps = questions_of(assembly, "S*1-L*2@fast"), steps_of(workflow_of(folder, "S*1-L*2@fast"))
    assert [f"{member}.safetensors" for member, *_ in asked] == [step.model for step in steps]
    timesteps = [_nearest_timestep(step.sigma) for step in steps]
    assert timesteps == pytest.approx([time for _, time, *_ in asked], abs=1)


def test_a_profile_of_another_solver_is_refused(families: dict[str, Path], tmp_path: Path) -> None:
    folder = profiled(families, tmp_path, "{n_steps: 3, solver: DDIMScheduler}")
    with pytest.raises(ConfigError, match="DDIMScheduler keeps or adds more between steps than a noise level"):
        workflow_of(folder, "S*1-L*2@fast")


@pytest.mark.parametrize("name", SOLVERS)
def test_each_step_asks_what_the_stitched_pipeline_asks(name: str, families: dict[str, Path]) -> None:
    assembly = assemble(load_study(families[name] / "study.yaml"), torch.device("cpu"))
    asked, steps = questions_of(assembly, MIXED), steps_of(workflow_of(families[name]))
    files = {"S": "S.safetensors", "B": "B.safetensors", "L": "L.safetensors"}
    assert [files[member] for member, *_ in asked] == [step.model for step in steps]
    sigmas = [float(sigma) for sigma in assembly.pipeline.scheduler.sigmas]
    assert [step.sigma for step in steps] + [steps[-1].next_sigma] == pytest.approx(sigmas, abs=2e-8)
    assert [step.next_sigma for step in steps[:-1]] == [step.sigma for step in steps[1:]]
    assert [step.fresh_noise for step in steps] == [True, False, False, False]
    if name != "sdxl":
        assert [time for _, time, *_ in asked] == pytest.approx([1000 * step.sigma for step in steps], abs=1)
    if name == "flux":
        assert [scale for *_, scale in asked] == [step.guidance for step in steps] == [3, 3, 2, 3]
    else:
        assert [rows for _, _, rows, _ in asked] == [1 if step.guidance == 1 else 2 for step in steps] == [2, 2, 1, 2]


@torch.no_grad()
def test_the_nodes_rules_with_sdxls_members_make_the_latents_of_the_pipeline(families: dict[str, Path]) -> None:
    """ComfyUI's: input over sqrt(sigma^2 + 1), the nearest timestep of its own schedule, cfg, Euler's rule."""
    assembly = assemble(load_study(families["sdxl"] / "study.yaml"), torch.device("cpu"))
    pipeline, denoiser = assembly.pipeline, assembly.denoiser
    members = {f"{name}.safetensors": m for name, m in zip(denoiser.names, denoiser.members, strict=True)}
    denoiser.set_allocation(Allocation.parse(MIXED))
    first = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    settings = {"guidance_scale": 3.0, "num_inference_steps": 4, "output_type": "latent", "height": 32, "width": 32}
    expected = pipeline("a cat", latents=first.clone(), **settings).images

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    signal = torch.cumprod(1 - betas, dim=0)
    logs = ((1 - signal) / signal).sqrt().log()
    text, no_text, pooled, no_pooled = pipeline.encode_prompt("a cat")
    conditions = [(text, pooled), (torch.zeros_like(no_text), torch.zeros_like(no_pooled))]  # ConditioningZeroOut
    workflow = workflow_of(families["sdxl"])
    assert "ConditioningZeroOut" in {node["class_type"] for node in workflow.values()}
    size = torch.tensor([[32.0, 32, 0, 0, 32, 32]])
    latents = first * pipeline.scheduler.init_noise_sigma
    for step in steps_of(workflow):
        time = (logs - torch.tensor(step.sigma).log()).abs().argmin()
        given = latents / (step.sigma**2 + 1) ** 0.5
        c, u = (
            members[step.model](given, time, states, added_cond_kwargs={"text_embeds": pool, "time_ids": size}).sample
            for states, pool in conditions
        )
        latents = latents + (step.next_sigma - step.sigma) * (u + step.guidance * (c - u))
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_node_definitions_allow_the_workflow_and_what_is_wrong_in_it_is_found(
    name: str, families: dict[str, Path]
) -> None:
    workflow = workflow_of(families[name])
    assert problems_of(workflow) == []
    (sampler, *_) = (n for n, node in workflow.items() if node["class_type"] == "SamplerCustomAdvanced")
    (save,) = (n for n, node in workflow.items() if node["class_type"].startswith("Save"))
    wrong = {
        "no node KSamplerMagic": lambda w: w[sampler].update(class_type="KSamplerMagic"),
        "no input sigma": lambda w: w[sampler]["inputs"].update(sigma=1.0),
        "latent_image is missing": lambda w: w[sampler]["inputs"].pop("latent_image"),
        "takes LATENT, got MODEL": lambda w: w[sampler]["inputs"].update(latent_image=model(w)),
        "comes from 99": lambda w: w[sampler]["inputs"].update(latent_image=["99", 0]),
        "takes LATENT, got 5": lambda w: w[sampler]["inputs"].update(latent_image=5),
        "got nothing": lambda w: w[sampler]["inputs"].update(latent_image=[model(w)[0], 3]),
        "takes 16 to 16384, got 0": lambda w: next(n for n in w.values() if "Latent" in n["class_type"])[
            "inputs"
        ].update(width=0),
        "takes one of euler": lambda w: next(n for n in w.values() if n["class_type"] == "KSamplerSelect")[
            "inputs"
        ].update(sampler_name="eular"),
        "nothing is saved": lambda w: w.pop(save),
    }
    for said, spoil in wrong.items():
        spoilt = copy.deepcopy(workflow)
        spoil(spoilt)
        assert said in " ".join(problems_of(spoilt))


def model(workflow: dict[str, Any]) -> list[Any]:
    return [next(n for n, node in workflow.items() if node["class_type"] == "UNETLoader"), 0]


def test_every_definition_is_used_and_names_the_file_it_is_from(families: dict[str, Path]) -> None:
    known = definitions()
    with_lora = workflow_of(families["sdxl"], MIXED, *LORA, "proxy_set.negative_prompt=blurred")
    workflows = [with_lora, *(workflow_of(folder) for folder in families.values())]
    used = {node["class_type"] for workflow in workflows for node in workflow.values()}
    assert used == set(known["nodes"])
    assert {node["file"] for node in known["nodes"].values()} <= set(known["source"]["commits"])


LORA = ["space.denoisers=[{name: S, weights: S, lora: [{weights: fast.safetensors, scale: 0.5}, {weights: o/l}]}, "]
LORA = [LORA[0] + "{name: B, of: L, guidance_scale: 1}, {name: L, weights: L}]"]


def test_loras_go_on_the_model_in_their_order(families: dict[str, Path]) -> None:
    steps = steps_of(workflow_of(families["sdxl"], MIXED, *LORA))
    assert steps[0].loras == (("fast.safetensors", 0.5), ("l.safetensors", 1.0))
    assert steps[-1].loras == ()


@contextmanager
def scheduler_with(folder: Path, **changed: Any) -> Iterator[None]:
    file = folder / "scheduler" / "scheduler_config.json"
    kept = file.read_text()
    file.write_text(json.dumps({**json.loads(kept), **changed}))
    try:
        yield
    finally:
        file.write_text(kept)


def test_small_sigmas_are_written_without_an_exponent(families: dict[str, Path]) -> None:
    """The node would read 2e-05 as two numbers."""
    with scheduler_with(families["sdxl"], use_karras_sigmas=True, sigma_min=2e-5, sigma_max=10.0):
        steps = steps_of(workflow_of(families["sdxl"]))
    assert [step.sigma for step in steps[:: len(steps) - 1]] == pytest.approx([10, 2e-5])
    assert len(steps) == 4


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("space.solver=DDIMScheduler", "keeps or adds more between steps"),
        ("space.solver=EulerAncestralDiscreteScheduler", "keeps or adds more between steps"),
        ("space.convert=true", "they convert no predictions"),
        ("space.call={guidance_rescale: 0.7}", "called with guidance_rescale"),
        ("space.denoisers.0.accelerator=deepcache3", "S has the accelerator deepcache3"),
        ("space.denoisers.0.weights=models:make", "no file that UNETLoader loads"),
        ("guidance_scale=150", "cfg takes 0 to 100, got 150"),
    ],
)
def test_what_stock_nodes_cannot_say_is_refused_with_the_reason(
    setting: str, said: str, families: dict[str, Path]
) -> None:
    if ".denoisers.0." in setting:
        key, value = setting.removeprefix("space.denoisers.0.").split("=")
        first = {"name": "S", "weights": "S", key: value}
        rest = ", {name: B, of: L, guidance_scale: 1}, {name: L, weights: L}]"
        setting = f"space.denoisers=[{json.dumps(first)}{rest}"
    with pytest.raises(ConfigError, match=said):
        workflow_of(families["sdxl"], MIXED, setting)


def test_one_file_is_loaded_by_its_name_and_gguf_is_refused(families: dict[str, Path]) -> None:
    def setting(file: str) -> str:
        first = {"name": "S", "weights": "me/sdxl", "file": file, "format": "single_file"}
        return f"space.denoisers=[{json.dumps(first)}, {{name: B, of: L, guidance_scale: 1}}, {{name: L, weights: L}}]"

    workflow = workflow_of(families["sdxl"], MIXED, setting("half/s.safetensors"))
    loaders = [node for node in workflow.values() if node["class_type"] == "UNETLoader"]
    assert "s.safetensors" in [node["inputs"]["unet_name"] for node in loaders]
    assert "S: me/sdxl/half/s.safetensors" in [node["_meta"]["title"] for node in loaders]
    with pytest.raises(ConfigError, match=r"the weights of S are half/s.gguf, no file that UNETLoader loads"):
        workflow_of(families["sdxl"], MIXED, setting("half/s.gguf"))


def test_another_schedule_than_comfyuis_is_refused_naming_the_step(families: dict[str, Path]) -> None:
    said = pytest.raises(ConfigError, match="step 0 has timestep 751, and of its sigma they would make")
    with scheduler_with(families["sdxl"], beta_end=0.02), said:
        workflow_of(families["sdxl"])


def test_a_workflow_is_of_one_entry_of_the_front(families: dict[str, Path]) -> None:
    table, study = families["sdxl"] / "lookup.json", families["sdxl"] / "study.yaml"
    with pytest.raises(ConfigError, match="of one entry"):
        export(table, "comfyui", study)
    with pytest.raises(ConfigError, match=r"no S\*3-L\*1") as found:
        export(table, "comfyui", study, allocation="S*3-L*1")
    assert MIXED in found.value.hint
    rows = export(table, "csv", study, allocation=MIXED).splitlines()
    assert len(rows) == 1 + 4


def test_another_pipeline_is_refused(tmp_path: Path) -> None:
    SOLVERS["sd3"] = SOLVERS["flux"]
    try:
        folder = saved("sd3", tmp_path)
    finally:
        del SOLVERS["sd3"]
    with pytest.raises(ConfigError, match="StableDiffusion3Pipeline, known are"):
        workflow_of(folder)


def test_the_steps_are_those_that_the_table_records(families: dict[str, Path], tmp_path: Path) -> None:
    said = {"timesteps": (900.0, 600.0, 300.0, 1.0), "sigmas": (8.3466, 2.2846, 0.83275, 0.041314)}
    table = build_table(
        study="tiny",
        operating_points=[OperatingPoint("default", "a cpu", 1)],
        confirmed=[replace(entry(MIXED, 0.2, 20.0), **said)],
        others=[],
        provenance={},
    )
    table.write(tmp_path / "lookup.json")
    made = json.loads(export(tmp_path / "lookup.json", "comfyui", families["sdxl"] / "study.yaml"))
    steps = steps_of(made)
    assert [step.sigma for step in steps] == pytest.approx(said["sigmas"])
    assert steps[-1].next_sigma == 0

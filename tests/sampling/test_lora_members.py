"""Members that are a LoRA on another's weights: the stock pipeline's bits, the base unchanged and in memory once."""

import copy
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from sampling.test_deploy_as_studied import TEXT_STUDY, by_prompts, study_in, table_of, text_pipeline
from text_to_image import PROMPTS, save_stable_diffusion

from tstitch_search import stitch
from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.features import to_uint8
from tstitch_search.measure.memory import tensors_mb
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import Condition
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.tasks.check import check_study
from tstitch_search.tasks.tables.generate_from_table import changed_files

pytest.importorskip("peft")
# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),  # of the stock pipeline
]

CPU = torch.device("cpu")


def lora_of(module: Any, seed: int = 9, targets: tuple[str, ...] = ("to_q", "to_v")) -> dict[str, torch.Tensor]:
    """Weights of a LoRA for the module, as peft names them."""
    from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model

    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=list(targets))
    changed = inject_adapter_in_model(config, copy.deepcopy(module))
    return {name: weights.contiguous() for name, weights in get_peft_model_state_dict(changed).items()}


@pytest.fixture(scope="module")
def folder(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion, and LoRAs for its member L and for others."""
    folder = tmp_path_factory.mktemp("loras")
    save_stable_diffusion(folder)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    for name in ("features.safetensors", "reference.npz"):
        shutil.copy(tiny_family / name, folder / name)
    large, small = (UNet2DConditionModel.from_pretrained(folder / name) for name in ("L", "S"))
    fitting = {f"unet.{key}": value for key, value in lora_of(large).items()}
    save_file(fitting, folder / "fast.safetensors")
    save_file({f"unet.{key}": v for key, v in lora_of(large, seed=4).items()}, folder / "other.safetensors")
    save_file({f"unet.{key}": v for key, v in lora_of(small).items()}, folder / "for_small.safetensors")
    save_file({f"transformer.{key}": v for key, v in lora_of(large).items()}, folder / "for_none.safetensors")
    added = {"unet.nowhere.to_q.lora_A.weight": torch.ones(2, 4), "unet.nowhere.to_q.lora_B.weight": torch.ones(4, 2)}
    save_file({**fitting, **added}, folder / "more.safetensors")
    text = {
        f"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_{ab}.weight": torch.ones(2, 2) for ab in "AB"
    }
    save_file({**fitting, **text}, folder / "with_text.safetensors")
    return folder


def study_of(folder: Path, lora: str, **more: str) -> Study:
    listed = ["name: S, weights: S", "name: L, weights: L", f"name: fast, of: L, lora: [{lora}]", *more.values()]
    return study_in(folder, TEXT_STUDY, listed, family="stable_diffusion")


def drawn(made: Assembly, study: Study, allocation: str) -> torch.Tensor:
    made.denoiser.set_allocation(Allocation.parse(allocation))
    conditions = [Condition(label, prompt, "") for label, prompt in enumerate(PROMPTS[:2])]
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    scale = study.config.guidance_scale
    return to_uint8(made.family.sample(made.pipeline, conditions, generators, study.space.n_steps, scale))


def stock(folder: Path, *loras: tuple[str, float]) -> StableDiffusionPipeline:
    """The stock pipeline around L with LoRAs that its own loader put on it."""
    pipeline = text_pipeline(folder, UNet2DConditionModel.from_pretrained(folder / "L"))
    for name, _ in loras:
        pipeline.load_lora_weights(str(folder), weight_name=f"{name}.safetensors", adapter_name=name)
    if loras:
        pipeline.set_adapters([name for name, _ in loras], [scale for _, scale in loras])
    return pipeline


def test_alone_it_is_the_pipeline_with_the_lora_loaded_and_its_base_the_one_without(folder: Path) -> None:
    study = study_of(folder, "{weights: fast.safetensors, scale: 0.7}")
    made = assemble(study, CPU)
    assert torch.equal(drawn(made, study, "fast*4"), by_prompts(stock(folder, ("fast", 0.7)), study))
    assert torch.equal(drawn(made, study, "L*4"), by_prompts(stock(folder), study))
    assert not torch.equal(drawn(made, study, "fast*4"), drawn(made, study, "L*4"))


def test_fused_it_is_the_pipeline_with_the_lora_fused_on_a_copy_of_the_weights_that_counts(folder: Path) -> None:
    study = study_of(folder, "{weights: fast.safetensors, scale: 0.7, fuse: true}")
    made, pipeline = assemble(study, CPU), stock(folder, ("fast", 0.7))
    pipeline.fuse_lora()
    assert torch.equal(drawn(made, study, "fast*4"), by_prompts(pipeline, study))
    assert torch.equal(drawn(made, study, "L*4"), by_prompts(stock(folder), study))
    members = dict(zip(made.denoiser.names, made.denoiser.members, strict=True))
    assert tensors_mb([members["L"], members["fast"]]) == pytest.approx(2 * tensors_mb([members["L"]]))
    assert (made.weights_of, made.weights_mb["fast"]) == ({}, made.weights_mb["L"])
    assert resolve_facts(study).key["lora.fast"].endswith(" times 0.7 fused")
    with pytest.raises(ConfigError, match="got fuse for some of the LoRAs, expected it for all or none"):
        study_of(folder, "{weights: fast.safetensors, fuse: true}, {weights: other.safetensors}")


def test_two_on_one_member_are_added(folder: Path) -> None:
    study = study_of(folder, "{weights: fast.safetensors}, {weights: ., file: other.safetensors, scale: -0.5}")
    made = drawn(assemble(study, CPU), study, "fast*4")
    assert torch.equal(made, by_prompts(stock(folder, ("fast", 1.0), ("other", -0.5)), study))


def test_a_mixture_is_the_pipeline_whose_lora_is_switched_off_by_hand(folder: Path) -> None:
    study = study_of(folder, "{weights: fast.safetensors}")
    pipeline = stock(folder, ("fast", 1.0))

    def switch(pipeline: Any, i: int, t: Any, tensors: Any) -> dict[str, Any]:
        if i == 1:
            pipeline.disable_lora()
        return {}

    options = {"num_inference_steps": 4, "guidance_scale": study.config.guidance_scale, "output_type": "pt"}
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    made = pipeline(PROMPTS[:2], generator=generators, callback_on_step_end=switch, **options).images
    # PNDM has one timestep more than steps, at the noise end
    assert torch.equal(drawn(assemble(study, CPU), study, "fast*1-L*3"), to_uint8(made))


def test_the_bytes_are_those_of_the_base_and_the_loras(folder: Path) -> None:
    study = study_of(
        folder, "{weights: fast.safetensors}", more="name: faster, of: L, lora: [{weights: other.safetensors}]"
    )
    made = assemble(study, CPU)
    members = dict(zip(made.denoiser.names, made.denoiser.members, strict=True))
    of_lora = {
        name: sum(p.nbytes for key, p in members[name].named_parameters() if "lora_" in key) / 1e6
        for name in ("fast", "faster")
    }
    base = tensors_mb([UNet2DConditionModel.from_pretrained(folder / "L")])
    assert min(of_lora.values()) > 0
    assert tensors_mb([members["L"], members["fast"], members["faster"]]) == pytest.approx(base + sum(of_lora.values()))
    assert made.weights_of == {"fast": "L", "faster": "L"}
    assert made.weights_mb["fast"] > made.weights_mb["L"]


def test_four_threads_on_copies_draw_what_they_draw_one_by_one(folder: Path) -> None:
    study = study_of(folder, "{weights: fast.safetensors}")
    allocations = ["fast*4", "L*4", "fast*2-L*2", "L*2-fast*2"]
    table = table_of(study, resolve_facts(study), *allocations)
    members = {name: UNet2DConditionModel.from_pretrained(folder / name) for name in ("S", "L")}
    members["fast"] = assemble(study, CPU).denoiser.members[2]
    pipeline = stitch(text_pipeline(folder, members["L"]), "L*4", members, table=table)
    expected = [drawn(assemble(study, CPU), study, allocation) for allocation in allocations]
    made: dict[int, torch.Tensor] = {}

    def request(k: int) -> None:
        made[k] = by_prompts(stitch(copy.copy(pipeline), allocations[k]), study)

    threads = [threading.Thread(target=request, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [torch.equal(made[k], expected[k]) for k in range(4)] == [True] * 4


@pytest.mark.parametrize("fuse", ["false", "true"])
def test_deployed_it_is_made_of_its_bases_module(folder: Path, monkeypatch: pytest.MonkeyPatch, fuse: str) -> None:
    study = study_of(folder, f"{{weights: fast.safetensors, fuse: {fuse}}}")
    table = table_of(study, resolve_facts(study), "fast*2-L*2")
    monkeypatch.chdir(folder)  # the table's paths are relative to its folder
    members = {"L": UNet2DConditionModel.from_pretrained(folder / "L")}
    pipeline = stitch(text_pipeline(folder, members["L"]), table.entries[0], members, table=table)
    assert torch.equal(by_prompts(pipeline, study), drawn(assemble(study, CPU), study, "fast*2-L*2"))


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ("for_small", "for_small.safetensors is about the layer .*, which takes 12 values, not 4"),
        ("for_none", "for_none.safetensors is about a transformer, and this denoiser is a unet"),
        ("more", "more.safetensors is about the layer unet.nowhere.to_q, which this denoiser does not have"),
        ("with_text", "with_text.safetensors changes a text encoder too"),
    ],
)
def test_one_that_does_not_fit_is_refused(folder: Path, lora: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        assemble(study_of(folder, f"{{weights: {lora}.safetensors}}"), CPU)
    assert caught.value.hint


@pytest.mark.parametrize("lora", ["for_small", "more"])
def test_what_the_files_say_is_refused_by_check_before_anything_is_loaded(folder: Path, lora: str) -> None:
    with pytest.raises(ConfigError, match=f"{lora}.safetensors is about the layer"):
        check_study(study_of(folder, f"{{weights: {lora}.safetensors}}"))


def test_a_folder_of_several_files_has_to_be_said_which(folder: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"expected one safetensors file in .*, found fast\.safetensors"):
        resolve_facts(study_of(folder, "{weights: .}"))


def test_another_lora_or_scale_is_another_key(folder: Path) -> None:
    keys = [
        resolve_facts(study_of(folder, lora)).key["lora.fast"]
        for lora in (
            "{weights: fast.safetensors}",
            "{weights: other.safetensors}",
            "{weights: fast.safetensors, scale: 2}",
        )
    ]
    assert len(set(keys)) == 3


def test_a_pipeline_without_a_loader_takes_one_too(tiny_family: Path, tmp_path: Path) -> None:
    """DiTPipeline has none; alone the member answers as its module does with the adapter that peft put on it."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    plain = DiTTransformer2DModel.from_pretrained(folder / "XL").eval()
    weights = lora_of(plain)
    save_file({f"transformer.{key}": value for key, value in weights.items()}, folder / "fast.safetensors")
    listed = ["name: S, weights: S", "name: XL, weights: XL"]
    listed += ["name: fast, of: XL, lora: [{weights: fast.safetensors}]"]
    study = study_in(folder, (folder / "study.yaml").read_text(), listed, family="dit", n_classes=10)
    made = assemble(study, CPU)
    by_hand = inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]), plain)
    set_peft_model_state_dict(by_hand, weights)
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([500, 500]), torch.tensor([1, 2])
    ours = dict(zip(made.denoiser.names, made.denoiser.members, strict=True))
    with torch.no_grad():
        assert torch.equal(ours["fast"](*inputs).sample, by_hand(*inputs).sample)
        assert not torch.equal(ours["fast"](*inputs).sample, ours["XL"](*inputs).sample)


def test_a_lora_file_that_changed_since_the_table_is_noticed(folder: Path, tmp_path: Path) -> None:
    study = study_of(folder, "{weights: fast.safetensors}")
    table = table_of(study, resolve_facts(study), "fast*4", "L*4")
    fast, plain = table.entries
    assert changed_files(table, study, fast) == []
    other = study_of(folder, "{weights: other.safetensors}")
    (problem,) = changed_files(table, other, fast)
    assert problem.startswith("denoiser 'fast': its LoRAs are")
    assert changed_files(table, other, plain) == []

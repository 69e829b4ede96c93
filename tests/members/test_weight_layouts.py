"""Weights in the layouts that people have them in: loaded they are the model that was saved, to the bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from diffusers import GGUFQuantizationConfig, ModelMixin, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.training_utils import EMAModel
from members.ldm_checkpoint import CLASSES, ldm_weights
from safetensors.torch import load_file, save_file
from sampling.test_deploy_as_studied import TEXT_STUDY, by_prompts, studied, study_in, table_of, text_pipeline
from text_to_image import PROMPTS, new_unet, save_stable_diffusion
from torch import nn

from tstitch_search import stitch
from tstitch_search.config import Study
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.changes.quantization import METHODS, require_package
from tstitch_search.members.facts import MemberFacts, read_member_facts
from tstitch_search.members.formats.checkpoints import read_checkpoint
from tstitch_search.members.loading import load_member
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.tasks.check import check_study

CPU, STEM = torch.device("cpu"), "diffusion_pytorch_model"
Q8 = gguf.GGMLQuantizationType.Q8_0


def new_model(seed: int = 3) -> UNet2DConditionModel:
    """A U-Net whose weights are the same in 16 bits as in 32."""
    return new_unet(seed, 32).half().float()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `plain`, the model as save_pretrained leaves it."""
    new_model().save_pretrained(tmp_path / "plain")
    return tmp_path


def found(folder: Path, **said: Any) -> tuple[MemberFacts, nn.Module]:
    """What is known of a denoiser before it is loaded, and the denoiser."""
    facts = read_member_facts(DenoiserConfig(name="X", **said), folder, with_hash=True)
    return facts, load_member(facts, CPU, torch.float32)


def answer(model: Any) -> torch.Tensor:
    question = torch.Generator().manual_seed(1)
    x, words = (torch.randn(shape, generator=question) for shape in ((2, 4, 8, 8), (2, 3, 8)))
    with torch.no_grad():
        return model(x, 7, encoder_hidden_states=words).sample


def variant(folder: Path) -> dict[str, Any]:
    new_model().half().save_pretrained(folder / "half", variant="fp16")
    return {"weights": "half", "variant": "fp16"}


def variant_in_parts(folder: Path) -> dict[str, Any]:
    new_model().half().save_pretrained(folder / "half", variant="fp16", max_shard_size="100KB")
    assert len(list((folder / "half").glob("*-of-*.safetensors"))) > 2
    return {"weights": "half", "variant": "fp16"}


def variant_beside_others(folder: Path) -> dict[str, Any]:
    new_model(5).save_pretrained(folder / "both")
    new_model().save_pretrained(folder / "both", variant="non_ema")
    return {"weights": "both", "variant": "non_ema"}


def averaged(folder: Path) -> dict[str, Any]:
    model = new_model()
    average = EMAModel(model.parameters(), model_cls=UNet2DConditionModel, model_config=model.config)
    average.save_pretrained(folder / "checkpoint-500" / "unet_ema")
    return {"weights": "checkpoint-500", "subfolder": "unet_ema"}


class Compiled(nn.Module):
    """Names its tensors as what torch.compile returns."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self._orig_mod = model


def wrapped(wrap: Callable[[nn.Module], Any], form: str) -> Callable[[Path], dict[str, Any]]:
    def save(folder: Path) -> dict[str, Any]:
        tensors = wrap(new_model()).state_dict()
        shutil.copytree(folder / "plain", folder / "wrapped")
        save_file(tensors, folder / "wrapped" / f"{STEM}.safetensors")
        file = {"file": f"{STEM}.safetensors", "config": "plain"} if form == "single_file" else {}
        return {"weights": "wrapped", "format": form, **file}

    return save


def single_file(folder: Path) -> dict[str, Any]:
    save_file(new_model().state_dict(), folder / "model.safetensors")
    return {"weights": "model.safetensors", "format": "single_file", "config": "plain"}


def single_file_of_a_slot(folder: Path) -> dict[str, Any]:
    new_model().save_pretrained(folder / "pipeline" / "unet")
    save_file(new_model().state_dict(), folder / "model.safetensors")
    return {"weights": ".", "file": "model.safetensors", "format": "single_file", "config": "pipeline"}


LAYOUTS = [
    variant,
    variant_in_parts,
    variant_beside_others,
    averaged,
    pytest.param(wrapped(Compiled, "diffusers"), id="compiled"),
    pytest.param(wrapped(nn.DataParallel, "diffusers"), id="parallel"),
    pytest.param(wrapped(lambda m: nn.DataParallel(Compiled(m)), "single_file"), id="wrapped twice in one file"),
    single_file,
    single_file_of_a_slot,
]


@pytest.mark.filterwarnings("ignore:.*quantized model:FutureWarning")
@pytest.mark.parametrize("save", LAYOUTS)
def test_a_member_is_the_model_that_was_saved(folder: Path, save: Callable[[Path], dict[str, Any]]) -> None:
    plain, model = found(folder, weights="plain")
    facts, same = found(folder, **save(folder))
    assert torch.equal(answer(same), answer(model))
    assert isinstance(same, UNet2DConditionModel)
    assert (facts.n_parameters, facts.class_name) == (plain.n_parameters, plain.class_name)
    assert len(facts.weights_sha256 or "") == 64


def test_a_variant_is_half_as_large_and_has_a_hash_of_its_own(folder: Path) -> None:
    new_model().half().save_pretrained(folder / "plain", variant="fp16")
    (whole, _), (half, _) = found(folder, weights="plain"), found(folder, weights="plain", variant="fp16")
    assert half.size_mb == pytest.approx((whole.size_mb or 0) / 2, rel=0.1)
    assert half.weights_sha256 != whole.weights_sha256
    assert not half.same_weights(whole)


def test_of_a_whole_pipelines_checkpoint_the_denoiser_is_taken(tmp_path: Path) -> None:
    original = ldm_weights()
    torch.save(original, tmp_path / "model.ckpt")
    config = dict(read_checkpoint(tmp_path / "model.ckpt", "ldm").config["unet_config"])
    model = UNet2DConditionModel(**config, sample_size=32)
    unet = {name: value for name, value in original.items() if name != CLASSES}
    model.load_state_dict(convert_ldm_unet_checkpoint(dict(unet), dict(model.config)))
    model.save_pretrained(tmp_path / "plain")
    beside = {"first_stage_model.decoder.conv_in.weight": torch.ones(8, 8), "cond_stage_model.x": torch.ones(9)}
    save_file({**unet, **beside}, tmp_path / "model.safetensors")
    facts, same = found(tmp_path, weights="model.safetensors", format="single_file", config="plain")
    words = torch.randn(2, 3, model.config.cross_attention_dim)
    x = torch.randn(2, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(same(x, 7, words).sample, model.eval()(x, 7, words).sample)
    n_values = sum(p.numel() for p in model.parameters())
    assert (facts.n_parameters, facts.size_mb) == (n_values, n_values * 4 / 1e6)


def save_gguf(path: Path, model: ModelMixin) -> Path:
    """The model as a GGUF file: matrices in 8 bits, the rest in 32."""
    writer = gguf.GGUFWriter(path, arch="sd1")
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if values.ndim == 2 and values.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(values, Q8), raw_dtype=Q8)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def of_diffusers(file: Path, config: Path) -> UNet2DConditionModel:
    quantised = GGUFQuantizationConfig(compute_dtype=torch.float32)
    return UNet2DConditionModel.from_single_file(
        str(file), config=str(config), quantization_config=quantised, torch_dtype=torch.float32
    )


def test_a_gguf_member_answers_as_diffusers_own_loading(folder: Path) -> None:
    file = save_gguf(folder / "model.gguf", new_model())
    plain, model = found(folder, weights="plain")
    facts, same = found(folder, weights="model.gguf", format="single_file", config="plain")
    assert torch.equal(answer(same), answer(of_diffusers(file, folder / "plain")))
    assert not torch.equal(answer(same), answer(model))
    assert facts.n_parameters == plain.n_parameters
    assert (facts.size_mb or 0) < (plain.size_mb or 0)


# Bad input


def save_pickled(folder: Path) -> dict[str, Any]:
    torch.save(new_model().state_dict(), folder / "model.safetensors")
    return {"weights": "model.safetensors", "format": "single_file", "config": "plain"}


def save_torn(folder: Path) -> dict[str, Any]:
    file = save_gguf(folder / "model.gguf", new_model())
    file.write_bytes(file.read_bytes()[:-100])
    return {"weights": "model.gguf", "format": "single_file", "config": "plain"}


def save_half_of_a_variant(folder: Path) -> dict[str, Any]:
    said = variant_in_parts(folder)
    next((folder / "half").glob("*-00002-of-*")).unlink()
    return said


def save_another_variant(folder: Path) -> dict[str, Any]:
    new_model().save_pretrained(folder / "plain", variant="non_ema")
    return {"weights": "plain", "variant": "fp16"}


def save_wrapped_parts(folder: Path) -> dict[str, Any]:
    said = variant_in_parts(folder)
    for file in (folder / "half").glob("*.safetensors"):
        save_file({f"_orig_mod.{name}": value for name, value in load_file(file).items()}, file)
    index = next((folder / "half").glob("*.json.index*"), folder / "half" / f"{STEM}.safetensors.index.fp16.json")
    mapped = json.loads(index.read_text())
    mapped["weight_map"] = {f"_orig_mod.{name}": file for name, file in mapped["weight_map"].items()}
    index.write_text(json.dumps(mapped))
    return said


def save_unknown_quantization(folder: Path) -> dict[str, Any]:
    config = folder / "plain" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": {"quant_method": "own"}}))
    return {"weights": "plain"}


BAD = [
    (save_half_of_a_variant, "1 of [0-9]+ parts of the weights are missing, the first is .*fp16-00002-of-"),
    (save_another_variant, "holds no variant 'fp16' of the weights, but plain ones, variant 'non_ema'"),
    (lambda _: {"weights": "plain", "variant": "fp16"}, "holds no variant 'fp16' of the weights, but plain ones"),
    (lambda f: {**variant(f), "variant": None}, "holds no plain weights, but variant 'fp16'"),
    (save_wrapped_parts, "holds weights named _orig_mod.*in one file only"),
    (save_pickled, "model.safetensors is a pickle that torch.save wrote"),
    (save_torn, "model.gguf is damaged or cut off, or no GGUF file"),
    (save_unknown_quantization, "names the quantization 'own', expected one of bitsandbytes"),
    (lambda f: {**single_file(f), "format": "diffusers", "config": None}, "is one file, expected a folder with config"),
    (lambda f: {**single_file(f), "weights": "m.gguf"}, "there is no file .*m.gguf"),
    (lambda f: {**single_file(f), "config": None}, "nothing says what model its file holds"),
    (lambda f: {**single_file(f), "subfolder": "unet"}, "holds none of unet/config.json, which would say what model"),
    (lambda f: {**single_file(f), "weights": ".", "file": "m.safetensors"}, "expected one file m.safetensors in"),
]


@pytest.mark.parametrize(("save", "message"), BAD)
def test_what_cannot_be_loaded_is_named(folder: Path, save: Callable[[Path], dict[str, Any]], message: str) -> None:
    with pytest.raises((ConfigError, EnvironmentProblem), match=f"^denoiser 'X': .*{message}") as caught:
        found(folder, **save(folder))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"weights": "m.ckpt", "format": "single_file"}, "got m.ckpt, expected .*; a pickle could run code"),
        (
            {"weights": "a/b", "format": "single_file"},
            "got a/b, expected a .safetensors or .gguf file, as `wei",
        ),
        ({"weights": "a/b", "file": "m.gguf"}, "got file with format diffusers, expected it with format: single_file"),
        ({"weights": "a/b", "config": "a/c"}, "got config with format diffusers"),
        ({"weights": "m.pt", "format": "dit", "variant": "fp16"}, "got the variant fp16 with format dit"),
    ],
)
def test_keys_that_contradict_each_other_are_named(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoiserConfig(name="X", **said)


def test_a_missing_package_is_named_with_the_extra() -> None:
    with pytest.raises(EnvironmentProblem, match="'X' needs the package no_such_package, which is") as caught:
        require_package("no_such_package", "denoiser 'X'", METHODS["gguf"].package)
    assert caught.value.hint == "pip install 'tstitch-search[gguf]'"


# Whole studies


@pytest.fixture
def pipeline(tiny_family: Path, tmp_path: Path) -> Path:
    """Stable Diffusion with one denoiser of 32 channels, in several layouts."""
    save_stable_diffusion(tmp_path)
    model = new_model()
    model.half().save_pretrained(tmp_path / "half", variant="fp16")
    model.float().save_pretrained(tmp_path / "plain")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    save_gguf(tmp_path / "model.gguf", model)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    for name in ("features.safetensors", "reference.npz"):
        shutil.copy(tiny_family / name, tmp_path / name)
    return tmp_path


def study_of(folder: Path, *further: str) -> Study:
    listed = [
        "name: Q, weights: model.gguf, format: single_file, config: plain",
        "name: H, weights: half, variant: fp16",
        "name: F, weights: model.safetensors, format: single_file, config: plain",
        *further,
        "name: P, weights: plain",
    ]
    return study_in(folder, TEXT_STUDY, listed, family="stable_diffusion")


def test_a_study_of_four_layouts_is_checked_and_stitched(pipeline: Path) -> None:
    study = study_of(pipeline)
    assert check_study(study).problem is None
    assert torch.equal(studied(study, "H*2-F*2"), by_prompts(text_pipeline(pipeline, new_model()), study))
    quantised = text_pipeline(pipeline, of_diffusers(pipeline / "model.gguf", pipeline / "plain"))
    assert torch.equal(studied(study, "Q*4"), by_prompts(quantised, study))


def test_in_production_they_are_held_against_the_table(pipeline: Path) -> None:
    study = study_of(pipeline)
    table = table_of(study, resolve_facts(study), "Q*1-H*1-F*1-P*1")
    config = {"config": str(pipeline / "plain")}
    members = {
        "Q": of_diffusers(pipeline / "model.gguf", pipeline / "plain"),
        "H": UNet2DConditionModel.from_pretrained(pipeline / "half", variant="fp16"),
        "F": UNet2DConditionModel.from_single_file(str(pipeline / "model.safetensors"), **config),
        "P": UNet2DConditionModel.from_pretrained(pipeline / "plain"),
    }
    made = stitch(text_pipeline(pipeline, members["P"]), table.entries[0], members, table=table)
    assert torch.equal(by_prompts(made, study), studied(study, "Q*1-H*1-F*1-P*1"))
    new_model(5).half().save_pretrained(pipeline / "half", variant="fp16")
    members["H"] = UNet2DConditionModel.from_pretrained(pipeline / "half", variant="fp16")
    with pytest.raises(ConfigError, match=r"denoiser 'H' is not the table's: the weights in .* are others"):
        stitch(text_pipeline(pipeline, members["P"]), table.entries[0], members, table=table)


def test_a_file_of_another_architecture_is_refused_by_check(pipeline: Path) -> None:
    more = new_unet(1, 32, addition_embed_type="text", addition_embed_type_num_heads=4)
    encoder = text_pipeline(pipeline, new_model()).text_encoder
    others = ((new_unet(1, 16), r"its .* is \(.*, expected \("), (more, "it holds no"), (encoder, "it holds no"))
    study = study_of(pipeline, "name: O, weights: other.safetensors, format: single_file, config: plain")
    for model, why in others:
        save_file(model.state_dict(), pipeline / "other.safetensors")
        misfit = f"is not the UNet2DConditionModel that .*plain/config.json describes: {why}"
        with pytest.raises(ConfigError, match=f"^denoiser 'O': .*{misfit}"):
            check_study(study)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("name: O, of: Q, lora: [{weights: L}]", "'O': quantization gguf does not go with a LoRA"),
        ("name: O, of: Q, dtype: float16", "'O': quantization gguf does not go with a dtype of its own"),
        ("name: O, weights: saved", "'O': quantization bitsandbytes needs an NVIDIA GPU"),
    ],
)
def test_quantised_weights_go_by_what_they_need(pipeline: Path, change: str, message: str) -> None:
    shutil.copytree(pipeline / "plain", pipeline / "saved")
    config = pipeline / "saved" / "config.json"
    said = {"quantization_config": {"load_in_4bit": True, "quant_method": "bitsandbytes"}}
    config.write_text(json.dumps({**json.loads(config.read_text()), **said}))
    save_file({"lora_A": torch.ones(1)}, pipeline / "L" / "lora.safetensors")
    (pipeline / "L" / f"{STEM}.safetensors").unlink()
    study = study_of(pipeline, change)
    with pytest.raises((ConfigError, EnvironmentProblem), match=f"^denoiser {message}"):
        check_study(study)

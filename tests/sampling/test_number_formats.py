"""A member in a number format of its own is a copy, is asked in it, and leaves the others as they are."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from sampling.test_deploy_as_studied import TEXT_STUDY, by_prompts, studied, study_in, table_of, text_pipeline
from text_to_image import PROMPTS, save_stable_diffusion
from torch import nn

from tstitch_search import stitch
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.memory import tensors_mb
from tstitch_search.members.changes.quantization import require_package
from tstitch_search.sampling.assembly import assemble
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.tasks.check import check_study

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    save_stable_diffusion(folder)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    for name in ("features.safetensors", "reference.npz"):
        shutil.copy(tiny_family / name, folder / name)
    return folder


def study_of(folder: Path, what: str) -> Study:
    listed = ["name: S, weights: S", f"name: half, of: L, {what}", "name: L, weights: L"]
    return study_in(folder, TEXT_STUDY, listed, family="stable_diffusion")


class InHalf(nn.Module):
    """The denoiser in bfloat16 inside a pipeline in float32: no part of the product."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner, self.config = inner, inner.config
        self.dtype, self.device = torch.float32, inner.device

    def forward(self, sample: torch.Tensor, t: Any, encoder_hidden_states: torch.Tensor, **named: Any) -> Any:
        named["return_dict"] = False
        (made,) = self.inner(sample.bfloat16(), t, encoder_hidden_states=encoder_hidden_states.bfloat16(), **named)
        return (made.float(),)


def test_alone_it_is_the_pipeline_around_a_denoiser_in_that_format_and_the_other_stays(folder: Path) -> None:
    study = study_of(folder, "dtype: bfloat16")
    half = UNet2DConditionModel.from_pretrained(folder / "L", torch_dtype=torch.bfloat16)
    made = studied(study, "half*4")
    assert torch.equal(made, by_prompts(text_pipeline(folder, InHalf(half)), study))
    full = by_prompts(text_pipeline(folder, UNet2DConditionModel.from_pretrained(folder / "L")), study)
    assert torch.equal(studied(study, "L*4"), full)
    assert not torch.equal(made, full)


def test_it_is_a_copy_that_is_counted_and_in_the_key(folder: Path) -> None:
    study = study_of(folder, "dtype: bfloat16")
    made = assemble(study, CPU)
    members = dict(zip(made.denoiser.names, made.denoiser.members, strict=True))
    assert tensors_mb([members["half"], members["L"]]) == pytest.approx(1.5 * tensors_mb([members["L"]]))
    assert made.weights_of == {}
    assert resolve_facts(study).key["dtype.half"] == "bfloat16"
    assert made.denoiser.dtype == torch.float32


def test_deployed_it_is_made_of_its_bases_module(folder: Path) -> None:
    study = study_of(folder, "dtype: bfloat16")
    table = table_of(study, resolve_facts(study), "half*2-L*2")
    members = {"L": UNet2DConditionModel.from_pretrained(folder / "L")}
    pipeline = stitch(text_pipeline(folder, members["L"]), table.entries[0], members, table=table)
    assert torch.equal(by_prompts(pipeline, study), studied(study, "half*2-L*2"))
    assert members["L"].dtype == torch.float32


def test_quantised_weights_are_refused_by_check_where_they_do_not_run(folder: Path) -> None:
    study = study_of(folder, "quantization: {bitsandbytes_4bit: {bnb_4bit_quant_type: nf4}}")
    message = r"'half': quantization bitsandbytes_4bit\(bnb_4bit_quant_type=nf4\) needs an NVIDIA GPU"
    for asked in (check_study, resolve_facts):
        with pytest.raises(EnvironmentProblem, match=message) as caught:
            asked(study)
        assert "dtype: bfloat16" in caught.value.hint
    with pytest.raises(EnvironmentProblem, match="'half' needs the package no_such_package, which is not installed"):
        require_package("no_such_package", "denoiser 'half'")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("quantization: {}", "got none; .* expected one of bitsandbytes_4bit, bitsandbytes_8bit"),
        ("quantization: {bitsandbytes_4bit: {}}, dtype: float16", "got quantization with dtype, expected it alone"),
        ("quantization: {bitsandbytes_2bit: {}}", "unknown key .*bitsandbytes_2bit, did you mean"),
        ("dtype: int8", "expected 'float32', 'float16' or 'bfloat16'"),
    ],
)
def test_what_cannot_be_is_refused_where_the_space_is_read(folder: Path, what: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study_of(folder, what)


def test_a_quantised_member_is_not_made_of_the_plain_one_in_production(folder: Path) -> None:
    study = study_of(folder, "dtype: bfloat16")
    table = table_of(study, resolve_facts(study), "half*2-L*2")
    quantised = {"dtype": None, "quantization": {"bitsandbytes_4bit": {}}}
    denoisers = table.provenance["study"]["search_space"]["denoisers"]
    denoisers[1] |= quantised
    members = {"L": UNet2DConditionModel.from_pretrained(folder / "L")}
    with pytest.raises(ConfigError, match="'half' has quantised weights"):
        stitch(text_pipeline(folder, members["L"]), table.entries[0], members, table=table)

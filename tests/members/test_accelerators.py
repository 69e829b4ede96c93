"""Members that skip work: as often as said, forgetting everything at each turn, and refused where they cannot."""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.changes.accelerators import accelerate
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.space_check import check_space
from tstitch_search.study_run.key import resolve_facts

CPU = torch.device("cpu")
N_STEPS = 6
MEMBERS = {
    "U": "{name: U, weights: U}",
    "U+deepcache1": "{name: U+deepcache1, weights: U, accelerator: deepcache1}",
    "U+deepcache3": "{name: U+deepcache3, weights: U, accelerator: deepcache3}",
    "XL": "{name: XL, weights: XL}",
    "XL+taylorseer1": "{name: XL+taylorseer1, weights: XL, accelerator: taylorseer1}",
    "XL+taylorseer3": "{name: XL+taylorseer3, weights: XL, accelerator: taylorseer3}",
}


def study_with(folder: Path, members: Sequence[str]) -> Any:
    listed = "\n".join(f"  - {MEMBERS[name]}" for name in members)
    head = f"name: tiny\nfamily: dit\npipeline: .\nn_classes: 10\nn_steps: {N_STEPS}\ndenoisers:\n"
    (folder / "space.yaml").write_text(head + listed + "\n")
    return load_study(folder / "study.yaml")


@pytest.fixture(scope="module")
def family(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_family, tmp_path_factory.mktemp("accelerated") / "family"))


@pytest.fixture(scope="module")
def assembly(family: Path) -> Assembly:
    return assemble(study_with(family, list(MEMBERS)), CPU)


def sample(assembly: Assembly, allocation: str, images: Sequence[int] = (0, 1)) -> torch.Tensor:
    assembly.denoiser.set_allocation(Allocation.parse(allocation))
    generators = [torch.Generator().manual_seed(i) for i in images]
    return assembly.family.sample(assembly.pipeline, [Condition(i) for i in images], generators, N_STEPS, 1.5)


def member(assembly: Assembly, name: str) -> Any:
    return assembly.denoiser.members[assembly.denoiser.names.index(name)]


class Calls:
    """How often a layer really worked."""

    def __init__(self, layer: nn.Module):
        self.n = 0
        self._handle = layer.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.n += 1


@pytest.mark.parametrize(("name", "plain"), [("U+deepcache1", "U"), ("XL+taylorseer1", "XL")])
def test_working_at_every_step_is_the_plain_member_bit_for_bit(assembly: Assembly, name: str, plain: str) -> None:
    assert torch.equal(sample(assembly, f"{name}*6"), sample(assembly, f"{plain}*6"))
    assert torch.equal(sample(assembly, f"{name}*2-XL*4"), sample(assembly, f"{plain}*2-XL*4"))


@pytest.mark.parametrize(
    ("allocation", "inner"),
    [("U+deepcache3*6", 2), ("U+deepcache3*4-XL*2", 2), ("U+deepcache3*1-XL*4-U+deepcache3*1", 2)],
)
def test_deepcache_works_through_the_inner_blocks_every_third_step_of_a_turn(
    assembly: Assembly, allocation: str, inner: int
) -> None:
    unet = member(assembly, "U+deepcache3")
    n_steps = Allocation.parse(allocation).steps["U+deepcache3"]
    deep = [Calls(layer) for layer in (unet.down_blocks[1].resnets[0], unet.mid_block.resnets[0])]
    outer = [Calls(layer) for layer in (unet.down_blocks[0].resnets[0], unet.up_blocks[1].resnets[0])]
    sample(assembly, allocation)
    assert {calls.n for calls in deep} == {inner}
    assert {calls.n for calls in outer} == {n_steps}


@pytest.mark.parametrize(
    ("allocation", "n"),
    [("XL+taylorseer3*6", 3), ("U*3-XL+taylorseer3*3", 2), ("XL+taylorseer3*2-U*2-XL+taylorseer3*2", 4)],
)
def test_taylorseer_works_twice_and_then_every_third_step_of_a_turn(
    assembly: Assembly, allocation: str, n: int
) -> None:
    """Steps 0, 1 and 3 of a turn, then 6, 9, ..."""
    layers = [block.attn1.to_q for block in member(assembly, "XL+taylorseer3").transformer_blocks]
    calls = [Calls(layer) for layer in layers]
    sample(assembly, allocation)
    assert {call.n for call in calls} == {n}


@pytest.mark.parametrize("name", ["U+deepcache3", "XL+taylorseer3"])
def test_nothing_is_remembered_from_one_turn_or_trajectory_to_the_next(assembly: Assembly, name: str) -> None:
    first = sample(assembly, f"{name}*6")
    sample(assembly, f"U*1-{name}*4-U*1", images=(5, 6, 7))
    assert torch.equal(sample(assembly, f"{name}*6"), first)
    plain = name.partition("+")[0]
    assert not torch.equal(first, sample(assembly, f"{plain}*6"))
    assert torch.equal(sample(assembly, f"U*5-{name}*1"), sample(assembly, f"U*5-{plain}*1"))


@pytest.mark.parametrize("name", ["U+deepcache3", "XL+taylorseer3"])
def test_an_image_is_the_same_in_whatever_batch_it_is_made(assembly: Assembly, name: str) -> None:
    whole = (sample(assembly, f"{name}*6", (0, 1, 2)) * 255).round()
    parts = torch.cat([sample(assembly, f"{name}*6", part) for part in ((0,), (1, 2))])
    assert ((parts * 255).round() - whole).abs().max() <= 1


def test_only_accelerated_members_are_stateful(assembly: Assembly) -> None:
    stateful = [name for name in assembly.denoiser.names if getattr(member(assembly, name), "is_stateful", False)]
    assert stateful == [name for name in MEMBERS if "+" in name]


def test_the_accelerator_is_part_of_the_key(family: Path) -> None:
    plain, faster = (resolve_facts(study_with(family, names)).key for names in (["XL"], ["XL+taylorseer3"]))
    assert faster["accelerator.XL+taylorseer3"] == "taylorseer3"
    assert not [name for name in plain if name.startswith("accelerator")]
    assert faster["weights.XL+taylorseer3"] == plain["weights.XL"]


def test_an_accelerator_for_another_architecture_is_refused(assembly: Assembly) -> None:
    with pytest.raises(ConfigError, match="XL: deepcache skips blocks of U-Nets, got DiTTransformer2DModel"):
        accelerate(member(assembly, "XL"), "deepcache3", "XL")
    with pytest.raises(ConfigError, match="finds no attention layer of diffusers in Conv2d"):
        accelerate(nn.Conv2d(1, 1, 1), "taylorseer3", "S")


def attending_unet(*attends: bool) -> UNet2DConditionModel:
    """A text-conditional U-Net for 4x8x8 latents with attention at 8x8 tokens, or not, at 4x4, ..."""
    torch.manual_seed(1)
    n = len(attends)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,) * n,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        mid_block_type=None,
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=8,
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("attends", "seen"),
    [((True, True), {32, 16}), ((False, True), {8})],
    ids=["at all resolutions", "not at the finest"],
)
def test_tomesd_merges_half_the_tokens_at_the_finest_attention(attends: tuple[bool, ...], seen: set[int]) -> None:
    """Of 64 tokens at 8x8 and 16 at 4x4; an answer depends on its own image only, and on no earlier answer."""
    pytest.importorskip("tomesd")
    plain, merged = attending_unet(*attends), attending_unet(*attends)
    accelerate(merged, "tomesd0.5", "U")
    n_tokens = set()
    for name, layer in merged.named_modules():
        if name.endswith("attn1"):
            layer.register_forward_pre_hook(lambda _, inputs: n_tokens.add(inputs[0].shape[1]))
    x, text = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 8)
    answer = merged(x, torch.tensor(500), text).sample
    assert n_tokens == seen
    assert (answer - plain(x, torch.tensor(500), text).sample).abs().max() > 1e-3
    assert torch.equal(merged(x, torch.tensor(500), text).sample, answer)
    torch.testing.assert_close(merged(x[:1], torch.tensor(500), text[:1]).sample, answer[:1], rtol=1e-4, atol=1e-5)
    assert not hasattr(merged, "is_stateful")


def test_tomesd_is_for_unets_with_cross_attention(assembly: Assembly) -> None:
    pytest.importorskip("tomesd")
    for name in ("XL", "U"):
        with pytest.raises(ConfigError, match=f"{name}: tomesd merges tokens of U-Nets with cross attention, got "):
            accelerate(member(assembly, name), "tomesd0.5", name)


@pytest.mark.skipif(find_spec("tomesd") is not None, reason="the package is there")
def test_a_package_that_is_not_there_is_named(assembly: Assembly) -> None:
    with pytest.raises(EnvironmentProblem, match="XL: accelerator tomesd needs the package tomesd"):
        accelerate(member(assembly, "XL"), "tomesd0.5", "XL")


@pytest.mark.parametrize("text", ["deepcache", "deepcache0", "taylorseer1.5", "tomesd2", "firstblock0.1", "3"])
def test_an_unknown_accelerator_is_refused_where_the_space_is_read(family: Path, text: str) -> None:
    study_with(family, ["U+deepcache3"])
    space = family / "space.yaml"
    space.write_text(space.read_text().replace("accelerator: deepcache3", f"accelerator: '{text}'"))
    with pytest.raises(ConfigError, match=r"space\.yaml:7: denoisers\.0\.accelerator"):
        load_study(family / "study.yaml")


def test_accelerated_members_fit_beside_the_plain_ones(family: Path) -> None:
    study = study_with(family, list(MEMBERS))
    assert list(check_space(study.space, family).members) == list(MEMBERS)

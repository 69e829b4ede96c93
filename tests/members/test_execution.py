"""How members run changes times, never what is computed: the same images up to rounding, or a clear refusal."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from sampling.test_deploy_as_studied import TEXT_STUDY, studied, study_in
from text_to_image import PROMPTS, save_stable_diffusion
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.config.models import ExecutionConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Calibrate, Calibration, Chunk, MakeImages
from tstitch_search.members.execution import Offload, prepare, require_working
from tstitch_search.sampling.assembly import assemble
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.preparation.pool import open_pool

CPU = torch.device("cpu")
MIXED = Allocation.parse("S*2-XL*2")


def measurer(folder: Path, *overrides: str) -> StudyMeasurer:
    made = StudyMeasurer(load_study(folder / "study.yaml", overrides), threads=1)
    made.load()
    return made


def images(measurer: StudyMeasurer) -> np.ndarray:
    made = measurer.do(MakeImages(MIXED, Chunk("search", 0, 4)))
    assert isinstance(made, np.ndarray)
    return made.astype(int)


def execution_key(folder: Path, *overrides: str) -> str:
    return resolve_facts(load_study(folder / "study.yaml", overrides)).key["execution"]


@pytest.fixture(scope="module")
def plain(tiny_family: Path) -> np.ndarray:
    return images(measurer(tiny_family))


@pytest.mark.parametrize("option", ["channels_last=true", "attention=math", "attention=flash"])
def test_layout_and_kernel_leave_the_images_as_they_are(tiny_family: Path, plain: np.ndarray, option: str) -> None:
    other = images(measurer(tiny_family, f"execution.{option}"))
    assert np.abs(other - plain).max() <= 1


def test_channels_last_is_how_weights_of_members_and_vae_lie_in_memory(tiny_family: Path) -> None:
    made = measurer(tiny_family, "execution.channels_last=true")
    weights = [made._denoiser.members[0].pos_embed.proj.weight, made._assembly.pipeline.vae.decoder.conv_in.weight]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_a_vae_that_tiles_decodes_as_diffusers_own_does(tiny_family: Path) -> None:
    options, latents = ExecutionConfig(vae_tiling=True), torch.randn(1, 4, 24, 24, generator=seeded())
    small_tiles = {"sample_size": 16, "block_out_channels": (8, 8), "norm_num_groups": 4}
    small_tiles |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    torch.manual_seed(0)
    vae = AutoencoderKL(**small_tiles).eval()
    with torch.no_grad():
        whole = vae.decode(latents).sample
        prepare([], vae, options)
        tiled = vae.decode(latents).sample
        assert torch.equal(tiled, vae.tiled_decode(latents).sample)
    assert not torch.equal(tiled, whole)
    assert execution_key(tiny_family, "execution.vae_tiling=true") == "vae_tiling=true"
    with pytest.raises(ConfigError, match=r"execution\.vae_tiling: Identity cannot decode in tiles"):
        prepare([], nn.Identity(), options)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own internals
def test_compiled_members_make_the_same_images(tiny_family: Path, plain: np.ndarray) -> None:
    try:
        require_working(ExecutionConfig(compile=True), CPU, torch.float32)
    except EnvironmentProblem as problem:
        pytest.skip(problem.message)
    torch._dynamo.utils.counters.clear()
    made = measurer(tiny_family, "execution.compile=true")
    assert np.abs(images(made) - plain).max() <= 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2


def test_a_kernel_that_this_device_has_not_is_refused_before_anything_is_loaded(tiny_family: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"execution.attention is cudnn, which does not work here: .+"):
        measurer(tiny_family, "execution.attention=cudnn", "workers.device=cpu")


@pytest.mark.parametrize("offload", ["model", "group"])
def test_offloading_from_a_cpu_and_compiling_what_moves_are_refused(tiny_family: Path, offload: str) -> None:
    on_cpu = load_study(tiny_family / "study.yaml", [f"execution.offload={offload}"])
    with pytest.raises(EnvironmentProblem, match=rf"execution.offload is {offload}, but the work is done on the CPU"):
        open_pool(on_cpu)
    with pytest.raises(ConfigError, match=f"got {offload} together with compile: true"):
        load_study(tiny_family / "study.yaml", ["execution.compile=true", f"execution.offload={offload}"])


def test_members_whose_blocks_ask_each_other_are_refused_in_groups_before_they_are_loaded(tiny_family: Path) -> None:
    study = load_study(tiny_family / "study.yaml", ["execution.offload=group"])
    with pytest.raises(ConfigError, match=r"'S': execution.offload group does not go with DiTTransformer2D"):
        resolve_facts(study)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_members_in_groups_make_the_same_images_also_where_they_share_weights(tmp_path: Path) -> None:
    """The device is the CPU: diffusers' hooks are those of a GPU, what they move is not."""
    save_stable_diffusion(tmp_path)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    listed = ["name: S, weights: S", "name: L, weights: L", "name: free, of: L, guidance_scale: 1"]
    listed += ["name: L+deepcache2, of: L, accelerator: deepcache2"]
    study = study_in(tmp_path, TEXT_STUDY, listed, family="stable_diffusion")
    moved = load_study(study.study_path, ["execution.offload=group"])
    allocation = "S*1-L*1-free*1-L+deepcache2*1"
    assert torch.equal(studied(moved, allocation), studied(study, allocation))
    members = assemble(moved, CPU).denoiser.members
    assert all(is_offloaded(member.down_blocks[0]) for member in members)
    assert members[1].conv_in.weight is members[2].conv_in.weight


def is_offloaded(module: nn.Module) -> bool:
    return module._diffusers_hook.get_hook("group_offloading") is not None


def test_every_option_is_in_the_key_and_none_is_when_nothing_was_chosen(tiny_family: Path) -> None:
    assert execution_key(tiny_family) == "plain"
    both = execution_key(tiny_family, "execution.compile=true", "execution.attention=math")
    assert both == "compile=true attention=math"
    assert execution_key(tiny_family, "execution.offload=model") == "offload=model"
    assert execution_key(tiny_family, "execution.channels_last=true") == "channels_last=true"


def test_only_the_member_whose_turn_it_is_is_present_and_its_weights_stay_what_they_are() -> None:
    members = [nn.Linear(3, 3), nn.BatchNorm1d(3)]
    before = [{name: t.clone() for name, t in m.state_dict().items()} for m in members]
    home = [[t.data_ptr() for t in m.state_dict().values()] for m in members]
    offload = Offload(members, CPU)

    def present() -> list[bool]:
        return [[t.data_ptr() for t in m.state_dict().values()] != at for m, at in zip(members, home, strict=True)]

    assert present() == [False, False]
    for turn in (0, 1, 1, 0):
        offload.bring_in(members[turn])
        assert present() == [turn == 0, turn == 1]
    offload.leave()
    assert present() == [False, False]
    for member, values in zip(members, before, strict=True):
        assert all(torch.equal(t, values[name]) for name, t in member.state_dict().items())


def test_every_step_finds_its_member_present_and_decoding_finds_none(tiny_family: Path, plain: np.ndarray) -> None:
    made = measurer(tiny_family, "execution.offload=model")
    offload = made._denoiser.offload
    assert offload is not None
    present: list[nn.Module | None] = []
    made._denoiser.on_step = lambda _: present.append(offload._present)
    assert np.array_equal(images(made), plain)
    small, _, large = made._denoiser.members
    assert present == [None, small, small, large, None]


def test_offloaded_members_leave_room_where_decoding_needs_the_most(tiny_family: Path) -> None:
    job = Calibrate(("S", "XL"), 4, 3)
    moved = measurer(tiny_family, "execution.offload=model").do(job)
    kept = measurer(tiny_family).do(job)
    assert isinstance(moved, Calibration)
    assert isinstance(kept, Calibration)
    assert all(moved.member_memory_mb[name] < kept.member_memory_mb[name] for name in job.denoisers)
    assert moved.peak_memory_mb == max(moved.member_memory_mb.values())
    assert kept.peak_memory_mb > max(kept.member_memory_mb.values())


@pytest.fixture
def with_tiny_vae(tiny_family: Path, tmp_path: Path) -> Path:
    """A copy of the family with one more VAE, a tiny one, in `small_vae`."""
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    AutoencoderTiny(
        in_channels=1,
        out_channels=1,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    ).save_pretrained(folder / "small_vae")
    return folder


def test_another_vae_decodes_and_is_in_the_key_and_in_the_memory(with_tiny_vae: Path, plain: np.ndarray) -> None:
    made = measurer(with_tiny_vae, "execution.vae=small_vae")
    assert type(made._assembly.pipeline.vae) is AutoencoderTiny
    assert images(made).shape == plain.shape
    assert not np.array_equal(images(made), plain)
    own, other = (
        resolve_facts(load_study(with_tiny_vae / "study.yaml", chosen)) for chosen in ([], ["execution.vae=small_vae"])
    )
    assert {name for name in own.key if own.key[name] != other.key[name]} == {"weights.pipeline"}
    assert own.resolution == other.resolution == 32
    first, second = (m.do(Calibrate(("S",), 4, 3)) for m in (measurer(with_tiny_vae), made))
    assert isinstance(first, Calibration)
    assert isinstance(second, Calibration)
    assert first.member_memory_mb != second.member_memory_mb


@pytest.mark.parametrize(
    ("vae", "error", "message"),
    [
        ("S", ConfigError, "describes a DiTTransformer2DModel, expected a VAE"),
        ("nowhere", EnvironmentProblem, "execution.vae: 'nowhere' is neither the folder"),
    ],
)
def test_a_vae_that_is_none_is_refused(tiny_family: Path, vae: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_facts(load_study(tiny_family / "study.yaml", [f"execution.vae={vae}"]))

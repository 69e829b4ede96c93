"""Members too large for the device: brought in block by block, or quantised; the product's own loading code."""

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import BitsAndBytesConfig, TorchAoConfig, UNet2DConditionModel
from sampling.saved_pipelines import save_pipeline
from sampling.test_deploy_as_studied import TEXT_STUDY, study_in
from sampling.test_diffusers_pipelines import STUDY, shorten
from text_to_image import PROMPTS, save_stable_diffusion

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measure.memory import tensors_mb
from tstitch_search.measurement import Calibrate, Calibration, Chunk, ChunkFeatures, MakeChunk, MakeImages
from tstitch_search.members.execution import GroupOffload
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.tasks.check import check_study

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]
CHUNK = Chunk("search", 0, 4)


def drawn(assembly: Assembly, study: Study, allocation: str) -> torch.Tensor:
    """Two images, or clips."""
    assembly.denoiser.set_allocation(Allocation.parse(allocation))
    conditions = ProxySet.of_study(study).conditions_of(Chunk("search", 0, 2))
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    scale = study.config.guidance_scale
    return assembly.family.sample(assembly.pipeline, conditions, generators, study.space.n_steps, scale).cpu()


def measurer(study: Study) -> StudyMeasurer:
    made = StudyMeasurer(study, threads=1)
    made.load()
    return made


def images(made: StudyMeasurer, allocation: str) -> np.ndarray:
    answer = made.do(MakeImages(Allocation.parse(allocation), CHUNK))
    assert isinstance(answer, np.ndarray)
    return answer.astype(int)


def on_gpu(study: Study, *overrides: str) -> Study:
    return load_study(study.study_path, ["workers.device=cuda", "workers.reuse_mb=0", *overrides])


class TestGroups:
    """`execution.offload: group`."""

    @pytest.mark.parametrize("has_more", [True, False])
    def test_only_two_blocks_are_present_at_a_time_and_none_afterwards(
        self, cuda: torch.device, has_more: bool
    ) -> None:
        torch.manual_seed(0)
        member = Blocks(12, 1000, has_more)  # 4 MB each
        x = torch.randn(8, 1000, device=cuda)
        expected = Blocks(12, 1000, has_more).to(cuda)
        expected.load_state_dict(member.state_dict())
        with torch.no_grad():
            answer = expected(x)
            del expected
            gc.collect()
            offload = GroupOffload([member], cuda)
            before = torch.cuda.memory_allocated()
            for _ in range(3):  # the first call learns the order of the blocks
                torch.cuda.reset_peak_memory_stats()
                offload.bring_in(member)
                assert torch.equal(member(x), answer)
                assert torch.cuda.max_memory_allocated() - before < 14e6
            offload.leave()
        assert torch.cuda.memory_allocated() == before
        assert all(p.device.type == "cpu" for p in member.parameters())

    def test_a_block_that_does_not_fit_is_home_again_when_the_next_member_comes(self, cuda: torch.device) -> None:
        large, small = Blocks(2, 1000), Blocks(2, 10)
        offload = GroupOffload([large, small], cuda)
        before = torch.cuda.memory_allocated()
        large.blocks[1].register_forward_hook(out_of_memory)
        offload.bring_in(large)
        with torch.no_grad(), pytest.raises(torch.OutOfMemoryError):
            large(torch.randn(8, 1000, device=cuda))
        gc.collect()
        offload.bring_in(small)
        assert torch.cuda.memory_allocated() - before < 1e6

    @pytest.mark.parametrize("name", ["stable_diffusion", "flux", "wan22"])
    def test_members_make_the_same_bits_as_without(self, cuda: torch.device, tmp_path: Path, name: str) -> None:
        folder = save_pipeline(name, tmp_path)
        (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
        (folder / "study.yaml").write_text(STUDY.format(further="", batch=2))
        study, made = load_study(folder / "study.yaml"), []
        for offload in ("none", "group"):
            assembly = assemble(on_gpu(study, f"execution.offload={offload}"), cuda)
            shorten(name, assembly.pipeline)
            made.append(drawn(assembly, study, "S*1-B*1-L*2"))
        assert torch.equal(*made)

    def test_a_calibration_counts_the_blocks_that_are_present_and_members_of_the_same_weights_take_turns(
        self, cuda: torch.device, tiny_family: Path, tmp_path: Path, record_property
    ) -> None:
        study = wide_study(tiny_family, tmp_path, ["name: free, of: P, guidance_scale: 1"])
        said, made = {}, {}
        for offload in ("none", "model", "group"):
            here = measurer(on_gpu(study, f"execution.offload={offload}", "latency.error=50%", "latency.batch_size=2"))
            job = Calibrate(("S", "P", "free"), 4, 3)
            answer = here.do(job)
            assert isinstance(answer, Calibration)
            said[offload], made[offload] = answer.member_memory_mb["P"], images(here, "S*1-P*1-free*2")
            record_property(f"{offload}_mb", said[offload])
            del here
            gc.collect()
        assert np.array_equal(made["group"], made["none"])
        assert said["group"] < said["model"] - 40
        assert said["model"] == pytest.approx(said["none"], rel=0.1)


class TestQuantisedMembers:
    """Less memory, and nearly the same images, chunk by chunk."""

    def test_int8_weights_saved_by_torchao(
        self, cuda: torch.device, tiny_family: Path, tmp_path: Path, record_property
    ) -> None:
        torchao = pytest.importorskip("torchao.quantization")
        study = wide_study(tiny_family, tmp_path, ["name: Q, weights: Q"])
        config = TorchAoConfig(torchao.Int8WeightOnlyConfig())
        quantised = UNet2DConditionModel.from_pretrained(
            tmp_path / "P", quantization_config=config, torch_dtype=torch.float32
        )
        quantised.save_pretrained(tmp_path / "Q")
        assert_smaller_and_near(study, 0.72, record_property)

    @pytest.mark.parametrize(("kind", "at_most"), [("bitsandbytes_8bit", 0.72), ("bitsandbytes_4bit", 0.67)])
    def test_weights_that_bitsandbytes_quantises_while_they_are_loaded(
        self, cuda: torch.device, tiny_family: Path, tmp_path: Path, record_property, kind: str, at_most: float
    ) -> None:
        pytest.importorskip("bitsandbytes")
        study = wide_study(tiny_family, tmp_path, [f"name: Q, weights: P, quantization: {{{kind}: {{}}}}"])
        assert_smaller_and_near(study, at_most, record_property)

    def test_4bit_weights_saved_by_bitsandbytes(
        self, cuda: torch.device, tiny_family: Path, tmp_path: Path, record_property
    ) -> None:
        pytest.importorskip("bitsandbytes")
        study = wide_study(tiny_family, tmp_path, ["name: Q, weights: Q"])
        config = BitsAndBytesConfig(load_in_4bit=True)
        UNet2DConditionModel.from_pretrained(tmp_path / "P", quantization_config=config).save_pretrained(tmp_path / "Q")
        assert_smaller_and_near(study, 0.67, record_property)


def assert_smaller_and_near(study: Study, at_most: float, record_property) -> None:
    """The member Q takes at most this share of P's memory, and its images are those of P, nearly."""
    study = on_gpu(study)
    assert check_study(study).problem is None
    made = measurer(study)
    plain, small = (tensors_mb([made._denoiser.member(name)]) for name in ("P", "Q"))
    record_property("share_of_memory", small / plain)
    assert small < at_most * plain
    answer = made.do(MakeChunk(Allocation.parse("S*1-Q*3"), CHUNK))
    assert isinstance(answer, ChunkFeatures)
    assert len(answer.arrays["features"]) == CHUNK.n_images
    quantised, exact, other = (images(made, allocation) for allocation in ("Q*4", "P*4", "S*4"))
    off, apart = (float(np.abs(these - exact).mean()) for these in (quantised, other))
    record_property("mean_difference", off)
    record_property("mean_difference_of_another_member", apart)
    assert 0 < off < apart / 4


class Blocks(torch.nn.Module):
    """Blocks, and one layer beside them where it `has_more`."""

    def __init__(self, n: int, width: int, has_more: bool = True):
        super().__init__()
        self.first = torch.nn.Linear(width, width, bias=False) if has_more else None
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(width, width, bias=False) for _ in range(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.first is None else self.first(x)
        for block in self.blocks:
            x = block(x)
        return x


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def wide_study(tiny_family: Path, folder: Path, listed: list[str]) -> Study:
    """S as saved, and P: 108 MB of weights in 8 blocks, 42 % of them in linear layers, which are quantised."""
    save_stable_diffusion(folder)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    for name in ("features.safetensors", "reference.npz"):
        shutil.copy(tiny_family / name, folder / name)
    torch.manual_seed(3)
    wide_unet().save_pretrained(folder / "P")
    listed = ["name: S, weights: S", "name: P, weights: P", *listed]
    return study_in(folder, TEXT_STUDY, listed, family="stable_diffusion")


def wide_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(192,) * 4,
        down_block_types=("CrossAttnDownBlock2D",) * 4,
        up_block_types=("CrossAttnUpBlock2D",) * 4,
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
        cross_attention_dim=8,
    ).eval()

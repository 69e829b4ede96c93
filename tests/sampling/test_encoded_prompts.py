"""Prompts are encoded once and kept by their arguments; text encoders hold weights only meanwhile."""

from pathlib import Path

import pytest
import torch
from sampling.saved_pipelines import save_pipeline

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Chunk, ChunkFeatures, MakeChunk
from tstitch_search.sampling.assembly import assemble
from tstitch_search.sampling.encoded_prompts import EncodedPrompts, _told
from tstitch_search.study_run.times.prompt_price import prompt_price

STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 3
proxy_set: {prompts: prompts.txt, chunk_size: 20}
quality: {objective: fid, extractor: fashion-cnn, n_images: 20, reference: none.npz}
confirm: {n_images: 20}
workers: {pool: inline, n_workers: 1, device: cpu, device_batch_size: 10}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = save_pipeline("flux", tmp_path_factory.mktemp("flux"))
    space = folder / "space.yaml"  # fashion-cnn takes 32 pixels
    space.write_text(space.read_text().replace(': 16, "width": 16', ': 32, "width": 32'))
    (folder / "prompts.txt").write_text("\n".join(f"a cat {chr(97 + i % 26)} {chr(97 + i // 26)}" for i in range(40)))
    (folder / "study.yaml").write_text(STUDY)
    return load_study(folder / "study.yaml")


def chunk_of(study: Study) -> ChunkFeatures:
    measurer = StudyMeasurer(study)
    measurer.load()
    answer = measurer.do(MakeChunk(Allocation.parse("S*2-L*2"), Chunk("search", 0, 20)))
    assert isinstance(answer, ChunkFeatures)
    return answer


def test_a_run_encodes_its_prompts_before_images_and_once_for_all_workers(study: Study, tmp_path: Path) -> None:
    plain = chunk_of(study)
    assert plain.prompts is None
    run = study.model_copy(update={"run_folder": tmp_path})
    first = chunk_of(run)
    kept = sorted((tmp_path / "prompts").iterdir())
    assert len(kept) == 4  # two batches of the search, two of the confirmation
    second = chunk_of(run)
    assert sorted((tmp_path / "prompts").iterdir()) == kept
    for made in (first, second):
        assert torch.equal(torch.from_numpy(made.arrays["features"]), torch.from_numpy(plain.arrays["features"]))
        assert made.prompts is not None
        assert made.prompts.freed_mb > 0
    assert second.prompts.saved_s > first.prompts.saved_s


def pipeline_of(study: Study) -> tuple[EncodedPrompts, dict[str, torch.nn.Module]]:
    assembly = assemble(study, torch.device("cpu"))
    assert assembly.prompts is not None
    encoders = {n: p for n, p in assembly.pipeline.components.items() if n.startswith("text_encoder")}
    return assembly.prompts, encoders


def test_text_encoders_leave_and_come_back_with_the_same_weights(study: Study, tmp_path: Path) -> None:
    prompts, encoders = pipeline_of(study)
    prompts.folder = tmp_path
    ask = {"prompt": ["a cat", "dog"], "prompt_2": None, "max_sequence_length": 16}
    fresh = prompts(**ask)
    prompts.leave()
    assert prompts.encoders_mb == 0
    assert all(e.dtype == torch.float32 and e.device.type == "cpu" for e in encoders.values())
    assert all(torch.equal(a, b) for a, b in zip(fresh, prompts(**ask), strict=True))
    assert prompts.encoders_mb == 0  # it was read
    other = prompts(**{**ask, "prompt": ["a cat"]})
    assert prompts.encoders_mb > 0
    assert not torch.equal(other[0][:1], fresh[0][1:])


def test_a_damaged_answer_is_encoded_again(study: Study, tmp_path: Path) -> None:
    prompts, _ = pipeline_of(study)
    prompts.folder = tmp_path
    fresh = prompts(prompt=["a cat"], prompt_2=None)
    next(tmp_path.iterdir()).write_bytes(b"torn")
    prompts.leave()
    assert torch.equal(prompts(prompt=["a cat"], prompt_2=None)[0], fresh[0])


def test_a_disk_without_room_keeps_nothing_and_the_encoders_stay(study: Study, tmp_path: Path) -> None:
    prompts, _ = pipeline_of(study)
    prompts.folder, prompts.n_expected = tmp_path, 10**15
    prompts(prompt=["a cat"], prompt_2=None)
    prompts.leave()
    assert not list(tmp_path.iterdir())
    assert prompts.encoders_mb > 0


def test_what_has_no_content_that_is_known_is_not_kept() -> None:
    with pytest.raises(TypeError):
        _told([object()])
    assert _told(torch.ones(2)) != _told(torch.zeros(2))


def test_a_plan_says_what_is_saved(study: Study) -> None:
    prompts, _ = pipeline_of(study)
    price, once = prompt_price(study, 400, flops_per_s=1e9), prompt_price(study, 40, flops_per_s=1e9)
    assert price is not None
    assert once is not None
    assert price.freed_gb == pytest.approx(prompts.encoders_mb / 1e3)
    assert price.saved_s > once.saved_s == 0

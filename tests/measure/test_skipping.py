"""A cache that skips nothing is an error; one that decides by the batch is never given smaller batches."""

import shutil
from pathlib import Path

import pytest
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Calibrate, Calibration, Chunk, MakeImages
from tstitch_search.study_run.key import resolve_facts


def study_with(tiny_family: Path, tmp_path: Path, members: str) -> Study:
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    space = folder / "space.yaml"
    space.write_text(space.read_text().replace("  - {name: XL, weights: XL}\n", members))
    return load_study(folder / "study.yaml")


@pytest.mark.parametrize("kind", ["taylorseer", "deepcache"])
def test_a_cache_that_skips_nothing_stops_the_calibration_and_one_that_skips_does_not(
    tiny_family: Path, tmp_path: Path, kind: str
) -> None:
    weights = "XL" if kind == "taylorseer" else "U"
    listed = [f"  - {{name: {name}, weights: {weights}, accelerator: {kind}{n}}}\n" for name, n in (("A", 3), ("Z", 1))]
    study = study_with(tiny_family, tmp_path, "".join(listed) + "  - {name: XL, weights: XL}\n")
    measurer = StudyMeasurer(study, threads=1)
    measurer.load()
    with pytest.raises(ConfigError, match="denoiser 'Z': its cache skips nothing in a whole trajectory of 4 steps"):
        measurer.do(Calibrate(("S", "A", "Z"), 4, 2))
    assert isinstance(measurer.do(Calibrate(("S", "A"), 4, 2)), Calibration)


def deciding_by_batch(study: Study, name: str) -> Study:
    """The study with a first block cache on a member, as its space would say it."""
    denoisers = [d.model_dump(mode="json", exclude_unset=True) for d in study.space.denoisers]
    for d in denoisers:
        d |= {"accelerator": {"first_block": {"threshold": 0.1}}} if d["name"] == name else {}
    space = {**study.space.model_dump(mode="json", by_alias=True), "denoisers": denoisers}
    return study.model_copy(update={"space": SpaceConfig.model_validate(space)})


def test_batches_of_a_member_that_decides_by_them_are_not_split(
    tiny_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_with(tiny_family, tmp_path, "  - {name: XL, weights: XL}\n")
    measurer = StudyMeasurer(study, threads=1)
    measurer.load()
    measurer._space = deciding_by_batch(study, "XL").space
    sample, sizes = measurer._sample, []

    def little_memory(allocation: Allocation, images: Chunk, answerer: object = None) -> torch.Tensor:
        sizes.append(images.n_images)
        if images.n_images > 2:
            raise torch.OutOfMemoryError("out of memory")
        return sample(allocation, images)

    monkeypatch.setattr(measurer, "_sample", little_memory)
    with pytest.raises(MeasurementError, match="out of memory"):
        measurer.do(MakeImages(Allocation.parse("S*2-XL*2"), Chunk("search", 0, 4)))
    assert sizes == [4]
    measurer.do(MakeImages(Allocation.parse("S*4"), Chunk("search", 0, 4)))
    assert sizes[-1] == 2


def test_the_size_of_a_batch_is_in_the_key_where_a_member_decides_by_it(tiny_family: Path, tmp_path: Path) -> None:
    study = study_with(tiny_family, tmp_path, "  - {name: XL, weights: XL, accelerator: taylorseer3}\n")
    assert "accelerator.device_batch_size" not in resolve_facts(study).key
    with pytest.raises(
        ConfigError, match="first_block does not work in DiTPipeline: diffusers has no hooks for caches"
    ):
        resolve_facts(deciding_by_batch(study, "XL"))

"""A study without reference images: every allocation against the largest denoiser's own pictures of the same seeds."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.kept_images import KeptImages
from tstitch_search.ledger import read_events
from tstitch_search.lookup import LookupTable
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Answer, Chunk, Job, MakeImages
from tstitch_search.progress import Silent
from tstitch_search.quality.metrics.pairs import PSNR_CEILING
from tstitch_search.study_run import Result, run_study
from tstitch_search.workers.inline import InlinePool

PAIRED = ("quality.objective=psnr", "quality.reference=null", "quality.metrics=[ssim]", "search.n_trials=4",
          "confirm.n_images=20")  # fmt: skip


class ElsewhereMeasurer(StudyMeasurer):
    """The real measurer, given its jobs as a worker on another machine gets them."""

    def do(self, job: Job) -> Answer:
        return super().do(pickle.loads(pickle.dumps(job)))


class NotANumber:
    """A metric of one's own that is broken."""

    kind, label, higher_is_better = "pair", "no number", False

    def __init__(self, device: object):
        pass

    def __call__(self, images: Any, anchors: Any) -> Any:
        return images[:, 0, 0, 0] * float("nan")


def run(study: Study, path: Path) -> Result:
    return run_study(study, path, lambda s: InlinePool(lambda: ElsewhereMeasurer(s, 1)), Silent())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs") / "run"


@pytest.fixture(scope="module")
def study(tiny_family: Path) -> Study:
    return load_study(tiny_family / "study.yaml", PAIRED)


@pytest.fixture(scope="module")
def result(study: Study, folder: Path) -> Result:
    return run(study, folder)


def test_the_anchor_is_the_best_by_construction_and_all_else_is_held_against_it(result: Result) -> None:
    *faster, anchor = result.table.entries
    assert anchor.allocation == result.table.anchor
    assert anchor.quality == pytest.approx(PSNR_CEILING)
    assert anchor.quality_se == 0
    assert faster
    for entry in faster:
        assert entry.quality < PSNR_CEILING
        assert entry.quality_se > 0
        assert entry.metrics["ssim"].value < 1


def test_the_values_are_those_of_the_pictures_themselves(result: Result, study: Study) -> None:
    measurer = StudyMeasurer(study, 1)
    measurer.load()
    entry, n = result.table.entries[0], result.table.entries[0].n_images
    a, b = (
        np.asarray(measurer.do(MakeImages(allocation, Chunk("confirm", 0, n)))).astype(float)
        for allocation in (entry.allocation, result.table.anchor)
    )
    db = 10 * np.log10(255**2 / ((a - b) ** 2).mean(axis=(1, 2, 3)))
    assert entry.quality == pytest.approx(db.mean(), rel=1e-5)
    assert entry.quality_se == pytest.approx(db.std(ddof=1) / n**0.5, rel=1e-4)


def test_the_page_shows_each_entrys_worst_pictures_beside_the_anchors(result: Result, study: Study) -> None:
    entry, anchor = result.table.entries[0], result.table.anchor
    told = {e["allocation"]: e for e in read_events(result.folder / "ledger.jsonl") if e["event"] == "worst"}
    assert set(told) == {str(e.allocation) for e in result.table.entries} - {str(anchor)}
    measurer = StudyMeasurer(study, 1)
    measurer.load()
    chunk = Chunk("confirm", 0, entry.n_images)
    a, b = (np.asarray(measurer.do(MakeImages(allocation, chunk))) for allocation in (anchor, entry.allocation))
    db = 10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean(axis=(1, 2, 3)))
    worst = told[str(entry.allocation)]
    assert worst["values"] == pytest.approx(sorted(db)[:5], rel=1e-5)
    assert worst["at_least_as_bad"] == pytest.approx(np.quantile(db, 0.05), rel=1e-5)
    with Image.open(result.folder / "images" / f"worst_{entry.allocation.file_name}.png") as strip:
        shown = np.split(np.asarray(strip.convert("RGB")), 10, axis=1)
    for i, image in enumerate(worst["images"]):
        assert np.array_equal(shown[2 * i], a[image])
        assert np.array_equal(shown[2 * i + 1], b[image])
    assert entry.quantiles == pytest.approx({q: np.quantile(db, float(q)) for q in ("0.05", "0.5", "0.95")}, rel=1e-5)
    assert entry.metrics["ssim"].quantiles["0.05"] < entry.metrics["ssim"].value
    assert LookupTable.read(result.folder / "lookup.json").entries == result.table.entries
    assert "worst 5 %</th>" in result.report.read_text()
    assert f"worst pictures of {entry.allocation}" in result.report.read_text()


def test_the_anchors_pictures_are_kept_once_by_their_content(result: Result, folder: Path) -> None:
    chunks = [e for e in read_events(folder / "ledger.jsonl") if e["event"] == "chunk"]
    kept = {e["images"] for e in chunks if "images" in e}
    assert {e["allocation"] for e in chunks if "images" in e} == {str(result.table.anchor)}
    assert {path.stem for path in (folder / "features" / "anchor_images").iterdir()} == kept


def test_a_second_run_measures_nothing_and_lost_pictures_are_made_again(
    result: Result, study: Study, folder: Path
) -> None:
    assert run(study, folder).n_new == 0
    for path in (folder / "features" / "anchor_images").iterdir():
        path.write_bytes(b"not a picture")
    for path in (folder / "features" / "confirm").iterdir():
        if path.name != result.table.anchor.file_name:
            for file in path.iterdir():
                file.unlink()
    again = run(study, folder)
    assert [e.quality for e in again.table.entries] == [e.quality for e in result.table.entries]


def test_kept_pictures_come_back_bit_for_bit(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    kept = KeptImages.write(tmp_path, images)
    assert np.array_equal(kept.read(), images)
    carried = pickle.loads(pickle.dumps(kept))
    kept.path.unlink()
    assert np.array_equal(carried.read(), images)


def test_a_metric_that_fails_on_the_anchors_own_images_ends_the_run_at_once(tiny_family: Path, tmp_path: Path) -> None:
    overrides = (*PAIRED, f"quality.metrics=[{__name__}:NotANumber]")
    with pytest.raises(EnvironmentProblem, match=r"the anchor .* could not be measured.*no number of image 0 of"):
        run(load_study(tiny_family / "study.yaml", overrides), tmp_path / "run")
    failed = {e["allocation"] for e in read_events(tmp_path / "run" / "ledger.jsonl") if e["event"] == "failed"}
    assert len(failed) == 1  # nothing was tried of any other


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "quality={objective: perceptual, extractor: vgg16, n_images: 20}",
            "compares layers of fashion-cnn",
        ),
        ("quality.objective=lpips", "lpips_weights is missing"),
        ("quality.objective=psnrr", "expected one of fid, .*psnr.* or module:Class"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_runs(tiny_family: Path, setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_study(tiny_family / "study.yaml", ("quality.reference=null", setting))

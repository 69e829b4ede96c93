"""Real images become features once, survive crashes and are refused with their names when they will not do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from study_run.synthetic import SyntheticMeasurer
from torch_fidelity.registry import DATASETS_REGISTRY

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.ledger import Ledger
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.progress import Silent
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.reference import Reference, load_reference
from tstitch_search.study_run import run_study
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.preparation.references import CHUNK, prepare_reference, recall
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.tasks.plan import plan_study
from tstitch_search.workers.inline import InlinePool
from tstitch_search.workers.protocol import Measurer

N = 2 * CHUNK + 100
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)
# What the synthetic measurer answers for them.
FEATURES = PIXELS.reshape(N, -1)[:, :64].astype(np.float32)


def save_images(folder: Path, pixels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:04d}.png", compress_level=1)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of N images; do not change it."""
    folder = tmp_path_factory.mktemp("real")
    save_images(folder, PIXELS)
    return folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tstitch-search" / "references"


@pytest.fixture
def measurer(tiny_family: Path) -> SyntheticMeasurer:
    return SyntheticMeasurer(load_reference("reference.npz", tiny_family))


Prepare = Callable[..., Reference]


@pytest.fixture
def prepare(tiny_family: Path, tmp_path: Path) -> Prepare:
    def prepare(source: object, measurer: Measurer, needs_features: bool = False, ledger: str = "a") -> Reference:
        study = load_study(tiny_family / "study.yaml", [f"quality.reference={source}"])
        with Ledger(tmp_path / f"{ledger}.jsonl") as opened:
            store = FeatureStore(tmp_path / "features", {})
            with Workbench(InlinePool(lambda: measurer), opened, store, Silent()) as bench:
                return prepare_reference(bench, study, resolve_facts(study), needs_features)

    return prepare


def assert_is_of(found: Reference, features: np.ndarray) -> None:
    exact = features.astype(np.float64)
    np.testing.assert_allclose(found.mu, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.sigma, np.cov(exact, rowvar=False), rtol=1e-9, atol=1e-9)
    assert found.n_images == len(features)


def test_a_folder_becomes_statistics_and_features_in_chunks_over_the_workers(prepare, measurer, real):
    found = prepare(real, measurer)
    assert_is_of(found, FEATURES)
    assert np.array_equal(found.features, FEATURES)
    assert measurer.extracted == [0, CHUNK, 2 * CHUNK]


def test_what_was_made_for_one_study_is_there_for_the_next(prepare, measurer, real, empty_cache):
    first = prepare(real, measurer)
    again = SyntheticMeasurer(measurer.reference)
    second = prepare(real, again, ledger="another study")
    assert again.extracted == []
    assert np.array_equal(first.sigma, second.sigma)
    assert np.array_equal(first.features, second.features)
    assert first.sha256 == second.sha256
    assert len(list(empty_cache.iterdir())) == 1


def test_a_known_reference_needs_no_worker(prepare, measurer, real):
    prepare(real, measurer)

    class Absent(SyntheticMeasurer):
        def load(self) -> dict[str, float]:
            raise AssertionError("a worker was started")

    prepare(real, Absent(measurer.reference))


def test_a_crash_costs_the_chunk_under_way_only(prepare, measurer, real):
    measurer.interrupt_after = 2
    with pytest.raises(KeyboardInterrupt):
        prepare(real, measurer)
    measurer.interrupt_after = None
    assert_is_of(prepare(real, measurer), FEATURES)
    assert measurer.extracted == [0, CHUNK, 2 * CHUNK]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda _: b"x"])
def test_a_damaged_file_in_the_cache_is_made_again(prepare, measurer, real, empty_cache, damage):
    prepare(real, measurer)
    (kept,) = empty_cache.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert_is_of(prepare(real, measurer), FEATURES)
    assert measurer.extracted == [0, CHUNK, 2 * CHUNK] * 2


def test_another_image_is_another_reference(prepare, measurer, real, tmp_path):
    before = prepare(real, measurer)
    folder = Path(shutil.copytree(real, tmp_path / "copy"))
    Image.fromarray(PIXELS[1]).save(folder / "0000.png")
    after = prepare(folder, measurer, ledger="b")
    assert before.sha256 != after.sha256
    assert not np.array_equal(before.mu, after.mu)


def test_with_another_extractors_weights_nothing_was_made_before(prepare, measurer, real, tmp_path, tiny_family):
    prepare(real, measurer)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"others")
    settings = [f"quality.reference={real}"]
    same = load_study(tiny_family / "study.yaml", settings)
    other = load_study(tiny_family / "study.yaml", [*settings, f"quality.extractor_weights={weights}"])
    assert recall(same, resolve_facts(same)) is not None
    assert recall(other, resolve_facts(other)) is None


def test_images_in_an_archive_become_the_same_reference_as_in_a_folder(prepare, measurer, real, tmp_path):
    np.savez(tmp_path / "batch.npz", arr_0=PIXELS)
    in_archive, in_folder = prepare(tmp_path / "batch.npz", measurer), prepare(real, measurer, ledger="b")
    assert np.array_equal(in_archive.sigma, in_folder.sigma)
    assert np.array_equal(in_archive.features, in_folder.features)


def test_statistics_beside_images_decide_fid_and_the_images_serve_other_metrics(prepare, measurer, tmp_path):
    """As ADM's reference files: mu and sigma are of the whole training set, arr_0 is a part of it."""
    mu, sigma = np.arange(64, dtype=np.float32), 2 * np.eye(64, dtype=np.float32)
    other = {"mu_s": np.zeros(3), "sigma_s": np.eye(3)}
    np.savez(tmp_path / "adm.npz", arr_0=PIXELS[:30], mu=mu, sigma=sigma, **other)
    found = prepare(tmp_path / "adm.npz", measurer)
    assert (found.features, measurer.extracted) == (None, [])
    found = prepare(tmp_path / "adm.npz", measurer, needs_features=True)
    assert np.array_equal(found.mu, mu)
    assert np.array_equal(found.sigma, sigma)
    assert np.array_equal(found.features, FEATURES[:30])


def test_features_alone_are_a_reference(prepare, measurer, tmp_path):
    np.savez(tmp_path / "features.npz", features=FEATURES[:200])
    found = prepare(tmp_path / "features.npz", measurer, needs_features=True)
    assert_is_of(found, FEATURES[:200])
    assert np.array_equal(found.features, FEATURES[:200])


@pytest.fixture
def registered() -> str:
    """The name of a dataset registered with torch-fidelity, of the same images."""
    DATASETS_REGISTRY["test-images"] = lambda root, download: torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    yield "dataset:test-images"
    del DATASETS_REGISTRY["test-images"]


def test_a_registered_dataset_becomes_the_same_reference_as_a_folder(prepare, measurer, real, registered):
    found = prepare(registered, measurer)
    assert np.array_equal(found.sigma, prepare(real, measurer, ledger="b").sigma)
    assert found.n_images == N


def test_our_reference_gives_torch_fidelitys_fid_of_two_folders(prepare, tiny_family, real, tmp_path):
    save_images(tmp_path / "made", PIXELS[:300] // 2)
    weights = tiny_family / "features.safetensors"
    theirs = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / "made"),
        input2=str(real),
        fid=True,
        cuda=False,
        feature_extractor="fashion-cnn",
        feature_extractor_weights_path=str(weights),
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )["frechet_inception_distance"]
    measurer = StudyMeasurer(load_study(tiny_family / "study.yaml"), threads=1)
    made = prepare(tmp_path / "made", measurer, ledger="b")
    assert FrechetDistance(prepare(real, measurer))(made.features) == pytest.approx(theirs, rel=1e-4)


def few(folder: Path) -> str:
    save_images(folder, PIXELS[:64])
    return "got 64 real images, expected at least 65: one more than the 64 features"


def equal(folder: Path) -> str:
    save_images(folder, np.repeat(PIXELS[:1], 70, axis=0))
    return "all 70 real images are equal"


def truncated(folder: Path) -> str:
    save_images(folder, PIXELS[:70])
    (folder / "0033.png").write_bytes((folder / "0033.png").read_bytes()[:-500])
    return "0033.png is not a readable image"


def other_size(folder: Path) -> str:
    save_images(folder, PIXELS[:70, :16, :16])
    return "0000.png is 16 x 16 pixels, the study's images are 32 x 32"


def one_of_another_size(folder: Path) -> str:
    save_images(folder, PIXELS[:70])
    Image.new("RGB", (32, 31)).save(folder / "0069.png")
    return "0069.png is 32 x 31 pixels"


def empty(folder: Path) -> str:
    folder.mkdir()
    return "quality.reference: .* holds no images"


@pytest.mark.parametrize("fault", [few, equal, truncated, other_size, one_of_another_size, empty])
def test_a_folder_that_will_not_do_is_refused_saying_why(prepare, measurer, tmp_path, fault):
    expected = fault(tmp_path / "faulty")
    with pytest.raises(ConfigError, match=expected) as caught:
        prepare(tmp_path / "faulty", measurer)
    assert "try: " in str(caught.value)
    assert measurer.made == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "'fashion-cnn' gives 64 features, the reference .* has 3"),
        ({"features": np.ones((100, 3)) * np.arange(100)[:, None]}, "gives 64 features, the reference .* has 3"),
        ({"features": np.ones((64, 64))}, "got 64 real images, expected at least 65"),
        ({"features": np.ones((100, 64))}, "all 100 real images are equal"),
        ({"features": np.full((100, 64), np.nan)}, "must be finite"),
        ({"features": np.ones(100)}, r"expected features \(m, d\), got \(100,\)"),
        ({"mu": np.full(64, np.nan), "sigma": np.eye(64)}, "must be finite"),
        ({"mu": np.zeros(64), "arr_0": PIXELS[:3]}, "expected arrays mu and sigma, or features, or arr_0"),
        ({"arr_0": PIXELS[:70, :8]}, "arr_0 is 32 x 8 pixels"),
        ({"arr_0": PIXELS[:70].astype(np.float32)}, r"arr_0 is float32 .*, expected uint8 \(n, h, w, 3\)"),
    ],
)
def test_an_archive_that_will_not_do_is_refused_before_any_image_is_sampled(
    prepare, measurer, tmp_path, arrays, message
):
    np.savez(tmp_path / "faulty.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        prepare(tmp_path / "faulty.npz", measurer)
    assert measurer.made == measurer.extracted == []


def test_an_unknown_dataset_is_refused_with_the_known_ones(prepare, measurer):
    with pytest.raises(ConfigError, match=r"unknown dataset 'imagenet', expected one of .*cifar10-train"):
        prepare("dataset:imagenet", measurer)


def test_plan_says_what_is_still_to_be_made(tiny_family, real, prepare, measurer, tmp_path):
    def planned(source: object, *settings: str) -> str:
        study = load_study(tiny_family / "study.yaml", [f"quality.reference={source}", *settings])
        return plan_study(study, tmp_path / "run", None, Silent()).reference

    assert planned(real) == f"{real}: features of {N} images still to be made, once"
    prepare(real, measurer)
    assert planned(real) == f"{real}: features of {N} images, made before"
    assert planned("reference.npz") == "reference.npz: statistics of 200 images"
    np.savez(tmp_path / "adm.npz", arr_0=PIXELS[:30], mu=np.zeros(64), sigma=np.eye(64), n_images=9)
    assert planned(tmp_path / "adm.npz").endswith("adm.npz: statistics of 9 images")
    assert planned(tmp_path / "adm.npz", "quality.metrics=[kid]").endswith(
        "features of 30 images still to be made, once"
    )
    assert planned("dataset:cifar10-train").endswith("features of all images still to be made, once")
    with pytest.raises(EnvironmentProblem, match="cannot read the reference"):
        planned("missing.npz")


def test_a_whole_study_runs_against_a_folder_and_again_without_a_worker(tiny_family, tmp_path, real, measurer):
    study = load_study(tiny_family / "study.yaml", [f"quality.reference={real}"])
    first = run_study(study, tmp_path / "run", lambda _: InlinePool(lambda: measurer), Silent())
    assert len(measurer.extracted) == 3

    def no_measurer() -> SyntheticMeasurer:
        raise AssertionError("a worker was started")

    second = run_study(study, tmp_path / "run", lambda _: InlinePool(no_measurer), Silent())
    assert (first.n_new > 0, second.n_new) == (True, 0)
    assert second.table == first.table


def test_once_a_faulty_folder_is_mended_the_same_command_goes_on(tiny_family, tmp_path, measurer):
    truncated(tmp_path / "real")
    study = load_study(tiny_family / "study.yaml", [f"quality.reference={tmp_path / 'real'}"])

    def run() -> None:
        run_study(study, tmp_path / "run", lambda _: InlinePool(lambda: measurer), Silent())

    with pytest.raises(ConfigError, match=r"0033\.png"):
        run()
    (tmp_path / "real" / "0033.png").unlink()
    run()
    assert (tmp_path / "run" / "lookup.json").exists()

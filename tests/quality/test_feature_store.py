"""Features on disk: what was written is what is read, or an error; never something else."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.measurement import Chunk
from tstitch_search.quality.feature_store import FeatureStore

ALLOCATION = Allocation.parse("S*8-XL+deepcache3*12")
CHUNK = Chunk("search", 100, 150)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", recipe={"guidance_scale": "1.5", "quality.extractor": "fashion-cnn"})


def features(n: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


def files_in(store: FeatureStore) -> list[str]:
    return sorted(str(p.relative_to(store.folder)) for p in store.folder.rglob("*") if p.is_file())


def test_reading_gives_the_very_numbers_that_were_written(store):
    read = store.read([store.write(ALLOCATION, CHUNK, {"features": features()})])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, features())


def test_several_chunks_are_read_one_after_another_in_the_order_asked(store):
    first = store.write(ALLOCATION, Chunk("search", 0, 50), {"features": features(50, seed=1)})
    last = store.write(ALLOCATION, Chunk("search", 50, 53), {"features": features(3, seed=2)})
    np.testing.assert_array_equal(store.read([last, first]), np.concatenate([features(3, 2), features(50, 1)]))


def test_every_allocation_set_and_chunk_has_its_own_file(store):
    other = Allocation.parse("S*9-XL+deepcache3*11")
    written = [
        store.write(allocation, Chunk(set_name, first, first + 50), {"features": features()})[0]
        for allocation in (ALLOCATION, other)
        for set_name in ("search", "confirm")
        for first in (0, 50)
    ]
    assert sorted(written) == files_in(store)
    assert len(set(written)) == 8


def test_nothing_partial_is_left_beside_the_file(store):
    name, _ = store.write(ALLOCATION, CHUNK, {"features": features()})
    assert files_in(store) == [name]


def test_hash_is_that_of_the_file(store):
    name, sha256 = store.write(ALLOCATION, CHUNK, {"features": features()})
    assert hashlib.sha256((store.folder / name).read_bytes()).hexdigest() == sha256


def test_same_features_give_the_same_hash_wherever_they_are_made(store, tmp_path):
    elsewhere = FeatureStore(tmp_path / "elsewhere", store.recipe)
    assert store.write(ALLOCATION, CHUNK, {"features": features()}) == elsewhere.write(
        ALLOCATION, CHUNK, {"features": features()}
    )


def test_file_says_without_pickle_what_it_holds(store):
    name, _ = store.write(ALLOCATION, CHUNK, {"features": features()})
    with safe_open(store.folder / name, framework="np") as file:
        assert list(file.keys()) == ["features"]
        assert json.loads(file.metadata()["made_from"]) == {
            "guidance_scale": "1.5",
            "quality.extractor": "fashion-cnn",
            "allocation": "S*8-XL+deepcache3*12",
            "set": "search",
            "first": 100,
            "last": 150,
            "stored_dtype": "float32",
        }


def test_double_precision_that_single_precision_can_hold_is_stored_as_such(store):
    read = store.read([store.write(ALLOCATION, CHUNK, {"features": features().astype(np.float64)})])
    np.testing.assert_array_equal(read, features())


@pytest.mark.parametrize("shape", [(49, 6), (51, 6), (0, 6), (50,), (50, 6, 1)])
def test_wrong_number_of_rows_is_refused_with_both_numbers(store, shape):
    with pytest.raises(MeasurementError, match=r"S\*8.*expected 50 rows of features, got shape \(") as caught:
        store.write(ALLOCATION, CHUNK, {"features": np.zeros(shape, dtype=np.float32)})
    assert str(shape) in caught.value.message
    assert not store.folder.exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_value_that_is_not_finite_as_stored_is_refused_naming_the_images(store, bad):
    values = features().astype(np.float64)
    values[7, 3] = bad
    with pytest.raises(MeasurementError, match="features of images 100 to 149 are not finite"):
        store.write(ALLOCATION, CHUNK, {"features": values})
    assert not store.folder.exists()


@pytest.mark.parametrize("tamper", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_file_that_was_changed_is_detected(store, tamper):
    name, sha256 = store.write(ALLOCATION, CHUNK, {"features": features()})
    path = store.folder / name
    path.write_bytes(tamper(path.read_bytes()))
    with pytest.raises(EnvironmentProblem, match="is not what the ledger recorded") as caught:
        store.read([(name, sha256)])
    assert str(path) in caught.value.message
    assert "run the study again" in caught.value.hint
    assert not store.is_whole(name, sha256)
    aside = store.set_aside(name)
    assert aside is not None
    assert aside.name == path.name + ".damaged"
    assert aside.exists()
    assert not store.holds(name)


def test_missing_file_is_known_and_an_error_when_read(store):
    name, sha256 = store.write(ALLOCATION, CHUNK, {"features": features()})
    assert store.holds(name)
    (store.folder / name).unlink()
    assert not store.holds(name)
    with pytest.raises(EnvironmentProblem, match=re.escape(f"cannot read {store.folder / name}")):
        store.read([(name, sha256)])


def test_folder_that_cannot_be_written_is_an_error_with_a_hint(store):
    store.folder.write_text("a file where the folder should go")
    with pytest.raises(EnvironmentProblem, match="cannot write") as caught:
        store.write(ALLOCATION, CHUNK, {"features": features()})
    assert caught.value.hint


def test_several_arrays_of_a_chunk_are_kept_in_one_file_with_one_hash(store, tmp_path):
    arrays = {"logits": features(seed=1)[:, :3], "features": features(), "clip_score": np.arange(50.0)}
    written = store.write(ALLOCATION, CHUNK, arrays)
    assert written == FeatureStore(tmp_path / "again", store.recipe).write(
        ALLOCATION, CHUNK, dict(sorted(arrays.items()))
    )
    for name, array in arrays.items():
        np.testing.assert_array_equal(store.read([written], name), array)


def test_an_array_that_was_not_kept_is_an_error_that_says_how_to_get_it(store):
    written = store.write(ALLOCATION, CHUNK, {"features": features()})
    with pytest.raises(EnvironmentProblem, match="holds features, no logits") as caught:
        store.read([written], "logits")
    assert "quality.metrics" in caught.value.hint


def test_half_precision_halves_the_file_and_hardly_moves_a_value(tmp_path):
    half = FeatureStore(tmp_path / "half", {}, "float16")
    name, sha256 = half.write(ALLOCATION, CHUNK, {"features": features()})
    np.testing.assert_allclose(half.read([(name, sha256)]), features(), rtol=5e-4, atol=1e-7)
    with pytest.raises(MeasurementError, match="not finite as float16") as caught:
        half.write(ALLOCATION, CHUNK, {"features": features() + 1e5})
    assert "float32" in caught.value.hint

"""The embedded family is what its model card says: small, of one latent space, and better as it grows."""

import json
from pathlib import Path

import numpy as np
import pytest

from tstitch_search import zoo
from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Chunk, ChunkFeatures, MakeChunk
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.reference import load_reference
from tstitch_search.sampling.space_check import check_space

ROOT = Path(__file__).parent.parent.parent
FAMILY = zoo.embedded_path("zoo:fashion")
N_IMAGES = 100


@pytest.fixture(scope="module")
def study():
    return load_study(ROOT / "studies" / "fashion_members.yaml", ["guidance_scale=1"])


def test_members_share_latents_classes_and_noise(study):
    members = check_space(study.space, study.space_path.parent).members
    assert members["XL"].n_parameters is not None
    assert members["XL"].n_parameters <= 7_000_000
    assert members["U"].class_name == "UNet2DModel"


def test_everything_committed_is_at_most_25_mb():
    assert sum(path.stat().st_size for path in FAMILY.rglob("*") if path.is_file()) <= 25e6


def test_reference_has_statistics_of_all_training_images_and_features_of_ten_thousand():
    reference = load_reference("zoo:fashion", ROOT)
    assert reference.n_images == 60_000
    assert reference.features is not None
    assert reference.features.shape == (10_000, 64)
    # a balanced sixth of the images has nearly the statistics of all
    assert np.allclose(reference.features.mean(0), reference.mu, atol=0.02)


def test_classifier_names_at_least_91_percent_of_the_test_images():
    record = json.loads((FAMILY / "training" / "features.json").read_text())
    assert record["test_accuracy"] >= 0.91


def test_the_lora_for_few_steps_is_small_and_better_than_none_in_its_four_steps():
    """Measured for the model card at n = 1,000 without guidance: 0.429, against 0.990 without it."""
    (lora,) = (FAMILY / "XL_fast").iterdir()
    assert lora.stat().st_size < 1e6
    measurer = StudyMeasurer(load_study(ROOT / "studies" / "few_steps.yaml"), threads=2)
    measurer.load()
    distance = FrechetDistance(load_reference("zoo:fashion", ROOT))
    fast, free = (
        distance(measurer.do(MakeChunk(Allocation.parse(text), Chunk("search", 0, N_IMAGES))).arrays["features"])
        for text in ("XL-fast*4@few", "XL-free*4@few")
    )
    assert free > 1.2 * fast


def test_fid_falls_from_s_to_b_to_xl_on_images_made_now(study):
    """Measured for the model card at n = 5,000 without guidance: 1.187, 0.543, 0.367."""
    measurer = StudyMeasurer(study, threads=2)
    measurer.load()
    distance = FrechetDistance(load_reference("zoo:fashion", ROOT))
    fids = {}
    for name in ("S", "B", "XL"):
        answer = measurer.do(MakeChunk(Allocation.of([(name, 20)]), Chunk("search", 0, N_IMAGES)))
        assert isinstance(answer, ChunkFeatures)
        fids[name] = distance(answer.arrays["features"])
    assert fids["S"] > 1.5 * fids["B"]
    assert fids["B"] > 1.05 * fids["XL"]

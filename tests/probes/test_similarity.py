"""The stitchability probe: how alike members' predictions are along one trajectory, without disturbing it."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import MeasurementError
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Chunk, MakeImages, Probe, Similarity
from tstitch_search.progress import Silent
from tstitch_search.tasks.probe import probe_study
from tstitch_search.workers.inline import InlinePool

NAMES = ("S", "B", "XL")
IMAGES = Chunk("search", 0, 13)  # two device batches


@pytest.fixture(scope="module")
def measurer(tiny_family: Path) -> StudyMeasurer:
    measurer = StudyMeasurer(load_study(tiny_family / "study.yaml"), threads=1)
    measurer.load()
    return measurer


def probed(measurer: StudyMeasurer, along: str = "XL*4", names: tuple[str, ...] = NAMES) -> Similarity:
    answer = measurer.do(Probe(Allocation.parse(along), names, IMAGES))
    assert isinstance(answer, Similarity)
    return answer


def test_there_is_one_value_per_pair_and_step_and_it_is_a_cosine(measurer: StudyMeasurer) -> None:
    found = probed(measurer)
    assert [(p.first, p.second) for p in found.pairs] == [("S", "B"), ("S", "XL"), ("B", "XL")]
    assert found.n_images == 13
    for pair in found.pairs:
        assert len(pair.mean) == len(pair.sd) == 4
        assert all(-1 <= cosine <= 1 for cosine in pair.mean)
        assert all(sd > 0 for sd in pair.sd)
    assert found.between("XL", "B") is found.pairs[2]


def test_a_member_is_exactly_like_itself(measurer: StudyMeasurer) -> None:
    assert np.allclose(probed(measurer, names=("XL", "XL")).pairs[0].mean, 1)


def test_the_first_step_is_the_cosine_of_the_members_own_outputs_for_the_start_noise(measurer: StudyMeasurer) -> None:
    """Against a second computation: members called directly with what the pipeline asks first."""
    asked: list[tuple[torch.Tensor, ...]] = []
    hook = measurer._denoiser.members[2].register_forward_pre_hook(
        lambda _, args, kwargs: asked.append((*args, kwargs["timestep"], kwargs["class_labels"])), with_kwargs=True
    )
    measurer.do(MakeImages(Allocation.parse("XL*4"), Chunk("search", 0, 3)))
    hook.remove()
    latents, t, labels = asked[0]
    with torch.no_grad():
        outputs = [m(latents, timestep=t, class_labels=labels).sample.flatten(1) for m in measurer._denoiser.members]
    rows = torch.nn.functional.cosine_similarity(outputs[0], outputs[2])  # with a label, then without
    expected = (rows[:3] + rows[3:]) / 2
    answer = measurer.do(Probe(Allocation.parse("XL*4"), NAMES, Chunk("search", 0, 3)))
    assert isinstance(answer, Similarity)
    found = answer.between("S", "XL")
    assert found.mean[0] == pytest.approx(float(expected.mean()), rel=1e-5)
    assert found.sd[0] == pytest.approx(float(expected.std()), rel=1e-4)


def test_the_trajectory_goes_its_way_as_if_nobody_else_were_asked(measurer: StudyMeasurer) -> None:
    """What the others are asked about depends on who leads; asking more of them changes nothing for a pair."""
    two, three = probed(measurer, names=("S", "XL")), probed(measurer)
    assert two.pairs[0] == three.between("S", "XL")
    assert probed(measurer, along="S*4").pairs[0].mean != three.pairs[0].mean
    before = measurer.do(MakeImages(Allocation.parse("S*2-XL*2"), IMAGES))
    probed(measurer)
    assert np.array_equal(measurer.do(MakeImages(Allocation.parse("S*2-XL*2"), IMAGES)), before)
    assert measurer._denoiser.on_step is None


def test_a_member_that_must_not_be_asked_out_of_turn_is_refused(tiny_family: Path) -> None:
    measurer = StudyMeasurer(load_study(tiny_family / "study.yaml"), threads=1)
    measurer.load()
    measurer._denoiser.members[0].is_stateful = True
    with pytest.raises(MeasurementError, match="its own earlier calls"):
        probed(measurer)


def test_a_study_is_probed_along_its_largest_member(measurer: StudyMeasurer, tiny_family: Path) -> None:
    study = load_study(tiny_family / "study.yaml")
    factory = functools.partial(StudyMeasurer, study, 1)
    assert probe_study(study, 13, lambda _: InlinePool(factory), Silent()) == probed(measurer)

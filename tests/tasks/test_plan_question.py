"""There is no silent default: the plan says which question a study asks, and one without real images is told both."""

import pytest

from tstitch_search.config.models import StudyConfig
from tstitch_search.quality.metrics import METRICS
from tstitch_search.tasks.plan import question_of


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_kind_of_the_objective_decides_the_question(name: str) -> None:
    said = question_of(METRICS[name], "XL*20")
    expected = "the same pictures as XL*20, faster" if METRICS[name].kind == "pair" else "as good as XL*20, faster"
    assert said.startswith(expected)


def test_a_study_without_real_images_is_told_which_questions_need_none() -> None:
    with pytest.raises(ValueError, match=r"the same pictures, faster .*or as good, faster"):
        StudyConfig(name="x", search_space="x.yaml", quality={"objective": "fid"})

"""What a sampling profile cannot be is refused from the pipeline's files alone, in one message with what to do."""

from pathlib import Path
from typing import Any

import pytest
from diffusers import DDIMScheduler

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.profiles import require_profiles

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False).save_pretrained(
        folder / "scheduler"
    )
    return folder


def space(profile: dict[str, Any], **keys: Any) -> SpaceConfig:
    denoisers = [{"name": "S", "weights": "S"}]
    said = {"name": "tiny", "family": "dit", "pipeline": ".", "n_steps": 8, "denoisers": denoisers}
    return SpaceConfig.model_validate({**said, **keys, "profiles": {"fast": {"n_steps": [4, 2], **profile}}})


@pytest.mark.parametrize(
    ("profile", "message", "hint"),
    [
        ({"solver": "EulerDiscrete"}, "solver 'EulerDiscrete' is not a diffusers scheduler", "EulerDiscreteScheduler"),
        ({"scheduler": {"shift": 3.0}}, "DDIMScheduler takes no setting 'shift'", "timestep_spacing"),
        ({"scheduler": {"timestep_spacing": "late"}}, "refuses 4 steps: late is not supported", ""),
        ({"scheduler": {"beta_schedule": "odd"}}, "refuses the settings: odd is not implemented", ""),
        (
            {"scheduler": {"prediction_type": "epsilon"}},
            "would take the noise for",
            "what the denoisers were trained on",
        ),
        ({"solver": "EulerDiscreteScheduler"}, "starts from noise of scale", "DPMSolverMultistepScheduler"),
    ],
)
def test_it_is_refused_by_name(pipeline: Path, profile: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as found:
        require_profiles(space(profile), pipeline)
    assert found.value.message.startswith("profiles.fast: ")
    assert message in found.value.message
    assert len(found.value.message.splitlines()) == 1
    assert hint in found.value.message + found.value.hint


def test_learned_variances_go_with_no_profile(pipeline: Path) -> None:
    with pytest.raises(ConfigError, match="got some with learned_variance"):
        require_profiles(space({}, learned_variance=True, solver="DDPMScheduler"), pipeline)


def test_what_can_be_is_let_pass(pipeline: Path) -> None:
    require_profiles(
        space({"solver": "UniPCMultistepScheduler", "scheduler": {"timestep_spacing": "trailing"}}), pipeline
    )
    require_profiles(space({}), pipeline)

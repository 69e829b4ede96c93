"""Every shipped study of a modern pipeline is planned and checked on a tiny folder of the same class."""

from pathlib import Path

import pytest
from sampling.saved_pipelines import save_pipeline

from tstitch_search.config import Study, load_study
from tstitch_search.progress import Silent
from tstitch_search.sampling.pipeline_class import class_of, require_drivable
from tstitch_search.tasks.plan import plan_study

ROOT = Path(__file__).parents[2]
# By study, the tiny pipeline of its class.
TINY = {
    "sd35_medium_turbo_large": "sd3",
    "flux1_schnell_dev": "flux",
    "z_image_turbo": "z_image",
    "pixart_sigma": "pixart_sigma",
    "wan21_1_3b_14b": "wan",
    "wan22_a14b": "wan22",
    "cogvideox_5b": "cogvideox",
    "ltx_video_2b": "ltx",
}


def on(study: Study, folder: Path) -> Study:
    """The study with tiny members in its members' place, those of the same weights the same ones."""
    sources = list(dict.fromkeys(d.source for d in study.space.denoisers))
    tiny = {source: str(folder / "SBL"[3 - len(sources) + i]) for i, source in enumerate(sources)}
    members = [
        d.model_copy(update={"weights": tiny[d.source], "subfolder": None, "revision": None})
        for d in study.space.denoisers
    ]
    space = study.space.model_copy(update={"pipeline": str(folder), "denoisers": tuple(members)})
    return study.model_copy(update={"space": space})


@pytest.mark.parametrize("name", TINY)
def test_a_shipped_study_plans_on_a_tiny_pipeline_of_its_class(name: str, tmp_path: Path) -> None:
    folder = save_pipeline(TINY[name], tmp_path / "tiny")
    study = on(load_study(ROOT / "studies" / "hub" / f"{name}.yaml", ["workers.device=cpu"]), folder)
    assert plan_study(study, tmp_path / "run", None, Silent()).n_allocations > 10
    require_drivable(study.space, class_of(study.space, tmp_path), [])

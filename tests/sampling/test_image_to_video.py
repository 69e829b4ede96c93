"""An image that a clip is to begin with reaches the pipeline, by the name of its argument."""

import importlib.util
import json
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image
from sampling.saved_pipelines import STUDY, save_pipeline

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measurement import Chunk
from tstitch_search.sampling.assembly import Assembly, assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.sampling.pipeline_class import require_packages
from tstitch_search.tasks.check import check_study

KINDS = {"ltx": "LTXImageToVideoPipeline", "cogvideox_from_image": "CogVideoXImageToVideoPipeline"}


@pytest.fixture(scope="module", params=KINDS)
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = save_pipeline(request.param, tmp_path_factory.mktemp(request.param))
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": KINDS[request.param]}))
    (folder / "photos").mkdir()
    for i in range(40):
        Image.new("RGB", (32, 32), (6 * i, 0, 255 - 6 * i)).save(folder / "photos" / f"{i:02}.png")
    (folder / "prompts.txt").write_text("a cat\n" * 40)
    (folder / "study.yaml").write_text(STUDY.replace("prompts.txt}", "prompts.txt, inputs: {image: photos}}"))
    return load_study(folder / "study.yaml")


def drawn(study: Study, assembly: Assembly, first: int) -> torch.Tensor:
    assembly.denoiser.set_allocation(Allocation.parse("L*2"))
    conditions = ProxySet.of_study(study).conditions_of(Chunk("search", first, first + 1))
    return assembly.family.sample(assembly.pipeline, conditions, [torch.Generator().manual_seed(5)], 2, 3.0)


def by_hand(study: Study, photo: str) -> Any:
    folder = study.space_path.parent
    stock = diffusers.DiffusionPipeline.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    made = stock(
        image=Image.open(folder / "photos" / photo).convert("RGB"),
        prompt=["a cat"],
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(5)],
        output_type="pt",
        **study.space.call,
    )
    return made.frames


def test_a_clip_is_the_stock_pipeline_s_that_begins_with_its_image(study: Study) -> None:
    assert check_study(study).problem is None
    assembly = assemble(study, torch.device("cpu"))
    red, blue = drawn(study, assembly, 19), drawn(study, assembly, 0)
    assert torch.equal(red, by_hand(study, "19.png"))
    assert not torch.equal(red, blue)  # same prompt, same noise


def test_without_an_image_it_is_refused(study: Study) -> None:
    with pytest.raises(ConfigError, match="ImageToVideoPipeline cannot be driven: it needs image") as error:
        check_study(load_study(study.study_path, ["proxy_set.inputs={}"]))
    assert "proxy_set.inputs.image" in str(error.value.hint)


def test_a_member_that_takes_no_image_is_refused(study: Study) -> None:
    config = study.space_path.parent / "B" / "config.json"
    before = json.loads(config.read_text())
    if before["in_channels"] == before["out_channels"]:
        pytest.skip("its image is part of the latents: every text-to-video denoiser takes it")
    config.write_text(json.dumps({**before, "in_channels": 4}))
    problem = str(check_study(study).problem)
    assert problem == "denoiser 'B' has in_channels 4, but the pipeline's own denoiser takes 8"


def test_a_package_that_a_pipeline_would_miss_while_drawing_is_missed_before() -> None:
    """Wan's pipeline asks whether ftfy is there; the one that begins with an image does not."""
    require_packages(diffusers.WanPipeline)
    if importlib.util.find_spec("ftfy"):
        require_packages(diffusers.WanImageToVideoPipeline)
        return
    with pytest.raises(EnvironmentProblem, match="WanImageToVideoPipeline cleans prompts with ftfy"):
        require_packages(diffusers.WanImageToVideoPipeline)

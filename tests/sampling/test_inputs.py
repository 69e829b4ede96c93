"""Images that a pipeline is given beside the prompt, by the name of its argument."""

import json

import pytest
import torch
from PIL import Image
from sampling.saved_pipelines import save_pipeline

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk
from tstitch_search.sampling.assembly import assemble
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.tasks.check import check_study

STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 3
proxy_set: {prompts: prompts.txt, inputs: {image: photos, mask_image: masks}}
quality: {objective: inception_score, n_images: 20}
confirm: {n_images: 20}
workers: {pool: inline, n_workers: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Inpainting: the left half is kept, the right half is drawn."""
    folder = save_pipeline("stable_diffusion", tmp_path_factory.mktemp("inpaint"))
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "StableDiffusionInpaintPipeline"}))
    with (folder / "space.yaml").open("a") as space:
        space.write("call: {strength: 1.0, height: 32, width: 32}\n")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
        for i in range(40):
            picture = Image.new("RGB", (32, 32), (6 * i, 0, 255 - 6 * i) if name == "photos" else (0, 0, 0))
            if name == "masks":
                picture.paste((255, 255, 255), (16, 0, 32, 32))
            picture.save(folder / name / f"{i:02}.png")
    (folder / "prompts.txt").write_text("a cat\n" * 40)
    (folder / "study.yaml").write_text(STUDY)
    return load_study(folder / "study.yaml")


def test_every_image_gets_its_own_inputs(study: Study) -> None:
    assembly = assemble(study, torch.device("cpu"))
    assembly.denoiser.set_allocation(Allocation.parse("S*2-L*2"))

    def images(first: int, n_images: int) -> torch.Tensor:
        conditions = ProxySet.of_study(study).conditions_of(Chunk("search", first, first + n_images))
        generators = [torch.Generator().manual_seed(5) for _ in range(n_images)]
        return assembly.family.sample(assembly.pipeline, conditions, generators, 4, 3.0)

    both = images(3, 2)
    assert not torch.equal(both[0], both[1])  # same prompt, same noise: the photo differs
    alone = torch.cat([images(3, 1), images(4, 1)])
    assert ((alone * 255).round() - (both * 255).round()).abs().max() <= 1


def test_inputs_are_part_of_the_key(study: Study) -> None:
    assert {"proxy_set.inputs.image", "proxy_set.inputs.mask_image"} <= resolve_facts(study).key.keys()


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("proxy_set.inputs={image: photos, mask_image: masks, masc: masks}", "takes no 'masc'"),
        ("space.call={strength: 0.5}", "leaves out the first steps at strength 0.5"),
        ("proxy_set.inputs={image: photos, mask_image: nowhere}", "inputs.mask_image"),
    ],
)
def test_inputs_that_do_not_fit_the_call_are_refused(study: Study, override: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_study(load_study(study.study_path, [override]))

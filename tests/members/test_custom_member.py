"""The documented example of a member of one's own: described without being run, and stitched with a DiT."""

import shutil
from pathlib import Path

import pytest
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.custom import is_custom
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.space_check import check_space

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_member.py"
CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny family with the example in the place of S, as its text says: on PYTHONPATH."""
    family = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    space = family / "space.yaml"
    space.write_text(space.read_text().replace("weights: S}", "weights: 'custom_member:load'}"))
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    return family


def test_the_example_is_short() -> None:
    code = [
        line
        for line in EXAMPLE.read_text().splitlines()
        if line and not line.startswith(('"""', "#", "import", "from"))
    ]
    assert len(code) <= 20


@pytest.mark.parametrize("allocation", ["S*4", "S*2-XL*2", "S*1-B*2-XL*1"])
def test_the_example_makes_images_beside_dits(folder: Path, allocation: str) -> None:
    space = load_space(folder / "space.yaml")
    facts = check_space(space, folder).members
    assert (facts["S"].form, facts["S"].n_classes, facts["S"].n_parameters) == ("custom", 10, None)
    members, _ = load_members(facts, CPU, torch.float32)
    denoiser = dit.stitch(members)
    pipeline = dit.load_pipeline(space, folder, denoiser, load_model(folder / "vae", CPU, torch.float32))
    denoiser.set_allocation(Allocation.parse(allocation))
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    images = dit.sample(pipeline, [Condition(i) for i in range(3)], generators, n_steps=4, guidance_scale=1.5)
    assert images.shape == (3, 1, 32, 32)
    assert not images.isnan().any()


def test_the_example_alone_is_a_denoiser_too(folder: Path) -> None:
    """Pipelines read `config` and `dtype` of the largest member; a bare torch module has neither."""
    space = load_space(folder / "space.yaml")
    space = space.model_copy(update={"denoisers": space.denoisers[:1]})
    members, _ = load_members(check_space(space, folder).members, CPU, torch.float32)
    denoiser = dit.stitch(members)
    assert (denoiser.config.sample_size, denoiser.dtype) == (8, torch.float32)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch\n", "has no CONFIG"),
        ("CONFIG = make()\n", "has no CONFIG"),
        ("CONFIG = {'in_channels': 4}\n", "has classes 0, but the search space has n_classes 10"),
        ("CONFIG = {'in_channels': 8, 'sample_size': 8, 'num_class_embeds': 11}\n", "has in_channels 8, but the VAE"),
    ],
)
def test_a_module_that_does_not_say_what_it_holds_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    (tmp_path / "untold_member.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    space = folder / "space.yaml"
    space.write_text(space.read_text().replace("custom_member", "untold_member"))
    with pytest.raises(ConfigError, match=message):
        check_space(load_space(space), folder)


def test_a_module_that_is_not_there_and_a_function_that_fails_are_named(folder: Path) -> None:
    space = load_space(folder / "space.yaml")
    facts = check_space(space, folder).members
    with pytest.raises(EnvironmentProblem, match="denoiser 'S': calling custom_member:lode failed: AttributeError"):
        load_members(
            {"S": facts["S"].__class__(**{**vars(facts["S"]), "weights": "custom_member:lode"})}, CPU, torch.float32
        )
    path = folder / "space.yaml"
    path.write_text(path.read_text().replace("custom_member", "no_such_module"))
    with pytest.raises(ConfigError, match="denoiser 'S': Python finds no module 'no_such_module'"):
        check_space(load_space(path), folder)


@pytest.mark.parametrize("weights", ["zoo:fashion", "zoo:fashion/S", "facebook/DiT", "C:/weights", "./a:b/c", "a:"])
def test_other_places_of_weights_are_not_taken_for_a_function(weights: str) -> None:
    assert not is_custom(weights)

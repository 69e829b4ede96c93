"""Loading members: as given, in the wanted number format, or an error that says what is wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from children import HANG_S
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.loading import load_members, load_scheduler
from tstitch_search.sampling.space_check import check_space

CPU = torch.device("cpu")


def test_a_hub_id_is_pinned_by_a_commit_after_it(tmp_path: Path) -> None:
    """From a cache as the hub's client leaves it, offline; without the commit, main is not there."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / commit
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "unet" / "config.json").write_text("{}")
    program = (
        "import sys; from pathlib import Path; from tstitch_search.members.weights import locate\n"
        "print(locate(sys.argv[1], Path('.'), 'it', ['unet/config.json'], sys.argv[2] or None))"
    )

    def located(text: str, revision: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        environment.pop("HF_HUB_CACHE", None)
        command = [sys.executable, "-c", program, text, revision]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S)

    assert located(f"owner/name@{commit}", "").stdout == located("owner/name", commit).stdout == f"{snapshot}\n"
    assert "neither the folder owner/name nor to be had from the hub" in located("owner/name", "").stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_members_are_ready_to_answer_in_the_wanted_number_format(tiny_family: Path, dtype: torch.dtype) -> None:
    facts = check_space(load_space(tiny_family / "space.yaml"), tiny_family).members
    modules, seconds = load_members(facts, CPU, dtype)
    assert list(modules) == list(seconds) == ["S", "B", "XL"]
    assert all(s > 0 for s in seconds.values())
    for module in modules.values():
        assert not module.training
        assert all(p.dtype == dtype and not p.requires_grad for p in module.parameters())


def test_damaged_weights_are_an_environment_problem(tiny_family: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    facts = check_space(load_space(folder / "space.yaml"), folder).members
    shutil.copy(folder / "B" / "diffusion_pytorch_model.safetensors", folder / "S")
    with pytest.raises(EnvironmentProblem, match=r"cannot load the model in .*S: "):
        load_members(facts, CPU, torch.float32)


def test_the_solver_replaces_the_schedulers_class_and_keeps_its_noise_process(tiny_family: Path) -> None:
    own = load_scheduler(tiny_family / "scheduler", None)
    other = load_scheduler(tiny_family / "scheduler", "DPMSolverMultistepScheduler")
    assert type(own) is DDIMScheduler
    assert type(other) is DPMSolverMultistepScheduler
    assert other.config.prediction_type == own.config.prediction_type == "v_prediction"
    assert torch.equal(own.alphas_cumprod, other.alphas_cumprod)


@pytest.mark.parametrize("name", ["DDIMSchedular", "DDIM", "AutoencoderKL"])
def test_an_unknown_solver_is_refused_with_the_nearest_names(tiny_family: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is not a diffusers scheduler, expected for example .*Scheduler"):
        load_scheduler(tiny_family / "scheduler", name)

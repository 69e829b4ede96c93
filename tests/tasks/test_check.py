"""`check`: a verdict for every pair, before anything is loaded; and what stitching could gain."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from children import HANG_S
from text_to_image import PROMPTS, save_stable_diffusion
from typer.testing import CliRunner

from tstitch_search.allocation import Allocation
from tstitch_search.cli import app
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Calibration
from tstitch_search.progress import Silent
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.tasks.check import _measured_speed, check_study
from tstitch_search.tasks.probe import probe_study

ROOT = Path(__file__).parents[2]
STUDY = """\
name: tiny_text
search_space: space.yaml
proxy_set: {prompts: prompts.txt, chunk_size: 2}
quality: {objective: inception_score, n_images: 20}
confirm: {n_images: 20}
workers: {pool: inline, n_workers: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def text_family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_stable_diffusion(tmp_path_factory.mktemp("text"))
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    (folder / "study.yaml").write_text(STUDY)
    return folder


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_members_of_one_family_are_the_same_in_every_pair_and_against_the_pipeline(text_family: Path) -> None:
    found = check_study(load_study(text_family / "study.yaml"))
    pairs = [(match.who, match.other) for match in found.matches]
    assert pairs == [(n, "the pipeline") for n in "SBL"] + [("B", "S"), ("L", "S"), ("L", "B")]
    assert {match.verdict for match in found.matches} == {"same"}
    assert found.problem is None


def test_the_speed_follows_from_parameters_until_it_was_measured(text_family: Path) -> None:
    found = check_study(load_study(text_family / "study.yaml"))
    assert found.speed is not None
    assert found.speed.relative["L"] == 1 < found.speed.relative["B"] < found.speed.relative["S"] == found.speed.best
    assert "parameters" in found.speed.basis


def test_a_measured_bound_carries_its_error_and_no_allocation_lies_beyond_it(text_family: Path) -> None:
    study = load_study(text_family / "study.yaml")
    study = study.model_copy(update={"space": study.space.model_copy(update={"n_steps_given": (4, 2)})})
    none, steps = dict.fromkeys("SBL", 0.0), {"S": 0.1, "B": 0.2, "L": 0.4}
    errors = dict.fromkeys("SBL", 0.01)
    measured = Calibration(steps, errors, none, none, 0.1, 0.0, 0.0, 0, none, none, "a device", 2, 5)
    speed = _measured_speed(study, measured)
    latency = LatencyModel(measured)
    slowest = latency.latency_s(Allocation.parse("L*4"))
    assert speed.best == pytest.approx(
        max(slowest / latency.latency_s(a) for a in SearchSpace.from_config(study.space))
    )
    assert speed.best_se == pytest.approx(speed.best * ((0.04 / 1.7) ** 2 + (0.02 / 0.3) ** 2) ** 0.5)
    assert speed.at_most > speed.best


@pytest.mark.slow
def test_before_weights_are_fetched_everything_but_the_speed_is_said(text_family: Path, tmp_path: Path) -> None:
    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(text_family, repository / "snapshots" / commit, ignore=shutil.ignore_patterns("*.safetensors"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for file in ("study.yaml", "prompts.txt"):
        shutil.copy(text_family / file, tmp_path)
    space = (text_family / "space.yaml").read_text().replace("pipeline: .", "pipeline: someone/tiny")
    (tmp_path / "space.yaml").write_text(re.sub("weights: (.)", r"weights: someone/tiny, subfolder: \1", space))
    offline = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tstitch_search", "check", str(tmp_path / "study.yaml"), "--json"]
    said = json.loads(subprocess.run(command, env=offline, capture_output=True, text=True, check=True).stdout)
    assert said["fits"]
    assert said["speed"] is None


def test_too_few_prompts_are_listed_beside_the_members_that_are_compared_all_the_same(
    text_family: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(text_family, tmp_path / "family"))
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    said = CliRunner().invoke(app, ["check", str(folder / "study.yaml"), "--json"])
    found = json.loads(said.stdout)
    assert found["fits"]
    assert len(found["matches"]) == 6
    assert "prompts.txt holds 5, expected at least 40" in found["beside_the_members"]
    assert isinstance(said.exception, ConfigError)
    assert "holds 5, expected at least 40" in said.exception.message
    assert "Beside the members: " in CliRunner().invoke(app, ["check", str(folder / "study.yaml")]).stdout


def test_what_is_convertible_is_a_problem_only_while_the_space_does_not_ask_for_it(
    text_family: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(text_family, tmp_path / "family"))
    shutil.copy(folder / "scheduler" / "scheduler_config.json", folder / "S")
    change(folder / "S" / "scheduler_config.json", prediction_type="v_prediction")
    found = check_study(load_study(folder / "study.yaml"))
    assert [match.verdict for match in found.matches] == [
        "convertible",
        "same",
        "same",
        "convertible",
        "convertible",
        "same",
    ]
    assert "v_prediction becomes epsilon" in str(found.problem)
    assert check_study(load_study(folder / "study.yaml", ["space.convert=true"])).problem is None


def test_a_small_member_with_a_guidance_embedding_that_the_largest_lacks_is_refused_once(
    text_family: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(text_family, tmp_path / "family"))
    change(folder / "S" / "config.json", time_cond_proj_dim=8)
    found = check_study(load_study(folder / "study.yaml"))
    assert "denoiser 'S' has a guidance embedding of 8, but the largest, 'L', has none" in str(found.problem)


def test_members_that_answer_alike_are_named() -> None:
    study = ROOT / "studies" / "quickstart.yaml"
    assert check_study(load_study(study)).remarks == ()
    (said,) = check_study(load_study(study, ["guidance_scale=1"])).remarks
    assert said == "B answers as B-free does (guidance 1): leave one of the two out"


def test_that_loras_are_not_looked_at_is_said() -> None:
    (said,) = check_study(load_study(ROOT / "studies" / "few_steps.yaml")).remarks
    assert said.startswith("the LoRAs of XL-fast are not looked at here")


def test_a_study_of_recorded_numbers_has_nothing_to_check() -> None:
    with pytest.raises(ConfigError, match="has no members to check"):
        check_study(load_study(Path(__file__).parents[2] / "studies" / "recorded" / "dit_s_xl.yaml"))


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tstitch_search", *map(str, arguments)], capture_output=True, text=True, timeout=HANG_S
    )


def test_sd_1_with_sd_2_is_refused_in_one_line_that_says_why(text_family: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(text_family, tmp_path / "family"))
    change(folder / "B" / "config.json", cross_attention_dim=1024)
    said = CliRunner().invoke(app, ["check", str(folder / "study.yaml")])
    assert isinstance(said.exception, ConfigError)
    assert "'B' has conditioning width 1024, but the pipeline's text encoders give 8" in str(said.exception)
    assert "SD 1.x: 768, SD 2.x: 1024" in str(said.exception)
    assert "B with L: " in said.stdout
    assert "the pipeline with S, L: same" in said.stdout
    as_json = json.loads(CliRunner().invoke(app, ["check", str(folder / "study.yaml"), "--json"]).stdout)
    assert as_json["fits"] is False
    assert [m["verdict"] for m in as_json["matches"]] == ["same", "refused", "same", "refused", "same", "refused"]


@pytest.mark.slow
def test_each_hub_study_says_in_one_line_what_is_not_on_this_machine(tmp_path: Path) -> None:
    """With nothing fetched and no network; what a study's own files must hold is said first."""
    program = (
        "import sys; from pathlib import Path\n"
        "from tstitch_search.config import load_study; from tstitch_search.errors import TStitchError\n"
        "from tstitch_search.tasks.check import check_study\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.yaml')):\n"
        "    try: print(path.stem, check_study(load_study(path)))\n"
        "    except TStitchError as error: print(path.stem, str(error.message))\n"
    )
    studies = Path(__file__).parents[2] / "studies" / "hub"
    offline = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program, str(studies)]
    said = subprocess.run(command, env=offline, capture_output=True, text=True, check=True, timeout=HANG_S).stdout
    lines = dict(line.split(" ", 1) for line in said.splitlines())
    assert sorted(lines) == sorted(path.stem for path in studies.glob("*.yaml"))
    assert lines.pop("ldm_s_ldm").startswith("the pipeline of ldm_s_ldm: there is no folder ")
    assert "captions_val2017.json' is none" in lines.pop("sdxl_ssd1b_canny")
    for line in lines.values():
        assert re.search(r"nor to be had from the hub: it was not fetched yet, and HF_HUB_OFFLINE is set$", line)


def test_checking_needs_no_torch() -> None:
    program = "import sys, tstitch_search.tasks.check as c; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_the_probe_says_how_alike_predictions_are_at_every_step(tiny_family: Path) -> None:
    found = json.loads(command("check", tiny_family / "study.yaml", "--probe", "2", "--json").stdout)
    pairs = {(pair["first"], pair["second"]): pair["mean"] for pair in found["similarity"]["pairs"]}
    assert list(pairs) == [("S", "B"), ("S", "XL"), ("B", "XL")]
    assert all(len(cosines) == 4 and all(-1 <= c <= 1 for c in cosines) for cosines in pairs.values())
    assert found["similarity"]["n_images"] == 2


def test_the_probe_leaves_out_members_that_go_by_their_own_earlier_calls(tiny_family: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    space = folder / "space.yaml"
    listed = "  - {name: XL+taylorseer2, weights: XL, accelerator: taylorseer2}\n  - {name: XL, weights: XL}\n"
    space.write_text(space.read_text().replace("  - {name: XL, weights: XL}\n", listed))
    notes: list[str] = []

    class Notes(Silent):
        """Keeps what is noted."""

        def note(self, text: str) -> None:
            notes.append(text)

    found = probe_study(load_study(folder / "study.yaml"), 2, open_pool, Notes())
    assert [(pair.first, pair.second) for pair in found.pairs] == [("S", "B"), ("S", "XL"), ("B", "XL")]
    assert notes == ["not asked, since their answers depend on their earlier ones: XL+taylorseer2"]

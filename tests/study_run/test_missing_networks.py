"""What a study's metrics look with is asked for before anything costs: by `check`, and by `run` before it begins."""

from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import close_session
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.config import Study, load_study
from tstitch_search.config.models.quality import BY_PROMPT, PAIRED
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.of_transformers import MODEL, locate_pretrained
from tstitch_search.progress import Silent
from tstitch_search.study_run import run_study
from tstitch_search.study_run.preparation.networks import require_networks
from tstitch_search.workers.protocol import WorkerPool

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOWHERE = ("clip_model", "dino_model", "pick_score_model", "preference_processor")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty cache of the hub, which comes back."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    close_session()  # the next one knows that it is offline
    return tmp_path / "hub"


def study_of(folder: Path, *settings: str) -> Study:
    nowhere = [f"quality.{key}=nobody/{key}" for key in NOWHERE]
    return load_study(folder / "study.yaml", [*nowhere, "quality.hps_weights=hps.pt", *settings])


def never(_: Study) -> WorkerPool:
    raise AssertionError("a pool was opened")


def test_a_run_without_its_metrics_network_ends_before_anything_is_made(tiny_family: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        run_study(study_of(tiny_family, "quality.objective=dino_distance"), tmp_path / "run", never, Silent())
    assert "the DINO model 'nobody/dino_model' can be loaded neither from the folder" in caught.value.message
    assert caught.value.message.endswith("it was not fetched yet, and HF_HUB_OFFLINE is set")
    assert "hf download nobody/dino_model" in caught.value.hint
    assert "psnr and ssim need no weights" in caught.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("metric", [*BY_PROMPT, *PAIRED])
def test_every_metric_that_looks_with_a_network_says_which_is_missing(metric: str, tiny_family: Path) -> None:
    study = study_of(tiny_family)
    quality = study.config.quality.model_copy(update={"objective": metric, "metrics": ()})
    study = study.model_copy(update={"config": study.config.model_copy(update={"quality": quality})})
    if metric in ("psnr", "ssim", "perceptual", "lpips", "temporal_consistency"):  # no network of transformers
        return require_networks(study)
    with pytest.raises(EnvironmentProblem, match="'nobody/"):
        require_networks(study)


@pytest.mark.parametrize("extractor", ["dinov2", "clip"])
def test_so_does_an_extractor_with_the_papers_own_model(extractor: str, tiny_family: Path) -> None:
    study = study_of(tiny_family)
    quality = study.config.quality.model_copy(update={"extractor": extractor, "extractor_weights": None})
    study = study.model_copy(update={"config": study.config.model_copy(update={"quality": quality})})
    with pytest.raises(EnvironmentProblem, match=rf"the feature extractor {extractor} '(facebook/dinov2|openai/clip)"):
        require_networks(study)


def test_check_names_it_beside_the_members_that_it_compares_all_the_same(tiny_family: Path) -> None:
    settings = [f"--set=quality.{key}" for key in ("objective=dino_distance", "dino_model=nobody/none")]
    done = CliRunner().invoke(app, ["check", str(tiny_family / "study.yaml"), *settings])
    assert isinstance(done.exception, EnvironmentProblem)
    assert "hf download nobody/none" in done.exception.hint
    assert "Beside the members: the DINO model 'nobody/none'" in done.stdout
    assert "the pipeline with S, B, XL: same" in done.stdout


def test_a_folder_must_hold_the_weights_and_a_commit_in_the_cache_will_do(tmp_path: Path, offline: Path) -> None:
    (tmp_path / "dino").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"the folder .*dino has no model.safetensors"):
        locate_pretrained("DINO model", "dino", tmp_path, MODEL)
    for place in (tmp_path / "dino", offline / "models--some--dino" / "snapshots" / COMMIT):
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors").touch()
    assert locate_pretrained("DINO model", "dino", tmp_path, MODEL) == (str(tmp_path / "dino"), "main")
    assert locate_pretrained("DINO model", f"some/dino@{COMMIT}", tmp_path, MODEL) == ("some/dino", COMMIT)

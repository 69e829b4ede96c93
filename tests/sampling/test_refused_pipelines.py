"""What cannot be stitched or called is refused by `check`, with both facts and what to do."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from children import HANG_S
from sampling.saved_pipelines import STUDY, save_pipeline

from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.members.vae import frames_per_latent
from tstitch_search.tasks.check import check_study


def study_of(name: str, folder: Path, *overrides: str) -> Study:
    if not (folder / "study.yaml").exists():
        save_pipeline(name, folder)
        (folder / "prompts.txt").write_text("a cat\n" * 40)
        (folder / "study.yaml").write_text(STUDY)
    return load_study(folder / "study.yaml", overrides)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_cogvideox_2b_beside_5b_is_refused_with_both_scaling_factors(tmp_path: Path) -> None:
    study = study_of("cogvideox", tmp_path)
    (tmp_path / "B" / "vae").mkdir()
    (tmp_path / "B" / "vae" / "config.json").write_bytes((tmp_path / "vae" / "config.json").read_bytes())
    change(tmp_path / "B" / "vae" / "config.json", scaling_factor=1.15258426)
    change(tmp_path / "vae" / "config.json", scaling_factor=0.7)
    problem = str(check_study(study).problem)
    assert "a VAE with scaling_factor 1.15258426, but the pipeline's VAE has 0.7" in problem
    assert "signal-to-noise" in problem


def test_members_that_count_time_in_other_units_are_refused(tmp_path: Path) -> None:
    study = study_of("sana", tmp_path)
    change(tmp_path / "B" / "config.json", timestep_scale=0.001)
    assert "timestep_scale 0.001, but denoiser 'S' has 1.0" in str(check_study(study).problem)


def test_frames_that_the_vae_cannot_make_are_refused_with_the_nearest(tmp_path: Path) -> None:
    study = study_of("wan", tmp_path, "space.call.num_frames=6")
    with pytest.raises(ConfigError, match="num_frames: got 6, but the VAE makes 1 frame, and 4 more") as error:
        check_study(study)
    assert "5 or 9" in str(error.value.hint)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"temporal_compression_ratio": 4}, 4),
        ({"temperal_downsample": [False, True, True]}, 4),
        ({"spatio_temporal_scaling": [True, True, True, False], "patch_size_t": 1}, 8),
        ({"latent_channels": 4}, None),
    ],
)
def test_frames_of_one_latent(config: dict[str, Any], expected: int | None) -> None:
    assert frames_per_latent(config) == expected


def test_an_image_pipeline_asked_for_frames_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FluxPipeline takes no 'num_frames'") as error:
        check_study(study_of("flux", tmp_path, "space.call.num_frames=9"))
    assert "it makes images" in str(error.value.hint)


@pytest.mark.parametrize("said", ["num_frames=many", "num_frames=-3", "num_frames=0", "height=8.5", "width=true"])
def test_sizes_that_are_no_whole_numbers_are_refused_when_the_study_is_read(tmp_path: Path, said: str) -> None:
    name, _ = said.split("=")
    with pytest.raises(ConfigError, match=rf"call: got {name}: .*, expected a whole number of at least 1"):
        study_of("wan", tmp_path, f"space.call.{said}")


@pytest.mark.parametrize("name", ["latents", "num_images_per_prompt"])
def test_what_the_study_gives_itself_is_no_argument(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"call: '{name}' is the study's to give"):
        check_study(study_of("flux", tmp_path, f"space.call.{name}=2"))


class GatedHub(BaseHTTPRequestHandler):
    """Answers as the hub does about a repository whose terms were not accepted."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), GatedHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_gated_repository_is_named_as_what_it_is(hub: str, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from tstitch_search.members.weights import locate\n"
        "locate('owner/gated', Path(), 'the pipeline', ['model_index.json'])"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S
    )
    assert "the pipeline: 'owner/gated' is gated" in said.stderr
    assert "hf auth login" in said.stderr

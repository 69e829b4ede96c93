"""A whole study of a video pipeline on the CPU: prompts in, lookup table and animated samples out."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sampling.saved_pipelines import save_pipeline
from text_to_image import PROMPTS

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.measure.kept_arrays import KeptArrays
from tstitch_search.measure.picture_files import save_grid
from tstitch_search.measurement import Chunk
from tstitch_search.progress import Silent
from tstitch_search.real_images import ImageFiles
from tstitch_search.study_run import Result, run_study
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.tasks.generate import images_of

STUDY = """\
name: tiny_video
search_space: space.yaml
guidance_scale: 3
proxy_set: {prompts: prompts.txt, chunk_size: 10}
quality:
  objective: fid
  extractor: fashion-cnn
  extractor_weights: FAMILY/features.safetensors
  reference: FAMILY/reference.npz
  n_images: 20
search: {sampler: enumerate, n_trials: 3}
confirm: {n_images: 20, max_entries: 2}
latency: {batch_size: 1, n_repeats: 3, threads: 1}
workers: {pool: inline, n_workers: 1, device: cpu, device_batch_size: 10}
"""


@pytest.fixture(scope="module")
def video_study(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_pipeline("wan22", tmp_path_factory.mktemp("video_study"))
    space = folder / "space.yaml"  # fashion-cnn takes 32 pixels
    space.write_text(space.read_text().replace(': 16, "width": 16', ': 32, "width": 32'))
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    (folder / "study.yaml").write_text(STUDY.replace("FAMILY", str(tiny_family)))
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def outcome(video_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_study(load_study(video_study), tmp_path_factory.mktemp("run"), open_pool, Silent())


@pytest.mark.slow
def test_a_study_of_clips_ends_with_a_table(outcome: Result) -> None:
    assert outcome.n_failed == 0
    assert {name for entry in outcome.table.entries for name in entry.allocation.steps} <= {"S", "B", "L"}


@pytest.mark.slow
def test_the_report_shows_samples_that_move(outcome: Result) -> None:
    found = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", outcome.report.read_text())
    frames = [Image.open(io.BytesIO(base64.b64decode(picture))).n_frames for picture in found]
    assert frames
    assert set(frames) == {5}


def test_generate_writes_clips_as_an_animation(video_study: Path, tmp_path: Path) -> None:
    made = images_of(load_study(video_study), ["S*2-L*2"], 2, open_pool, Silent())
    assert made["S*2-L*2"].shape == (2, 5, 32, 32, 3)
    assert made["S*2-L*2"].dtype == np.uint8
    save_grid(made, tmp_path / "grid.webp")
    with Image.open(tmp_path / "grid.webp") as picture:
        assert picture.n_frames == 5


MOTION = """\
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase


class Motion(FeatureExtractorBase):
    takes_clips = True

    def __init__(self, name, features_list, **options):
        super().__init__(name, features_list)

    def forward(self, clips):
        return (clips.float().diff(dim=1).abs().mean(dim=(1, 3, 4)),)

    @staticmethod
    def get_provided_features_list():
        return ("motion",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "motion"
"""


def test_an_extractor_of_clips_sees_each_clip_as_a_whole(
    video_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "motion_features.py").write_text(MOTION)
    monkeypatch.syspath_prepend(tmp_path)
    own = ["quality.extractor=motion_features:Motion", "quality.extractor_weights=null"]
    kept = KeptArrays(load_study(video_study, own), torch.device("cpu"))
    clips = torch.randint(0, 256, (2, 5, 3, 8, 8), dtype=torch.uint8)
    found = kept.of(clips, Chunk("search", 0, 2), None)
    between_frames = clips.numpy().astype(float)[:, 1:] - clips.numpy().astype(float)[:, :-1]
    np.testing.assert_allclose(found["features"], np.abs(between_frames).mean((1, 3, 4)), rtol=1e-5)
    with pytest.raises(ConfigError, match=r"takes clips, and quality\.reference is of images"):
        kept.of_reference(ImageFiles(tmp_path, ("real.png",), 8), 2)

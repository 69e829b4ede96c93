"""The evidence about published weights, gathered from a tiny pipeline in their place."""

from pathlib import Path

import pytest
from sampling.saved_pipelines import save_pipeline

from benchmarks.hub_evidence import equality
from tstitch_search.config import load_study

STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 3
proxy_set: {prompts: prompts.txt, chunk_size: 4}
quality: {objective: ssim, n_images: 20}
confirm: {n_images: 20}
workers: {pool: inline, n_workers: 1, device: cpu}
"""


@pytest.mark.parametrize("name", ["flux", "wan22"])
def test_every_member_alone_is_found_equal_to_the_stock_pipeline(name: str, tmp_path: Path) -> None:
    folder = save_pipeline(name, tmp_path)
    (folder / "prompts.txt").write_text("a cat\n" * 40)
    (folder / "study.yaml").write_text(STUDY)
    assert equality(load_study(folder / "study.yaml")) == {"equal": {"S": True, "B": True, "L": True}}

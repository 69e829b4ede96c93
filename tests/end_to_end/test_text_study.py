"""A whole study of a text-to-image pipeline on the CPU, diffusion or flow matching: prompts in, lookup table out."""

from pathlib import Path

import pytest
from sampling.saved_pipelines import save_pipeline
from text_to_image import PROMPTS, save_stable_diffusion

from tstitch_search.config import load_study
from tstitch_search.progress import Silent
from tstitch_search.study_run import Result, run_study
from tstitch_search.study_run.preparation.pool import open_pool

STUDY = """\
name: tiny_text
search_space: space.yaml
guidance_scale: 3
proxy_set: {prompts: prompts.txt, negative_prompt: blurry, chunk_size: 10}
quality:
  objective: fid
  extractor: fashion-cnn
  extractor_weights: FAMILY/features.safetensors
  reference: FAMILY/reference.npz
  n_images: 20
search: {sampler: enumerate, n_trials: 4}
confirm: {n_images: 20, max_entries: 2}
latency: {batch_size: 2, n_repeats: 3, threads: 1}
workers: {pool: inline, n_workers: 1, device: cpu, device_batch_size: 10}
"""


@pytest.fixture(scope="module", params=["stable_diffusion", pytest.param("flux", marks=pytest.mark.slow)])
def text_study(request: pytest.FixtureRequest, tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text_study")
    if request.param == "stable_diffusion":
        save_stable_diffusion(folder)
    else:
        space = save_pipeline(request.param, folder) / "space.yaml"  # fashion-cnn takes 32 pixels
        space.write_text(space.read_text().replace(': 16, "width": 16', ': 32, "width": 32'))
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    (folder / "study.yaml").write_text(STUDY.replace("FAMILY", str(tiny_family)))
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def outcome(text_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_study(load_study(text_study), tmp_path_factory.mktemp("run"), open_pool, Silent())


def test_a_study_of_prompts_ends_with_a_table_and_a_report(outcome: Result) -> None:
    assert outcome.n_failed == 0
    assert outcome.report.stat().st_size > 0
    assert {name for entry in outcome.table.entries for name in entry.allocation.steps} <= {"S", "B", "L"}


def test_the_key_holds_what_images_of_prompts_depend_on(outcome: Result, text_study: Path) -> None:
    key = outcome.table.provenance["key"]
    assert {"proxy_set.prompts", "proxy_set.negative_prompt", "weights.pipeline", "weights.S"} <= set(key)

"""What several tests share: two processes, one thread each, and a model family that is sampled in milliseconds."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tstitch_search.machine import count_cores

# Before numpy and torch are imported, here and in every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests that time with all cores at once would wait for each other by spinning, a hundred times as long as they work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell starts what runs in the background with SIGINT ignored, which the commands that tests interrupt would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SPACE = """\
name: tiny
family: dit
pipeline: .
n_classes: 10
denoisers:
  - {name: S, weights: S}
  - {name: B, weights: B}
  - {name: XL, weights: XL}
n_steps: 4
grid: 1
fewer_steps: []
"""

STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 1.5
proxy_set: {chunk_size: 10}
quality:
  extractor: fashion-cnn
  extractor_weights: features.safetensors
  reference: reference.npz
  n_images: 20
search: {sampler: enumerate}
confirm: {n_images: 40, max_entries: 4}
latency: {batch_size: 2, n_repeats: 3, threads: 1, error: 50%}
workers: {pool: inline, n_workers: 1, device: cpu, device_batch_size: 10}
"""


# A busy machine is slow; that says nothing about the code.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite takes two processes, file by file; files that are named, `--pdb` and `-n` stay as they are."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of the two, which must not start two more
        return
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.usepdb
    if is_whole and getattr(config.option, "numprocesses", 0) is None:  # 0 without pytest-xdist
        config.option.numprocesses, config.option.dist = min(2, count_cores()), "loadfile"


@pytest.fixture(autouse=True)
def usual_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed is as wide as in a pipe, whatever terminal the tests run in."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Calibrations measured by tests stay out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model family of random weights, saved and described as a user's own would be; do not change it.

    In it: study.yaml, its space.yaml with the members S, B, XL (DiT) at 4 steps, one more member U (U-Net), vae and
    scheduler for 4x8x8 latents of grey 32x32 images, features.safetensors for the extractor, reference.npz.
    """
    import torch

    folder = tmp_path_factory.mktemp("tiny_family")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _save_networks(folder)
        _save_extractor_and_reference(folder)
    (folder / "space.yaml").write_text(SPACE)
    (folder / "study.yaml").write_text(STUDY)
    return folder


def _save_networks(folder: Path) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel, UNet2DModel

    for name, heads, layers in (("S", 1, 1), ("B", 2, 1), ("XL", 2, 2)):
        DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=8,
            num_layers=layers,
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_embeds_ada_norm=10,
        ).save_pretrained(folder / name)
    UNet2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=4,
        num_class_embeds=11,
    ).save_pretrained(folder / "U")
    AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        sample_size=32,
        mid_block_add_attention=False,
    ).save_pretrained(folder / "vae")
    DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    ).save_pretrained(folder / "scheduler")


def _save_extractor_and_reference(folder: Path) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from tstitch_search.zoo.features import FashionClassifier

    classifier = FashionClassifier()
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one pass sets the statistics, so that features have a natural scale
    images = torch.rand(200, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        classifier.train()(images)
        features = classifier.eval()(images)[0].double().numpy()
    save_file(classifier.state_dict(), folder / "features.safetensors")
    np.savez(folder / "reference.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False), n_images=200)

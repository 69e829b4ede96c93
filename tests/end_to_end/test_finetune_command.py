"""The real command on the embedded family: killed and continued it ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from children import HANG_S
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "reports" / "small-first-sample" / "lookup.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred pictures that the family's smallest member drew, in a folder for each class."""
    family = ROOT / "tstitch_search" / "zoo" / "fashion"
    pipeline = DiTPipeline(
        transformer=DiTTransformer2DModel.from_pretrained(family / "S"),
        vae=AutoencoderKL.from_pretrained(family / "vae"),
        scheduler=DDIMScheduler.from_pretrained(family / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    folder, noise = tmp_path_factory.mktemp("drawn"), torch.Generator().manual_seed(0)
    drawn = pipeline([i % 10 for i in range(200)], guidance_scale=1, num_inference_steps=10, generator=noise).images
    for i, image in enumerate(drawn):
        place = folder / f"{i % 10:03d}"
        place.mkdir(exist_ok=True)
        image.save(place / f"{i}.png")
    return folder


def arguments(images: Path, output: Path, iterations: int) -> list[str]:
    """Of a training that keeps a checkpoint every 20 iterations."""
    given = ["finetune", TABLE, "--entry", "S*12-B*8", "--member", "S", "--data", images, "-o", output, "--json"]
    given += ["--iterations", iterations, "--batch-size", 8, "--checkpoint-every", 20]
    return [sys.executable, "-m", "tstitch_search", *map(str, given)]


def run(*command: object) -> str:
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=HANG_S)
    assert said.returncode == 0, said.stderr
    assert "Traceback" not in said.stderr
    return said.stdout


@pytest.mark.slow
def test_a_few_iterations_leave_a_member_that_the_study_takes(images: Path, tmp_path: Path) -> None:
    made = json.loads(run(*arguments(images, tmp_path / "S_tuned", iterations=20)))
    assert made["is_new"]
    assert made["settings"]["timesteps"] == [[449, 999]]  # DDIM, trailing, 20 steps: 999, 949, ..., 449
    assert np.isfinite(made["training"]["losses_every_1"]).all()
    members = ["S: " + made["folder"], "B: zoo:fashion/B", "XL: zoo:fashion/XL"]
    given = ", ".join(f"{{name: {name}, weights: {weights}}}" for name, weights in (m.split(": ", 1) for m in members))
    study = ROOT / "studies" / "small_first.yaml"
    run(sys.executable, "-m", "tstitch_search", "check", study, "--set", f"space.denoisers=[{given}]")


@pytest.mark.slow
def test_killed_twice_and_continued_gives_the_same_bits(images: Path, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    run(*arguments(images, undisturbed, iterations=120))
    for n_checkpoints in (1, 2):
        kill_after(arguments(images, killed, iterations=120), killed / "training" / "checkpoint.pt", n_checkpoints)
        assert not (killed / "finetune.json").exists()
    made = json.loads(run(*arguments(images, killed, iterations=120)))
    assert (killed / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()
    there = json.loads((undisturbed / "finetune.json").read_text())
    assert made["settings"] == there["settings"]
    assert made["training"]["losses_every_6"] == there["training"]["losses_every_6"]


def kill_after(command: list[str], checkpoint: Path, n_written: int) -> None:
    """SIGKILL, once the command has written its checkpoint so often."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    seen = {checkpoint.stat().st_mtime_ns} if checkpoint.exists() else set()
    n_before = len(seen)
    while process.poll() is None and len(seen) - n_before < n_written:
        time.sleep(0.002)
        if checkpoint.exists():
            seen.add(checkpoint.stat().st_mtime_ns)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

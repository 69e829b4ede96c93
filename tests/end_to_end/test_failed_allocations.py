"""A run in which a denoiser breaks: the rest is measured, and the exit code says that something is missing."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tstitch_search.cli import app

# The tiny family's B, which fails in the last of four sampling steps, except in the small batches that are timed.
BREAKS = """\
import pathlib
from diffusers import DiTTransformer2DModel

CONFIG = {"in_channels": 4, "out_channels": 4, "sample_size": 8, "num_class_embeds": 11}

class Breaks(DiTTransformer2DModel):
    def forward(self, latents, timestep, **given):
        if len(latents) > 4 and float(timestep.flatten()[0]) < 250:
            raise RuntimeError("out of order")
        return super().forward(latents, timestep=timestep, **given)

def load():
    return Breaks.from_pretrained(pathlib.Path(__file__).with_name("B"))
"""


def test_a_run_with_failed_allocations_ends_with_4_and_a_table_of_the_others(
    tiny_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    (family / "breaking_member.py").write_text(BREAKS)
    monkeypatch.syspath_prepend(str(family))
    space = family / "space.yaml"
    space.write_text(space.read_text().replace("weights: B}", "weights: 'breaking_member:load'}"))
    few = ["--set", "search.n_trials=4", "--set", "confirm={n_images: 20, max_entries: 2}"]
    arguments = ["run", family / "study.yaml", *few, "-o", tmp_path / "run", "--json"]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 4, done.output
    table = json.loads(done.stdout)
    measured = [one["allocation"] for one in (*table["entries"], *table["candidates"])]
    assert {"S*4", "XL*4"} <= set(measured)
    assert not [allocation for allocation in measured if allocation.rpartition("-")[2].startswith("B")]
    assert "out of order" in (tmp_path / "run" / "ledger.jsonl").read_text()

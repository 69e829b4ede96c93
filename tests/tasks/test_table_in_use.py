"""A lookup table put to use: images of its pick, and its step splits in other tools' terms."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from children import HANG_S
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel
from PIL import Image

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study, study_document
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupEntry, LookupTable, OperatingPoint, build_table
from tstitch_search.members.facts import read_member_facts
from tstitch_search.members.loading import load_scheduler
from tstitch_search.progress import Silent
from tstitch_search.sampling.assembly import assemble
from tstitch_search.sampling.conditions import Condition
from tstitch_search.study_run.preparation.hashes import pipeline_sha256
from tstitch_search.tasks.export import export
from tstitch_search.tasks.tables.generate_from_table import Wanted, draw_from_table, entry_for

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def entry(allocation: str, latency_s: float, fid: float) -> LookupEntry:
    return LookupEntry(
        allocation=Allocation.parse(allocation),
        latency_s=latency_s,
        latency_s_se=0.0,
        latency_s_predicted=latency_s,
        quality=fid,
        quality_se=0.1,
        n_images=20,
        peak_memory_mb=None,
        confirmed=True,
    )


@pytest.fixture
def table(tiny_family: Path, tmp_path: Path) -> Path:
    """A table of a copy of the tiny family, beside it."""
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    study = load_study(folder / "study.yaml")
    denoisers = [
        {"name": d.name, "sha256": read_member_facts(d, folder, with_hash=True).weights_sha256}
        for d in study.space.denoisers
    ]
    made = build_table(
        study="tiny",
        operating_points=[OperatingPoint("default", "a cpu", 2)],
        confirmed=[entry("S*4", 0.1, 30.0), entry("S*2-XL*2", 0.2, 20.0), entry("XL*4", 0.3, 10.0)],
        others=[],
        provenance={
            "study": study_document(study, folder),
            "denoisers": denoisers,
            "solver": "the pipeline's own",
            "key": {"weights.pipeline": pipeline_sha256(study)},
        },
    )
    made.write(folder / "lookup.json")
    return folder / "lookup.json"


def draw(table: Path, wanted: Wanted, budget_s: float = 0.25, *, strict: bool = False) -> tuple[np.ndarray, Notes]:
    progress = Notes()
    images = draw_from_table(table, entry_for(table, (), budget_s, None, None), wanted, progress, strict=strict)
    return np.concatenate(list(images), axis=1), progress


def test_the_pick_is_drawn_for_each_label_and_seeds_decide_the_noise(table: Path) -> None:
    first, said = draw(table, Wanted(labels=(3, 7)), strict=True)
    assert first.shape == (32, 64, 3)
    assert said.notes == []
    assert np.array_equal(first, draw(table, Wanted(labels=(3, 7)))[0])
    assert not np.array_equal(first, draw(table, Wanted(labels=(3, 7), seed=1))[0])
    assert not np.array_equal(first, draw(table, Wanted(labels=(3, 7)), budget_s=1)[0])


def test_members_that_the_pick_does_not_use_are_not_loaded(table: Path) -> None:
    for file in (table.parent / "B").iterdir():
        file.unlink()
    draw(table, Wanted(labels=(3,)))


def test_other_weights_than_the_tables_are_named_or_refused(table: Path) -> None:
    shutil.rmtree(table.parent / "S")
    shutil.copytree(table.parent / "B", table.parent / "S")
    assert "denoiser 'S': its weights have the sha256" in draw(table, Wanted(labels=(3,)))[1].notes[0]
    with pytest.raises(ConfigError, match=r"denoiser 'S': its weights have the sha256 .*, the table was made with"):
        draw(table, Wanted(labels=(3,)), strict=True)


def test_weights_in_another_number_format_beside_those_that_are_loaded_change_nothing(table: Path) -> None:
    weights = table.parent / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_suffix(".fp16.safetensors"))
    assert draw(table, Wanted(labels=(3,)), strict=True)[1].notes == []


def test_another_vae_or_scheduler_than_the_tables_is_named_or_refused(table: Path) -> None:
    DDIMScheduler(clip_sample=False).save_pretrained(table.parent / "scheduler")
    (note,) = draw(table, Wanted(labels=(3,)))[1].notes
    assert "the pipeline (vae, scheduler): its files have the sha256" in note
    with pytest.raises(ConfigError, match=r"the pipeline \(vae, scheduler\): .*, the table was made with"):
        draw(table, Wanted(labels=(3,)), strict=True)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(), "draws from class labels"),
        (Wanted(prompts=("a cat",)), "draws from class labels"),
        (Wanted(labels=(3, 10)), "got the label 10, expected 0 to 9"),
    ],
)
def test_what_the_family_cannot_draw_is_refused(table: Path, wanted: Wanted, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw(table, wanted)


def test_an_allocation_may_be_named_if_the_table_holds_it(table: Path) -> None:
    assert str(entry_for(table, ["S*4"], None, None, None).allocation) == "S*4"
    with pytest.raises(ConfigError, match=r"got B\*4, expected one allocation that"):
        entry_for(table, ["B*4"], None, None, None)


def test_the_csv_has_a_row_for_each_step_with_the_solvers_own_timesteps(table: Path) -> None:
    rows = list(csv.DictReader(export(table, "csv").splitlines()))
    assert len(rows) == 3 * 4
    mixed = [row for row in rows if row["allocation"] == "S*2-XL*2"]
    assert [row["denoiser"] for row in mixed] == ["S", "S", "XL", "XL"]
    scheduler = DDIMScheduler.from_pretrained(str(table.parent / "scheduler"))
    scheduler.set_timesteps(4)
    assert [float(row["timestep"]) for row in mixed] == scheduler.timesteps.tolist()
    signal = scheduler.alphas_cumprod[scheduler.timesteps]
    assert [float(row["sigma"]) for row in mixed] == pytest.approx(((1 - signal) / signal).sqrt().tolist())


@pytest.mark.parametrize("solver", ["PNDMScheduler", "HeunDiscreteScheduler", "EulerDiscreteScheduler"])
def test_segments_cover_every_step_once_whatever_the_solver(table: Path, solver: str) -> None:
    found = json.loads(export(table, "diffusers", settings=[f"space.solver={solver}"]))
    assert [e["allocation"] for e in found["entries"]] == ["S*4", "S*2-XL*2", "XL*4"]
    for one in found["entries"]:
        segments = one["segments"]
        assert [s["start_at_step"] for s in segments] == [0, *(s["end_at_step"] for s in segments[:-1])]
        assert segments[-1]["end_at_step"] == one["num_inference_steps"] == 4
        sigmas = [sigma for s in segments for sigma in s["sigmas"]]
        assert len(sigmas) == 4
        assert sigmas == sorted(sigmas, reverse=True)


def answers_of(table: Path, segments: list[dict[str, Any]]) -> list[tuple[float, float, Any]]:
    """What another tool makes of exported segments: timestep, sigma and the denoiser's answer for each step."""
    steps = []
    for segment in segments:
        model = DiTTransformer2DModel.from_pretrained(table.parent / segment["denoiser"]).eval()
        for t, sigma in zip(segment["timesteps"], segment["sigmas"], strict=True):
            time, labels = torch.full((2,), t), torch.tensor([3, 7])
            steps.append((t, sigma, lambda x, m=model, t=time, y=labels: m(x, timestep=t, class_labels=y).sample))
    return steps


@torch.no_grad()
@pytest.mark.parametrize("solver", ["DPMSolverMultistepScheduler", "DDIMScheduler"])
def test_another_tool_makes_the_same_images_of_what_is_exported(table: Path, solver: str) -> None:
    """A stock solver that is given the timesteps; and DDIM written out in sigmas alone (v-prediction), within 2e-4."""
    study = load_study(table.parent / "study.yaml", [f"space.solver={solver}"])
    exported = json.loads(export(table, "diffusers", settings=[f"space.solver={solver}"]))
    (entry,) = (entry for entry in exported["entries"] if entry["allocation"] == "S*2-XL*2")
    steps = answers_of(table, entry["segments"])
    x = torch.cat([torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    if solver == "DDIMScheduler":
        for (_, sigma, answer), next_sigma in zip(steps, [step[1] for step in steps[1:]] + [0.0], strict=True):
            alpha, next_alpha = (1 + sigma**2) ** -0.5, (1 + next_sigma**2) ** -0.5
            v = answer(x)
            clean, noise = alpha * x - alpha * sigma * v, alpha * sigma * x + alpha * v
            x = next_alpha * (clean + next_sigma * noise)
    else:
        scheduler = load_scheduler(table.parent / "scheduler", solver)
        scheduler.set_timesteps(timesteps=[t for t, _, _ in steps])
        for t, (_, _, answer) in zip(scheduler.timesteps, steps, strict=True):
            x = scheduler.step(answer(x), t, x).prev_sample
    vae = AutoencoderKL.from_pretrained(table.parent / "vae")
    made = (vae.decode(x / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)

    assembly = assemble(study, torch.device("cpu"))
    assembly.denoiser.set_allocation(Allocation.parse("S*2-XL*2"))
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    expected = assembly.family.sample(assembly.pipeline, [Condition(3), Condition(7)], generators, 4, 1.0)
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-4)


def test_steps_that_the_table_holds_are_exported_without_the_study_or_its_solver(table: Path, tmp_path: Path) -> None:
    computed, made = export(table, "csv"), LookupTable.read(table)
    steps = [row for row in csv.DictReader(computed.splitlines()) if row["allocation"] == "XL*4"]
    timesteps, sigmas = (tuple(float(row[name]) for row in steps) for name in ("timestep", "sigma"))
    alone = tmp_path / "alone" / "lookup.json"
    alone.parent.mkdir()
    entries = tuple(replace(e, timesteps=timesteps, sigmas=sigmas) for e in made.entries)
    replace(made, entries=entries, provenance={}).write(alone)
    assert export(alone, "csv") == computed
    with pytest.raises(ConfigError, match=r"entries\[0\].timesteps: expected one for each of 4 steps, got 3"):
        LookupTable.from_json(json.loads(alone.read_text().replace(f"{timesteps[0]},", "", 1)))


def test_reading_a_table_back_gives_the_entries_that_were_exported(table: Path) -> None:
    found = json.loads(export(table, "diffusers"))
    assert [e["allocation"] for e in found["entries"]] == [str(e.allocation) for e in LookupTable.read(table).entries]


@pytest.mark.slow
def test_both_verbs_work_from_the_shell(table: Path) -> None:
    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tstitch_search", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )

    output = table.parent / "two.png"
    said = command("generate", table, "--budget", "250ms", "--labels", "3,7", "--seed", "0", "-o", output)
    assert said.returncode == 0, said.stderr
    assert "step 4 of 4" in said.stderr
    with Image.open(output) as picture:
        assert picture.size == (64, 32)
    assert command("export", table, "--format", "csv").stdout == export(table, "csv")

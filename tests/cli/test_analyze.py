"""`tstitch-search analyze`: refusals, the price, and the real command on the embedded family."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from children import HANG_S
from click.testing import Result
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.errors import ConfigError

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "studies" / "small_first.yaml"


def analyze(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "similarity,spectra"], "unknown analysis 'spectra'"),
        (["--steps", "10,many"], "--steps: got '10,many', expected whole numbers such as 10,20,50"),
        (["--guidance", "x"], "--guidance: got 'x', expected numbers such as 1,1.5,4"),
        (["--n", "5"], "got 5 images, expected at least 20"),
    ],
)
def test_what_is_misspelt_is_refused_before_anything_is_measured(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    found = analyze(QUICKSTART, "-o", tmp_path / "run", *arguments)
    assert isinstance(found.exception, ConfigError)
    assert said in str(found.exception)
    assert not (tmp_path / "run").exists()


def test_a_study_of_recorded_numbers_cannot_be_analyzed(tmp_path: Path) -> None:
    found = analyze(ROOT / "studies" / "recorded" / "dit_s_xl.yaml", "-o", tmp_path / "run")
    assert isinstance(found.exception, ConfigError)
    assert "no members that could draw other images" in str(found.exception)


def test_the_price_is_told_without_measuring(tmp_path: Path) -> None:
    given = ("--only", "members,guidance", "--guidance", "1,2", "--n", "50", "--allocations", "3", "--price")
    told = json.loads(analyze(QUICKSTART, "-o", tmp_path / "run", *given, "--json").stdout)
    assert told["n_images"] == {"as_it_is": 5 * 50, "guidance_2": 3 * 50}  # S and B to XL share XL alone
    assert told["device_seconds"]["as_it_is"] > 0
    assert not (tmp_path / "run").exists()
    assert "400 images in 2 runs" in analyze(QUICKSTART, "-o", tmp_path / "run", *given).stdout


@pytest.mark.slow
def test_on_the_embedded_family_members_grow_apart_while_detail_comes_in(tmp_path: Path) -> None:
    """The paper's figures 3 and 11 for the zoo, by the real command."""
    given = ("--only", "similarity,frequency,step-reduction", "--n", "20", "--allocations", "2", "--json")
    settings = ("--set", "workers.pool=inline", "--set", "latency.n_repeats=3", "--device", "cpu")
    command = [sys.executable, "-m", "tstitch_search", "analyze", QUICKSTART, "-o", tmp_path / "run", *given, *settings]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=HANG_S)
    assert said.returncode == 0, said.stderr
    assert "at most 40 images in 1 run," in said.stderr
    told = json.loads(said.stdout)
    pair = [r["cosine"] for r in told["tables"]["similarity"] if (r["first"], r["second"]) == ("S", "XL")]
    assert len(pair) == 20
    assert pair[0] > 0.95 > pair[-1]
    for name in ("S", "B", "XL"):
        first, last = (_high_share(told["tables"]["frequency"], name, step) for step in (1, 20))
        assert last > 1.5 * first
    with open(tmp_path / "run" / "analysis" / "step-reduction.csv", newline="") as file:
        assert [row["allocation"] for row in csv.DictReader(file)] == ["XL*20", "S*20", "XL*20"]


def _high_share(rows: list[dict], denoiser: str, step: int) -> float:
    bands = [r for r in rows if (r["denoiser"], r["of"], r["step"]) == (denoiser, "clean", step)]
    return sum(r["energy"] for r in bands if r["band_from"] >= 0.5) / sum(r["energy"] for r in bands)

"""What the command line answers: nothing that misleads, and nothing that comes after the work it should have spared."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tstitch_search.cli import app
from tstitch_search.lookup import LookupTable

ROOT = Path(__file__).parent.parent.parent
SAMPLE = ROOT / "reports" / "small-first-sample" / "lookup.json"
QUICKSTART = ROOT / "studies" / "small_first.yaml"
HEAVY = ("torch", "scipy", "sqlalchemy", "plotly", "optuna", "ray", "diffusers")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def command(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tstitch_search", *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **variables},
    )


@pytest.fixture
def typo(tmp_path: Path) -> Path:
    """The quickstart's study with one key mistyped."""
    study = tmp_path / "typo.yaml"
    text = QUICKSTART.read_text().replace("../search_spaces", str(ROOT / "search_spaces"))
    study.write_text(text.replace("quality:", "qualty:"))
    return study


def test_a_loss_above_one_without_per_cent_is_refused_with_both_readings() -> None:
    refused = call("pick", SAMPLE, "--max-fid-loss", "5")
    assert "which is 500%: write 5% or 500%" in str(refused.exception)
    assert call("pick", SAMPLE, "--max-fid-loss", "50%").exit_code == 0
    assert call("pick", SAMPLE, "--max-fid-loss", "0.5").stdout == call("pick", SAMPLE, "--max-fid-loss", "50%").stdout


def test_a_study_refuses_such_a_loss_too(tmp_path: Path) -> None:
    refused = call("plan", QUICKSTART, "--set", "focus={max_fid_loss: 5}", "-o", tmp_path / "run")
    assert "write 5% or 500%" in str(refused.exception)


def test_pick_says_what_its_seconds_are() -> None:
    table = LookupTable.read(SAMPLE)
    entry = table.entries[1]
    point, speed_up = table.operating_points[0], table.provenance["largest_latency_s"] / entry.latency_s
    said = call("pick", SAMPLE, "--budget", f"{entry.latency_s}s").stdout
    assert said.startswith(f"{entry.allocation}  {entry.latency_s:.4g} s for a batch of {point.batch_size} in 20 steps")
    assert f"on {point.device}, {speed_up:.2f}x as fast as XL*20" in said
    document = json.loads(call("pick", SAMPLE, "--budget", f"{entry.latency_s}s", "--json").stdout)
    assert document["picked_at"]["batch_size"] == point.batch_size
    assert document["picked_at"]["speed_up"] == pytest.approx(speed_up)


def test_the_fastest_that_is_shown_to_lose_nothing_is_one_question() -> None:
    guidance = ROOT / "reports" / "guidance-sample" / "lookup.json"
    picked = json.loads(call("pick", guidance, "--lossless", "--json").stdout)
    shown = [entry for entry in LookupTable.read(guidance).entries if entry.lossless]
    assert picked["allocation"] == str(min(shown, key=lambda entry: entry.latency_s).allocation)
    assert picked["picked_at"]["speed_up"] > 1
    said = call("pick", SAMPLE, "--lossless")
    assert said.stdout.startswith("XL*20 ")
    assert "no faster entry is shown to lose nothing" in said.stderr


def test_a_picture_of_a_kind_that_is_not_known_is_refused_before_any_work(tmp_path: Path) -> None:
    refused = call("generate", QUICKSTART, "-a", "S*20", "-o", tmp_path / "grid.xyz")
    assert "expected a name that ends in one of .png" in str(refused.exception)
    film = call("generate", QUICKSTART, "-a", "S*20", "-o", tmp_path / "clip.mp4")
    assert "clips are written as animated .webp" in str(film.exception)


@pytest.mark.parametrize(
    "verb", [("export", SAMPLE), ("calibrate", QUICKSTART), ("generate", QUICKSTART, "-a", "S*20")]
)
def test_no_folder_is_made_without_a_word(verb: tuple[object, ...], tmp_path: Path) -> None:
    refused = call(*verb, "-o", tmp_path / "absent" / "out.png")
    assert "there is no folder" in str(refused.exception)
    assert not (tmp_path / "absent").exists()


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    assert "is a folder, expected the name of a file" in str(call("export", SAMPLE, "-o", tmp_path).exception)


def test_what_only_a_table_can_answer_is_refused_for_a_study(tmp_path: Path) -> None:
    refused = call("generate", QUICKSTART, "-a", "S*20", "--budget", "1s", "-o", tmp_path / "grid.png")
    assert "--budget asks a lookup table, got the study" in str(refused.exception)


@pytest.mark.parametrize("verb", ["run", "plan", "check", "calibrate"])
def test_a_typing_error_is_one_error_and_loads_nothing_heavy(verb: str, typo: Path, tmp_path: Path) -> None:
    output = [] if verb == "check" else ["-o", tmp_path / "out"]
    refused = command(verb, typo, *output, PYTHONPROFILEIMPORTTIME="1")
    loaded = {
        line.rpartition("|")[2].strip() for line in refused.stderr.splitlines() if line.startswith("import time:")
    }
    said = [line for line in refused.stderr.splitlines() if not line.startswith("import time:")]
    assert refused.returncode == 2
    assert not [name for name in HEAVY if name in loaded]
    assert len(said) == 2
    assert said[0].endswith("unknown key qualty, did you mean quality?")
    assert said[1] == "  try: `tstitch-search schema study` prints every key and what it means"


@pytest.mark.parametrize("charset", ["ascii", "cp1252"])
@pytest.mark.parametrize("verb", [("show",), ("pick", "--budget", "0.3s"), ("diff", SAMPLE)])
def test_a_terminal_of_another_charset_gets_stand_ins(verb: tuple[object, ...], charset: str) -> None:
    shown = command(verb[0], SAMPLE, *verb[1:], PYTHONIOENCODING=charset)
    assert shown.returncode == 0, shown.stderr


def test_a_pipe_is_as_wide_as_columns_says() -> None:
    widest = {n: max(map(len, command("show", SAMPLE, COLUMNS=n).stdout.splitlines())) for n in ("100", "160")}
    assert widest["100"] <= 100
    assert widest["160"] > 120


def test_a_narrow_terminal_is_told_what_there_is_no_room_for() -> None:
    narrow = " ".join(command("show", SAMPLE, COLUMNS="60").stdout.split())
    assert re.search(r"no room for: .*lossless; --json has them", narrow)
    assert "no room for" not in command("show", SAMPLE, COLUMNS="160").stdout


def test_a_table_does_not_differ_from_itself() -> None:
    (row, *_) = json.loads(call("diff", SAMPLE, SAMPLE, "--json").stdout)["kept"]
    assert (row["quality_change"], row["quality_change_se"], row["slowdown"], row["slowdown_se"]) == (0, 0, 0, 0)


def test_a_long_setting_is_cut_where_it_differs(tmp_path: Path) -> None:
    document = json.loads(SAMPLE.read_text())
    document["provenance"]["note"] = "a" * 300 + "old"
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps(document))
    document["provenance"]["note"] = "a" * 300 + "new"
    after.write_text(json.dumps(document))
    (line,) = [line for line in call("diff", before, after).stdout.splitlines() if line.startswith("  note: ")]
    assert "aold" in line
    assert "anew" in line

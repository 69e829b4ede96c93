"""The command line behaves: fast help, data on stdout and the rest on stderr, no colour, completion."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from tstitch_search.cli import app
from tstitch_search.cli.app import in_front

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "reports" / "quickstart-sample" / "lookup.json"
VERBS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tstitch_search", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_but_the_parser(arguments: list[str]) -> None:
    heavy = ("torch", "diffusers", "ray", "optuna", "plotly", "numpy", "scipy", "yaml", "rich")
    program = (
        "import sys\n"
        f"sys.argv = ['tstitch-search', *{arguments!r}]\n"
        "from tstitch_search.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        f"    print([m for m in {heavy} if m in sys.modules], file=sys.stderr)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert said.stdout
    assert said.stderr.strip() == "[]"


def test_a_pick_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['tstitch-search', 'pick', r'{TABLE}', '--budget', '1s']\n"
        "from tstitch_search.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    print([m for m in ('torch', 'ray', 'optuna', 'plotly', 'numpy') if m in sys.modules], file=sys.stderr)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert said.stdout.startswith("XL*20")
    assert said.stderr.strip() == "[]"


def test_the_list_of_verbs_says_of_each_a_whole_sentence() -> None:
    said = command("--help", COLUMNS="80", TERM="dumb").stdout
    lines = dict(re.findall(r"^  (\w+) +(\S.*)$", said.partition("Commands:")[2], re.M))
    assert set(lines) >= set(VERBS)
    assert not [line for line in lines.values() if line[-1] not in ".?" or line.endswith("...")]


def test_data_goes_to_stdout_and_progress_to_stderr(tiny_family: Path, tmp_path: Path) -> None:
    arguments = ("calibrate", tiny_family / "study.yaml", "-o", tmp_path / "calibration.json", "--json")
    said = command(*arguments)
    assert said.returncode == 0, said.stderr
    assert set(json.loads(said.stdout)["step_s"]) == {"S", "B", "XL"}
    assert "timing each denoiser" in said.stderr
    quiet = command(*arguments, "--quiet")
    assert set(json.loads(quiet.stdout)["step_s"]) == {"S", "B", "XL"}
    assert quiet.stderr == ""


def test_verbose_says_a_line_for_each_chunk(tiny_family: Path, tmp_path: Path) -> None:
    few = ["--set", "search.n_trials=3", "--set", "confirm.n_images=20", "--set", "confirm.max_entries=2"]
    said = command("run", tiny_family / "study.yaml", *few, "-o", tmp_path / "run", "--verbose")
    assert said.returncode == 0, said.stderr
    ledger = (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()
    n_chunks = sum(json.loads(line)["event"] == "chunk" for line in ledger)
    assert len(re.findall(r", images \d+ to \d+;", said.stderr)) == n_chunks


def test_quiet_and_verbose_may_stand_anywhere_but_exclude_each_other() -> None:
    assert in_front(["run", "x.yaml", "--quiet", "-o", "y"]) == ["--quiet", "run", "x.yaml", "-o", "y"]
    assert command("--quiet", "schema", "study", "--verbose").returncode == 2


def test_no_colour_where_none_is_wanted() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    for arguments in (["show", TABLE], ["--help"]):
        assert not colour.search(command(*arguments, NO_COLOR="1", FORCE_COLOR="1").stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_the_shell(shell: str) -> None:
    program = "import sys; sys.argv[0] = 'tstitch-search'; from tstitch_search.cli import main; main()"
    completing = {"_TSTITCH_SEARCH_COMPLETE": f"source_{shell}"}
    asked = [sys.executable, "-c", program]
    script = subprocess.run(asked, env={**os.environ, **completing}, capture_output=True, text=True, timeout=60).stdout
    assert "tstitch-search" in script


def test_completion_names_the_verbs() -> None:
    program = "import sys; sys.argv[0] = 'tstitch-search'; from tstitch_search.cli import main; main()"
    typed = {"_TSTITCH_SEARCH_COMPLETE": "complete_bash", "COMP_WORDS": "tstitch-search re", "COMP_CWORD": "1"}
    asked = [sys.executable, "-c", program]
    found = subprocess.run(asked, env={**os.environ, **typed}, capture_output=True, text=True, timeout=60).stdout
    assert {"recalibrate", "report", "requality"} <= set(found.split())


def test_usage_and_configuration_errors_end_with_2_and_refused_limits_with_5() -> None:
    assert command("pick").returncode == 2
    assert command("pick", "nowhere.json").returncode == 2
    assert command("pick", TABLE, "--budget", "1ms").returncode == 5

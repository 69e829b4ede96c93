"""The command line behaves: fast help, data on stdout and the rest on stderr, no colour, completion."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from children import HANG_S
from typer.main import get_command
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.cli.app import in_front
from tstitch_search.lookup import LookupTable

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "reports" / "small-first-sample" / "lookup.json"
VERBS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tstitch_search", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


def loaded_by(*lines: list[str]) -> tuple[list[str], set[str]]:
    """What each command line printed, one process for all, and the modules that were loaded in the end."""
    program = (
        "import contextlib, io, json, sys\n"
        "from tstitch_search.cli import main\n"
        "said = []\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['tstitch-search', *line]\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "        main()\n"
        "    said.append(out.getvalue())\n"
        "print(json.dumps([said, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG_S, check=True)
    said, modules = json.loads(done.stdout)
    return said, set(modules)


def test_help_of_every_verb_loads_nothing_but_the_parser() -> None:
    said, modules = loaded_by(["--help"], ["--version"], *([verb, "--help"] for verb in VERBS))
    assert all(f"tstitch-search {verb}" in text for verb, text in zip(VERBS, said[2:], strict=True))
    heavy = {"torch", "diffusers", "ray", "optuna", "plotly", "numpy", "scipy", "yaml", "rich", "PIL"}
    assert not heavy & modules


def test_looking_at_tables_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = {"torch", "diffusers", "ray", "optuna", "plotly", "scipy", "sqlalchemy"}
    (picked, _), modules = loaded_by(["pick", str(TABLE), "--budget", "1s"], ["diff", str(TABLE), str(TABLE)])
    assert picked.startswith("XL*20")
    assert not {"numpy", *heavy} & modules
    (shown,), modules = loaded_by(["show", str(TABLE)])
    assert "XL*20" in shown
    assert not heavy & modules
    timed = LookupTable.read(TABLE)
    entries = tuple(replace(e, timesteps=tuple(map(float, range(e.allocation.n_steps)))) for e in timed.entries)
    replace(timed, entries=entries).write(tmp_path / "lookup.json")
    (exported, _), modules = loaded_by(["export", str(tmp_path)], ["export", str(tmp_path), "--format", "diffusers"])
    assert exported.count("XL,") > 20
    assert not heavy & modules


def test_the_list_of_verbs_says_of_each_a_whole_sentence() -> None:
    said = command("--help", COLUMNS="80", TERM="dumb").stdout
    lines = dict(re.findall(r"^  (\w+) +(\S.*)$", said.partition("Every day:")[2], re.M))
    assert set(lines) >= set(VERBS)
    assert not [line for line in lines.values() if line[-1] not in ".?" or line.endswith("...")]


@pytest.mark.slow
def test_data_goes_to_stdout_and_progress_to_stderr_a_line_for_each_chunk_or_nothing(tmp_path: Path) -> None:
    study, folder = ROOT / "studies" / "recorded" / "dit_s_xl.yaml", tmp_path / "run"
    said = command("run", study, "-o", folder, "--json", "--verbose")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["study"] == "dit_s_xl"
    ledger = (folder / "ledger.jsonl").read_text().splitlines()
    n_chunks = sum(json.loads(line)["event"] == "chunk" for line in ledger)
    assert len(re.findall(r", images \d+ to \d+;", said.stderr)) == n_chunks > 0
    quiet = command("run", study, "-o", tmp_path / "again", "--json", "--quiet")
    assert json.loads(quiet.stdout)["entries"] == json.loads(said.stdout)["entries"]
    assert quiet.stderr == ""


def test_every_verb_that_prints_a_table_for_people_prints_json_for_programs() -> None:
    of_files = {"init", "generate", "report", "repair"}  # these say what they wrote, a path in each line
    of_data = {"export", "schema"}  # these print CSV or JSON for programs anyway
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    without = {name for name, verb in verbs.items() if not any("--json" in option.opts for option in verb.params)}
    assert without == of_files | of_data


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
    script = subprocess.run(
        asked, env={**os.environ, **completing}, capture_output=True, text=True, timeout=HANG_S
    ).stdout
    assert "tstitch-search" in script


def test_completion_names_the_verbs() -> None:
    program = "import sys; sys.argv[0] = 'tstitch-search'; from tstitch_search.cli import main; main()"
    typed = {"_TSTITCH_SEARCH_COMPLETE": "complete_bash", "COMP_WORDS": "tstitch-search re", "COMP_CWORD": "1"}
    asked = [sys.executable, "-c", program]
    found = subprocess.run(asked, env={**os.environ, **typed}, capture_output=True, text=True, timeout=HANG_S).stdout
    assert {"recalibrate", "report", "requality"} <= set(found.split())


def test_usage_and_configuration_errors_end_with_2_and_refused_limits_with_5() -> None:
    assert command("pick").returncode == 2
    assert command("pick", "nowhere.json").returncode == 2
    assert command("pick", TABLE, "--budget", "1ms").returncode == 5


def test_help_lists_every_verb_once_in_groups_and_those_of_every_day_first() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    groups = re.findall(r"^([A-Z][a-z ]+):\n((?:  .*\n)+)", said, re.M)
    titles = [title for title, _ in groups]
    assert titles == ["Options", "Every day", "Tables and run folders", "Devices", "Research"]
    listed = [line.split()[0] for title, lines in groups[1:] for line in lines.splitlines() if line[2] != " "]
    assert listed[:7] == ["init", "check", "plan", "run", "status", "report", "pick"]
    assert sorted(listed) == sorted(get_command(app).commands)  # type: ignore[attr-defined]

"""What the documentation claims is true: places, commands, sample files."""

import html
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from children import HANG_S
from typer.main import get_command
from typer.testing import CliRunner

import tstitch_search
from tstitch_search.cli import app
from tstitch_search.config.caches import matrix
from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError, QualityGateError
from tstitch_search.lookup import LookupTable

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tstitch_search"
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "studies/recorded/README.md", "reports/README.md")
DOCS = [*(ROOT / page for page in PAGES), *sorted((ROOT / "docs").rglob("*.md"))]
VERBS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def test_architecture_names_every_room_of_the_package():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    rooms = [p for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    names = [p.name if p.suffix else f"{p.name}/" for p in rooms if not p.name.startswith("__")]
    assert not [name for name in names if f"`{name}`" not in text]


def test_first_commands_of_the_readme_are_the_two_promised():
    block = re.search(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block is not None
    lines = [line.split("#")[0].strip() for line in block[1].splitlines()]
    assert [line for line in lines if line] == [
        "pip install uv && uv run tstitch-search run studies/quickstart.yaml",
        "pip install uv && uv run pytest",
    ]


def test_the_readme_says_how_to_install_uv_where_pip_refuses():
    """Debian and Ubuntu have marked their Python as externally managed (PEP 668)."""
    assert "# Debian, Ubuntu: pipx install uv\n" in (ROOT / "README.md").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900


def test_the_readme_shows_the_picture_then_the_commands_then_how_to_deploy_then_results():
    text = (ROOT / "README.md").read_text()
    places = [text.index(part) for part in ("](docs/images/report.png)", "uv run pytest", "stitch(pipeline", "±")]
    assert places == sorted(places)


def test_every_exit_code_is_in_the_docs():
    (said,) = re.findall(r"^Exit codes: (.*?)\n*\Z", (ROOT / "docs" / "commands.md").read_text(), re.S | re.M)
    codes = {error.exit_code for error in (ConfigError, EnvironmentProblem, MeasurementError, QualityGateError)}
    assert {int(code) for code in re.findall(r"\b(\d+) \w", said)} == {0, 129, 130, 143} | codes


COMMANDS = [
    pytest.param(line, id=line.partition("tstitch-search ")[2])
    for page in DOCS
    for block in re.findall(r"```\n(.*?)```", page.read_text(), re.S)
    for line in block.splitlines()
    if line.removeprefix("uv run ").startswith("tstitch-search ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_documented_command_has_a_verb_and_options_that_exist(line: str):
    _, verb, *arguments = shlex.split(line.removeprefix("uv run "))
    known = {option for p in get_command(app).commands[verb].params for option in p.opts}  # type: ignore[attr-defined]
    given = [argument for argument in arguments if re.match(r"--?[a-z]", argument)]
    assert not [option for option in given if option not in known]


def test_the_picks_of_the_documentation_run_on_a_table_of_two_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "lookup.md").read_text(), re.S)
    table = LookupTable.read(ROOT / "reports" / "small-first-sample" / "lookup.json").to_json()
    table["operating_points"].append({"id": "a100", "device": "A100", "batch_size": 1})
    for entry in table["entries"]:
        entry["peak_memory_mb"] = entry["peak_memory_mb"] or 10
        entry["latency_by_point"] = {"a100": {"latency_s": entry["latency_s"] / 10, "latency_s_se": 0.001}}
    LookupTable.from_json(table).write(tmp_path / "lookup.json")
    monkeypatch.chdir(tmp_path)
    exec(block, {})


@pytest.mark.parametrize(
    "name", ["quickstart-sample", "small-first-sample", "guidance-sample", "perceptual-sample", "few-steps-sample"]
)
def test_the_sample_page_is_that_of_the_sample_table(name: str):
    sample = ROOT / "reports" / name
    page, table = (sample / "report.html").read_text(encoding="utf-8"), LookupTable.read(sample / "lookup.json")
    assert html.escape(table.provenance["headline"]) in page
    assert all(f'data-allocation="{entry.allocation}"' in page for entry in table.entries)
    assert len(page) < 6e6


def test_what_cites_the_software_has_its_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == tstitch_search.__version__
    assert project["dynamic"] == ["version"]  # the wheel takes the same one
    assert project["license"] == citation["license"]
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_docs_and_shows_an_example(verb: str):
    assert f"`{verb}`" in (ROOT / "docs" / "commands.md").read_text()
    said = CliRunner().invoke(app, [verb, "--help"])
    assert said.exit_code == 0
    assert f"Example: tstitch-search {verb}" in said.output


def test_tests_that_the_documentation_names_exist():
    text = "".join(path.read_text() for path in DOCS)
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text))
    assert len(named) > 25
    assert not [(file, test) for file, test in named if f"def {test}(" not in (ROOT / file).read_text()]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path):
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]


# Those in studies/hub need their models from the hub; that they load is tested in tests/config.
HERE = [path for path in sorted((ROOT / "studies").rglob("*.yaml")) if path.parent.name != "hub"]


@pytest.mark.parametrize("study", HERE, ids=lambda path: path.stem)
def test_every_shipped_study_passes_plan(study: Path, tmp_path: Path):
    said = CliRunner().invoke(app, ["plan", str(study), "-o", str(tmp_path / "run"), "--json"])
    assert said.exit_code == 0, said.exception
    assert not (tmp_path / "run").exists()


def test_planning_imports_no_heavy_package(tmp_path: Path):
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from tstitch_search.cli import app\n"
        "import tstitch_search.study_run\n"
        f"study = r'{ROOT / 'studies' / 'small_first.yaml'}'\n"
        f"assert CliRunner().invoke(app, ['plan', study, '-o', r'{tmp_path / 'run'}', '--json']).exit_code == 0\n"
        "print([m for m in ('torch', 'diffusers', 'ray', 'torch_fidelity') if m in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_S)
    assert said.stdout.strip() == "[]", said.stdout + said.stderr


def test_the_matrix_of_caches_is_the_one_that_the_program_goes_by():
    text = (ROOT / "docs" / "caches.md").read_text()
    assert text.partition("<!-- matrix -->\n")[2].partition("\n<!-- end -->")[0] == matrix()

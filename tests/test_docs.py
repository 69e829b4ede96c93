"""What the documentation claims is true: places, commands, sample files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tstitch_search.cli import app

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tstitch_search"
PAGES = ("README.md", "CONTRIBUTING.md", "studies/recorded/README.md")
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
    assert lines == [
        "pip install uv && uv run tstitch-search run studies/quickstart.yaml",
        "pip install uv && uv run pytest",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme_and_shows_an_example(verb: str):
    assert f"`{verb}`" in (ROOT / "README.md").read_text()
    said = CliRunner().invoke(app, [verb, "--help"])
    assert said.exit_code == 0
    assert f"Example: tstitch-search {verb}" in said.output


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
        "import tstitch_search.run\n"
        f"study = r'{ROOT / 'studies' / 'quickstart.yaml'}'\n"
        f"assert CliRunner().invoke(app, ['plan', study, '-o', r'{tmp_path / 'run'}', '--json']).exit_code == 0\n"
        "print([m for m in ('torch', 'diffusers', 'ray', 'torch_fidelity') if m in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert said.stdout.strip() == "[]", said.stdout + said.stderr

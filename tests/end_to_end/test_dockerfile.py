"""The Dockerfile without Docker: its steps are done in a folder, and a user with no name runs the command there."""

import json
import os
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from children import HANG_S

ROOT = Path(__file__).parents[2]
UID = 54321  # in no list of users
# One that other users may execute, and that takes the packages of this one.
SYSTEM = Path(f"/usr/bin/python3.{sys.version_info.minor}")


@dataclass
class Image:
    """What the steps leave: a folder that stands for `/`, and the settings of the image."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = Path("/")
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    installed: list[str] = field(default_factory=list)

    def place(self, path: str) -> str:
        return f"{self.root}{path}" if path.startswith("/") else path

    def do(self, name: str, rest: str) -> None:
        """One step. Raises AssertionError for one that is not known here."""
        match name, shlex.split(rest):
            case "FROM", [image]:
                assert image.startswith("python:3.1")
            case "ENV", settings:
                pairs = (setting.split("=", 1) for setting in settings)
                self.environment |= {key: self.place(value) for key, value in pairs}
            case "RUN", ["pip", "install", *arguments]:  # needs the index: what it would install is looked at below
                self.installed += [a for a in arguments if not a.startswith("-")]
            case "RUN", words:
                subprocess.run([self.place(word) for word in words], check=True, timeout=HANG_S)
            case "COPY", [*sources, target]:
                for source in sources:
                    self._copy(ROOT / source, Path(self.place(target)), target.endswith("/"))
            case "WORKDIR", [folder]:
                self.folder = Path(self.place(folder))
            case "USER", [user]:
                self.user = user
            case ("ENTRYPOINT" | "CMD") as which, _:
                setattr(self, "entrypoint" if which == "ENTRYPOINT" else "command", json.loads(rest))
            case _:
                raise AssertionError(f"{name} {rest}")

    def _copy(self, source: Path, target: Path, into: bool) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / source.name if into else target)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are its user's alone
        Path(folder).chmod(0o755)
        made = Image(Path(folder))
        for line in (ROOT / "Dockerfile").read_text().splitlines():
            if line and not line.startswith("#"):
                made.do(*line.split(maxsplit=1))
        yield made


def test_all_that_the_package_is_built_from_is_copied(image: Image) -> None:
    (place,) = image.installed
    app = Path(image.place(place))
    project = tomllib.loads((app / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    named = [*wheel["packages"], *wheel["force-include"], project["project"]["readme"]]
    named += [*project["project"]["license-files"], project["tool"]["hatch"]["version"]["path"]]
    assert [name for name in named if not (app / name).exists()] == []
    for name in wheel["packages"]:
        there = subprocess.run(["git", "ls-files", name], cwd=ROOT, capture_output=True, text=True, check=True)
        assert [file for file in there.stdout.split() if not (app / file).exists()] == []


def test_the_command_is_ours_and_says_its_help_when_nothing_is_asked(image: Image) -> None:
    assert (image.entrypoint, image.command) == (["tstitch-search"], ["--help"])
    assert image.user != "0"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a command as another user")
@pytest.mark.skipif(not SYSTEM.exists(), reason=f"there is no {SYSTEM}, which any user may execute")
def test_a_user_whom_the_image_does_not_know_runs_a_study(image: Image) -> None:
    app = image.place(image.installed[0])
    packages = os.pathsep.join([app, *site.getsitepackages()])
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": packages, "OMP_NUM_THREADS": "1", **image.environment}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [SYSTEM, "-m", "tstitch_search", *arguments],
            cwd=image.folder,
            env=environment,
            user=UID,
            group=UID,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        run("--version")
    except (PermissionError, AssertionError) as error:
        pytest.skip(f"the packages of this Python are not for other users: {error}")
    run("init")
    run("generate", "studies/quickstart.yaml", "-a", "B*20", "-n", "1", "-o", "one.png")
    assert (image.folder / "one.png").stat().st_uid == UID
    run("run", f"{app}/studies/recorded/ldm.yaml", "-o", "run")
    assert (image.folder / "run" / "lookup.json").stat().st_uid == UID
    assert run("pick", "run", "--budget", "1h").strip()

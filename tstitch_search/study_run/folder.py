"""The run folder: where everything about one study lies, and the proof that it belongs to this study.

`ledger.jsonl` is the truth and `features/` what it points to; the rest can be made again from them.
"""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast
from uuid import uuid4

from tstitch_search.config import Study, study_as_yaml
from tstitch_search.errors import ConfigError
from tstitch_search.files import make_folder, write_whole
from tstitch_search.ledger import LEDGER_VERSION, Event, Ledger

PACKAGES = (
    "tstitch-search",
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "optuna",
    "torch-fidelity",
    "ray",
    "numpy",
)

Key = Mapping[str, str]

# These may change in a run folder: they say which allocations exist, not what an allocation is.
EXTENDS = (
    "space.orders",
    "space.grid_steps",
    "space.fewer_counts",
    "space.max_switches",
    "space.fewer_steps",
    "space.baselines",
    "space.published_boundary",
)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run folder, with its ledger open for writing."""

    path: Path
    ledger: Ledger

    @classmethod
    def open(cls, path: Path, study: Study, key: Key) -> "RunFolder":
        """Create the folder or go on in it.

        Raises ConfigError when it belongs to a study with another key, EnvironmentProblem when it cannot be written or
        another process is using it.
        """
        make_folder(path)
        ledger = Ledger(path / "ledger.jsonl")
        with ExitStack() as on_error:
            on_error.enter_context(ledger)
            _claim(path, ledger, study, key)
            on_error.pop_all()
        return cls(path, ledger)

    @property
    def features(self) -> Path:
        """Feature files, one per (allocation, chunk)."""
        return self.path / "features"

    @property
    def database(self) -> Path:
        """The Optuna studies, SQLite, unless the study names another storage."""
        return self.path / "study.db"

    def record_name(self, study: str, n_level: int) -> str:
        """What the Optuna study is called: by the level of its values, and by its space where that has changed."""
        first, now = (opened["key"] for opened in (self.ledger.of("opened")[0], self.ledger.of("opened")[-1]))
        changed = [n for n in EXTENDS if first.get(n) != now.get(n)]
        named = [f", {n.removeprefix('space.')} {now.get(n, 'as by default')}" for n in changed]
        return f"{study} at n = {n_level}{''.join(named)}"

    @property
    def identity(self) -> str:
        """What tells this folder from any other, wherever it is moved."""
        return str(self.ledger.of("opened")[0].get("id", ""))

    @property
    def lookup(self) -> Path:
        """The lookup table."""
        return self.path / "lookup.json"

    @property
    def reference(self) -> Path:
        """Statistics and some features of the real images, so that metrics can be computed from this folder alone."""
        return self.path / "reference.npz"

    @property
    def images(self) -> Path:
        """Strips of sample images, one per entry."""
        return self.path / "images"


def _claim(path: Path, ledger: Ledger, study: Study, key: Key) -> None:
    """Write what the folder is about, unless it is about something else."""
    bound_to = key_of_measurements(ledger.events)
    if bound_to is not None:
        require_same_key(path, bound_to, key)
    opened = ledger.last("opened")
    if opened is None or opened["key"] != key:
        identity = opened.get("id", "") if opened else uuid4().hex
        ledger.append("opened", ledger_version=LEDGER_VERSION, id=identity, study=study.config.name, key=dict(key))
    write_whole(path / "study.resolved.yaml", study_as_yaml(study, path).encode())
    write_whole(path / "environment.json", (json.dumps(environment(), indent=2) + "\n").encode())


def key_of_measurements(events: Iterable[Event]) -> Key | None:
    """The key that the measurements among a ledger's events belong to; None while there are none."""
    opened = None
    for event in events:
        if event["event"] == "opened":
            opened = event
        elif event["event"] not in ("loaded", "damaged") and opened:
            return cast(Key, opened["key"])
    return None


def environment() -> dict[str, object]:
    """The machine and the library versions that a run used."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "packages": {name: _version_of(name) for name in PACKAGES},
    }


def _version_of(package: str) -> str:
    """Its version; Ray is not needed where `workers.pool` is inline, and a checkout may not be installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def require_same_key(path: Path, recorded: Key, key: Key) -> None:
    """Nothing, when the folder's measurements can be compared to the study's. Raises ConfigError naming the facts."""
    names = (name for name in {**recorded, **key} if name not in EXTENDS)
    differing = [name for name in names if recorded.get(name) != key.get(name)]
    if differing:
        lines = [f"  {name}: {recorded.get(name, 'absent')} there, {key.get(name, 'absent')} now" for name in differing]
        raise ConfigError(
            f"{path} holds the measurements of another study; these facts differ:\n" + "\n".join(lines),
            hint="give this study another name or --output; budgets, numbers of images, and which allocations the "
            "space holds, may change, these may not",
        )

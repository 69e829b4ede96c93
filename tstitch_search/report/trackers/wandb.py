"""Weights & Biases: a run of the project `tstitch-search`; with WANDB_MODE=offline it is written to the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from tstitch_search.report.trackers.curves import Curves, facts

PROJECT = "tstitch-search"


class WandB:
    """A run called `study`, in `folder`/wandb. A run that goes on is another one."""

    def __init__(self, folder: Path, study: str):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._curves = folder, Curves()
        settings = wandb.Settings(silent=True)  # stdout is for results
        self._run = wandb.init(project=PROJECT, name=study, dir=str(folder), reinit="create_new", settings=settings)
        for axis in ("trial", "images", "published"):
            self._run.define_metric(axis, hidden=True)
        for name, axis in (("search/*", "trial"), ("device_seconds", "images"), ("front/*", "published")):
            self._run.define_metric(name, step_metric=axis)

    def event(self, event: Mapping[str, Any]) -> None:
        for point in self._curves.points(event):
            self._run.log({point.name: point.value, point.axis: point.step})

    def close(self) -> None:
        table = self._folder / "lookup.json"
        self._run.config.update(facts(self._folder))
        if table.exists():
            self._run.log_artifact(str(table), name="lookup", type="table")
        self._run.finish()

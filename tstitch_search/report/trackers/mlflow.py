"""MLflow: a run of the experiment `tstitch-search` at MLFLOW_TRACKING_URI; table and report are its artifacts."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.report.trackers.curves import Curves, facts

EXPERIMENT = "tstitch-search"
ARTIFACTS = ("study.resolved.yaml", "lookup.json", "report.html")


class MLflow:
    """A run called `study`; numbers are sent in the background, files at the end.

    Raises EnvironmentProblem when the server does not answer.
    """

    def __init__(self, folder: Path, study: str):
        self._folder, self._curves = folder, Curves()
        self._sent: list[Any] = []
        self._client = MlflowClient()
        try:
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            number = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
            run = self._client.create_run(number, run_name=study, tags={"study": study, "folder": str(folder)})
        except MlflowException as error:
            hint = "set MLFLOW_TRACKING_URI to a server that runs, or leave --tracker mlflow out"
            raise EnvironmentProblem(f"MLflow takes no run: {error.message.splitlines()[0]}", hint) from error
        self._run = run.info.run_id

    def event(self, event: Mapping[str, Any]) -> None:
        for point in self._curves.points(event):
            sent = self._client.log_metric(self._run, point.name, point.value, step=point.step, synchronous=False)
            self._sent.append(sent)

    def close(self) -> None:
        try:
            for sent in self._sent:
                sent.wait()
            for name, value in facts(self._folder).items():
                self._client.log_param(self._run, name, value)
            for name in ARTIFACTS:
                if (self._folder / name).exists():
                    self._client.log_artifact(self._run, str(self._folder / name))
            has_ended = (self._folder / "lookup.json").exists()
            self._client.set_terminated(self._run, "FINISHED" if has_ended else "KILLED")
        except MlflowException as error:
            print(f"MLflow did not take all of the run: {error.message.splitlines()[0]}", file=sys.stderr)

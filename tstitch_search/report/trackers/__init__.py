"""A run's numbers in experiment trackers, while it works: a module for each, and its row in `TRACKERS`.

Each is a `Reporter` (`progress.py`) made from the run folder and the study's name, and shows the same curves
(`curves.py`). One that cannot be had is refused before anything is measured; what a tracker does not take later ends no
run.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.progress import Reporter

# By name: the class in the module of that name, and the package that it needs.
TRACKERS = {
    "tensorboard": ("TensorBoard", "tensorboardX"),
    "mlflow": ("MLflow", "mlflow"),
    "wandb": ("WandB", "wandb"),
}


def tracker(name: str, folder: Path, study: str) -> Reporter:
    """The tracker of that name for a run. Raises EnvironmentProblem when its package is missing."""
    kind, package = TRACKERS[name]
    if find_spec(package) is None:
        raise EnvironmentProblem(
            f"{name} is written with {package}, which is not installed", hint=f"pip install 'tstitch-search[{name}]'"
        )
    make: Callable[[Path, str], Reporter] = getattr(import_module(f"{__name__}.{name}"), kind)
    return make(folder, study)

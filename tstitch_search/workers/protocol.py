"""The two contracts between the driver and whoever does the work."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from tstitch_search.measurement import Answer, Finished, Job, Loaded


class Measurer(Protocol):
    """Turns jobs into answers. One job at a time; the same job gives the same images wherever it is done."""

    device: str

    def load(self) -> dict[str, float]:
        """Load every member once and return the seconds each took. Raises TStitchError when one cannot be had."""
        ...

    def do(self, job: Job) -> Answer:
        """The answer to `job` (its type is in the job's docstring).

        Raises EnvironmentProblem when it can do no job any more, such as when its device has failed, and anything else
        when this job cannot be done.
        """
        ...


# Builds a measurer inside the worker's own process; must survive pickling.
MeasurerFactory: TypeAlias = Callable[[], Measurer]


class WorkerPool(Protocol):
    """Workers that hold the members for a whole run.

    Every submitted job comes back from `wait` exactly once, in any order, as an answer or as an error. A job that
    raises costs that job only; a worker that dies, or whose machine fails (EnvironmentProblem), costs a second try.
    """

    n_workers: int

    def start(self) -> list[Loaded]:
        """Start the workers and load the members; what each worker holds. Raises TStitchError when that fails."""
        ...

    def submit(self, job: Job) -> None:
        """Queue a job, after `start`."""
        ...

    @property
    def n_in_flight(self) -> int:
        """Jobs submitted and not yet returned by `wait`."""
        ...

    def withdraw(self) -> None:
        """Forget the jobs that no worker has begun."""
        ...

    def wait(self, timeout_s: float) -> list[Finished]:
        """Whatever is finished, after at most `timeout_s` seconds; empty when nothing is.

        Returns at once when no job is in flight. Raises EnvironmentProblem when no worker is left to do the jobs.
        """
        ...

    def reloads(self) -> list[Loaded]:
        """What replacement workers loaded since the last call (after a worker died)."""
        ...

    def close(self) -> None:
        """Stop the workers and free their devices; queued jobs are forgotten. Closing twice is harmless."""
        ...

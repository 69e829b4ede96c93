"""The pool without processes: one worker in the driver's own process, for debugging and for machines without Ray."""

from collections import deque

from tstitch_search.errors import EnvironmentProblem, TStitchError
from tstitch_search.measurement import Finished, Job, Loaded
from tstitch_search.workers.affinity import next_job
from tstitch_search.workers.protocol import MeasurerFactory
from tstitch_search.workers.worker import Worker

NAME = "inline-0"


class InlinePool:
    """A `WorkerPool` of one worker that does one queued job per `wait`, however long the job takes."""

    n_workers = 1

    def __init__(self, factory: MeasurerFactory):
        self._factory = factory
        self._worker = Worker()
        self._queue: deque[Job] = deque()
        self._last: Job | None = None

    def start(self) -> list[Loaded]:
        return [self._worker.load(NAME, self._factory)]

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    @property
    def n_in_flight(self) -> int:
        return len(self._queue)

    def withdraw(self) -> None:
        self._queue.clear()

    def wait(self, timeout_s: float) -> list[Finished]:
        """The next queued job, done now; `timeout_s` cannot interrupt it. Raises the EnvironmentProblem it meets."""
        if not self._queue:
            return []
        i = next_job(self._queue, self._last)
        job = self._last = self._queue[i]
        del self._queue[i]
        try:
            return [Finished(job, NAME, answer=self._worker.do(job))]
        except EnvironmentProblem:
            raise
        except TStitchError as error:
            return [Finished(job, NAME, error=str(error))]

    def reloads(self) -> list[Loaded]:
        """Nothing: this worker cannot die without the driver."""
        return []

    def close(self) -> None:
        self._queue.clear()
        self._worker = Worker()

"""The pool of worker processes: Ray actors that hold the members for a whole run.

Ray starts the processes, moves jobs and answers, and says when a worker has died. What follows from that is decided
here: who gets the next job, which job is tried again, which worker is replaced, when to give up.

Over 250 lines, because all these decisions are about the same few places and calls.
"""

import copy
import time
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Any

from tstitch_search.errors import EnvironmentProblem, TStitchError
from tstitch_search.measurement import Finished, Job, Loaded
from tstitch_search.workers.affinity import next_job
from tstitch_search.workers.protocol import MeasurerFactory
from tstitch_search.workers.ray_session import FEWER, check_room, connect, count_room, ray
from tstitch_search.workers.timing import TimingDevice, is_timing
from tstitch_search.workers.worker import Worker

MAX_ATTEMPTS = 3  # of one job, when its worker dies under it
MAX_REPLACEMENTS = 3  # of one worker, in a row without a job done
BACK_OFF_S = 0.5  # before the first replacement, doubled each time: a dead process's GPU is not free at once
GRACE_S = 120  # that a timing job waits for the replacement of the only worker that may do it


@dataclass(eq=False)
class _Task:
    """A job and how many workers have died doing it."""

    job: Job
    deaths: int = 0


@dataclass(eq=False)
class _Place:
    """A place in the pool: its worker, and the one call that worker has in flight.

    Empty (no `actor`) until `due`; loading the members (a `call`, no `task`) or doing a `task`, until `due` at the
    latest; or idle (no `call`). `last`: the job that it was given last. `due` and `lost_at` are on the `time.monotonic`
    clock. `device` is that of the worker, or of the last one here.
    """

    due: float = 0.0
    name: str = ""
    actor: Any = None
    call: Any = None
    task: _Task | None = None
    last: Job | None = None
    deaths: int = 0
    device: str = ""
    lost_at: float = 0.0

    @property
    def is_idle(self) -> bool:
        return self.actor is not None and self.call is None


class RayPool:
    """A `WorkerPool` of processes, each with its own members, CPU cores and share of a GPU.

    A worker that dies, or is stopped after `job_timeout_s` without an answer, is replaced under a new name, and its
    job is tried again first. `start` raises EnvironmentProblem when Ray or a worker does not come up; `wait` does
    when all workers and their replacements have died. Without a share of a GPU a worker sees none; OMP_NUM_THREADS
    is `cpus_per_worker` there, unless it is set already.

    `n_workers`: None for as many as fit. `is_elastic`: these are the most; those for which there is no room wait for a
    machine that joins, and `start` waits for the first only. `timing_device`: timing jobs go to workers whose device's
    name holds this text; without it, to the device that all workers have at the first one, and `submit` raises
    EnvironmentProblem when they differ, or when none may do it.
    """

    def __init__(
        self,
        factory: MeasurerFactory,
        n_workers: int | None,
        cpus_per_worker: int = 1,
        gpus_per_worker: float = 0,
        job_timeout_s: float = 1800,
        load_timeout_s: float = 7200,
        address: str | None = None,
        is_elastic: bool = False,
        timing_device: str | None = None,
    ):
        self.n_workers = n_workers or 0
        self._address, self._is_elastic, self._timing = address, is_elastic, TimingDevice(timing_device)
        self._factory = factory
        self._cpus, self._gpus = cpus_per_worker, gpus_per_worker
        self._job_timeout_s, self._load_timeout_s = job_timeout_s, load_timeout_s
        self._places: list[_Place] = []
        self._queue: deque[_Task] = deque()
        self._reloads: list[Loaded] = []
        self._n_named = 0
        self._last_loss = ""
        self._joined = False

    def start(self) -> list[Loaded]:
        try:
            self._joined = connect(self.n_workers * self._cpus, self._address)
            self.n_workers = self.n_workers or max(1, count_room(self._cpus, self._gpus))
            check_room(1 if self._is_elastic else self.n_workers, self._cpus, self._gpus)
            self._places = [_Place() for _ in range(self.n_workers)]
            for place in self._places:
                self._fill(place)
            loaded = [self._first_load(place) for place in self._first_places()]
        except BaseException:
            self.close()
            raise
        self._hand_out()
        return loaded

    def submit(self, job: Job) -> None:
        if is_timing(job):
            self._require_timing_device()
        self._queue.append(_Task(job))
        self._hand_out()

    @property
    def n_in_flight(self) -> int:
        return len(self._queue) + sum(place.task is not None for place in self._places)

    def withdraw(self) -> None:
        self._queue.clear()

    def wait(self, timeout_s: float) -> list[Finished]:
        until = time.monotonic() + timeout_s
        finished: list[Finished] = []
        while self.n_in_flight and not finished:
            finished = self._turn(until)
            if time.monotonic() >= until:
                break
        return finished

    def reloads(self) -> list[Loaded]:
        reloads, self._reloads = self._reloads, []
        return reloads

    def close(self) -> None:
        self._queue.clear()
        places, self._places = self._places, []
        for place in places:
            _kill(place)
        if self._joined:
            self._joined = False
            ray.shutdown()

    def _first_places(self) -> list[_Place]:
        """The places whose workers `start` waits for."""
        if not self._is_elastic:
            return self._places
        calls = [place.call for place in self._places]
        if not ray.wait(calls, num_returns=1, timeout=self._load_timeout_s)[0]:
            raise EnvironmentProblem(f"no worker came up within {self._load_timeout_s:g} s", hint=FEWER)
        ready = set(ray.wait(calls, num_returns=len(calls), timeout=0)[0])
        return [place for place in self._places if place.call in ready]

    def _first_load(self, place: _Place) -> Loaded:
        """What the place's worker holds; here, unlike later, every failure ends the run."""
        try:
            loaded: Loaded = _result(place.call, self._load_timeout_s)
        except ray.exceptions.RayError as failure:
            raise EnvironmentProblem(f"{place.name} did not come up: {_last_line(failure)}", hint=FEWER) from failure
        place.call, place.device = None, loaded.device
        return loaded

    def _turn(self, until: float) -> list[Finished]:
        """What finished when the next worker stirs, or nothing at `until`; keeps places filled and workers busy."""
        if not self._places:
            raise EnvironmentProblem(f"no worker is left: {self._last_loss}", hint=FEWER)
        if self._queue and is_timing(self._queue[0].job):
            self._require_timing_device()
        for place in self._places:
            if place.actor is None and time.monotonic() >= place.due:
                self._fill(place)
        came_back = self._await_calls(until)
        finished = [done for place in list(self._places) if (done := self._attend(place, place.call in came_back))]
        self._hand_out()
        return finished

    def _fill(self, place: _Place) -> None:
        """Put a new worker into the place; it starts loading the members."""
        place.name = f"worker-{self._n_named}"
        self._n_named += 1
        actors = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0, max_task_retries=0)(Worker)
        place.actor = actors.remote()
        place.call = place.actor.load.remote(place.name, self._factory)
        place.due = inf if self._is_elastic else time.monotonic() + self._load_timeout_s

    def _hand_out(self) -> None:
        """Give the queued jobs to idle workers: in order, but each worker goes on from what it did last."""
        for place in [place for place in self._places if place.is_idle]:
            if not self._queue or (is_timing(self._queue[0].job) and not self._timing.is_on(place.device)):
                continue
            first = self._queue[0]
            in_order = first.deaths > 0 or is_timing(first.job)
            i = 0 if in_order else next_job((task.job for task in self._queue), place.last)
            place.task, place.last = self._queue[i], self._queue[i].job
            del self._queue[i]
            place.call = place.actor.do.remote(place.task.job)
            place.due = time.monotonic() + self._job_timeout_s

    def _require_timing_device(self) -> None:
        """Settle which device times. Raises EnvironmentProblem when none can, or none has for a while."""
        devices = [place.device for place in self._places if place.device]
        self._timing.settle(devices)
        since = time.monotonic() - GRACE_S
        at_hand = [place for place in self._places if place.is_idle or place.task or place.lost_at > since]
        if not any(self._timing.is_on(place.device) for place in at_hand):
            raise self._timing.absent(devices)

    def _await_calls(self, until: float) -> set[Any]:
        """The calls that came back: returns as soon as there is one, a place is due, or it is `until`."""
        due = min([until, *(place.due for place in self._places if place.actor is None or place.call is not None)])
        patience_s = max(0.0, due - time.monotonic())
        calls = [place.call for place in self._places if place.call is not None]
        if not calls:
            time.sleep(patience_s)
            return set()
        ray.wait(calls, num_returns=1, timeout=patience_s)
        return set(ray.wait(calls, num_returns=len(calls), timeout=0)[0])

    def _attend(self, place: _Place, came_back: bool) -> Finished | None:
        """What the place's worker finished, if anything; a worker that died, is overdue or cannot load is lost."""
        task = place.task
        if not came_back:
            overdue = place.call is not None and time.monotonic() >= place.due
            return self._lose(place, "stopped, since no answer came in time") if overdue else None
        try:
            answer, error = _result(place.call), None
        except ray.exceptions.RayError as failure:
            return self._lose(place, _last_line(failure))
        except EnvironmentProblem as failure:  # while loading, or its device has failed: it will do no better next time
            return self._lose(place, str(failure))
        except TStitchError as failure:
            answer, error = None, str(failure)
        if task is None and error is not None:
            return self._lose(place, error)
        place.call = place.task = None
        if task is None:
            self._reloads.append(answer)
            place.device = answer.device
            return None
        place.deaths = 0
        return Finished(task.job, place.name, answer, error)

    def _lose(self, place: _Place, why: str) -> Finished | None:
        """Empty the place for a while and queue its job again, or end a job that has lost too many workers."""
        _kill(place)
        task, place.actor, place.call, place.task = place.task, None, None, None
        self._last_loss = f"{place.name} was lost: {why}"
        place.deaths += 1
        place.lost_at = time.monotonic()
        place.due = place.lost_at + BACK_OFF_S * 2 ** (place.deaths - 1)
        if place.deaths > MAX_REPLACEMENTS:
            self._places.remove(place)
        if task is None:
            return None
        task.deaths += 1
        if task.deaths == MAX_ATTEMPTS:
            return Finished(task.job, place.name, error=f"its worker died {task.deaths} times; {self._last_loss}")
        self._queue.appendleft(task)
        return None


def _result(call: Any, timeout_s: float | None = None) -> Any:
    """What the call brought, as our own copy. Raises TStitchError as the worker did, RayError when it has died."""
    try:
        return copy.deepcopy(ray.get(call, timeout=timeout_s))  # Ray's is read-only and fills its store
    except ray.exceptions.RayTaskError as failure:
        cause = failure.cause
        raise cause if isinstance(cause, TStitchError) else EnvironmentProblem(_last_line(cause)) from None


def _last_line(failure: Exception) -> str:
    return f"{type(failure).__name__}: {str(failure).splitlines()[-1]}"


def _kill(place: _Place) -> None:
    if place.actor is not None and ray.is_initialized():  # without Ray, ray.kill would start it
        ray.kill(place.actor)

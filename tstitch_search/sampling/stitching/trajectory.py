"""Where a call of a pipeline stands among its sampling steps.

A trajectory belongs to one call of one pipeline, not to the pipeline: threads and copies do not see each other's. The
pipeline's own scheduler says where it is. Its class is extended, so that a deep copy is watched as well:
`set_timesteps` opens a trajectory in a context variable, `step` of the same scheduler moves it on, the stitched
denoiser reads it. A scheduler that a pipeline copies and steps beside its own (LTX-2 does for the audio) moves nothing.
"""

import functools
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.sampling.stitching.extended_class import extended
from tstitch_search.sampling.stitching.instances import Instance


class Follower(Protocol):
    """Who hears of a trajectory: the stitched denoiser.

    `defaults`: what its pipeline is called with unless told; `fixed`: by member, what it must be called with. `in_use`
    is taken by the one call of an offloaded pipeline.
    """

    defaults: dict[str, Any]
    fixed: dict[str, dict[str, Any]]
    in_use: "Once"

    @property
    def is_in_groups(self) -> bool:
        """Whether diffusers moves the blocks of a member."""
        ...

    def allocation_for(self, n_steps: int, own: Allocation | None, profile: str) -> Allocation:
        """How the `n_steps` of a trajectory that begins are divided: as `own` says, where the scheduler has its own.

        `profile`: the one that the scheduler is of.
        """
        ...

    def report(self, n_done: int, is_last: bool) -> None:
        """So many steps are done; `is_last`: the scheduler has no further timestep."""
        ...

    def reserve(self, allocation: Allocation) -> AbstractContextManager[Mapping[str, Instance]]:
        """By member, what one trajectory must have for itself meanwhile."""
        ...


@dataclass
class Trajectory:
    """One call of a pipeline. `step_of_entry`: the sampling step of each of the scheduler's timesteps.

    `turn` is the member that answered last, `path` who answered so far, call by call; `answers` what was answered at
    the present timestep, where the denoiser keeps it. `reserved`: who answers for a member in this call only.
    """

    scheduler: Any
    follower: Follower
    names: tuple[str, ...]
    step_of_entry: list[int]
    reserved: Mapping[str, Instance] = field(default_factory=dict, repr=False)
    turn: str | None = None
    path: tuple[str, ...] = ()
    answers: list[Any] = field(default_factory=list, repr=False)
    _entry: int | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Whose turn it is."""
        return self.names[self.step_of_entry[self._current_entry()]]

    @property
    def entry(self) -> int:
        """The place of the present timestep among the scheduler's."""
        return self._current_entry()

    @property
    def n_entries(self) -> int:
        """How many timesteps the scheduler has."""
        return len(self.step_of_entry)

    @property
    def timestep(self) -> Any:
        """The present timestep, as the scheduler has it."""
        return self.scheduler.timesteps[self._current_entry()]

    def arrive(self, timestep: Any) -> None:
        """Note the place of `timestep` where it is a view of the scheduler's own: by its address, not by its value."""
        own = self.scheduler.timesteps
        if not (isinstance(timestep, torch.Tensor) and isinstance(own, torch.Tensor)):
            return
        if timestep.untyped_storage().data_ptr() == own.untyped_storage().data_ptr():
            self._entry = int(timestep.storage_offset() - own.storage_offset()) // own.stride(0)

    def advance(self) -> None:
        """The scheduler has done the present timestep."""
        self.answers.clear()
        entry, n_entries = self._current_entry(), len(self.step_of_entry)
        done, self._entry = self.step_of_entry[entry], entry + 1
        is_last = self._entry == n_entries
        if is_last or self.step_of_entry[self._entry] > done:
            self.follower.report(done + 1, is_last)
        if is_last:
            NOW.set(None)

    def _current_entry(self) -> int:
        """The place among the scheduler's timesteps; a new trajectory's is where the pipeline told it to begin."""
        if self._entry is None:
            self._entry = getattr(self.scheduler, "begin_index", None) or 0
        if self._entry >= len(self.step_of_entry):
            raise nothing_under_way()
        return self._entry


NOW: ContextVar[Trajectory | None] = ContextVar("trajectory", default=None)
# What the pipeline's call that is under way has for itself.
RESERVED: ContextVar[Mapping[str, Instance]] = ContextVar("reserved", default={})  # noqa: B039 (nobody changes it)


def nothing_under_way() -> ConfigError:
    """The error of a denoiser that is asked outside a trajectory of its own."""
    return ConfigError(
        "no trajectory is under way: expected a pipeline's own loop, with the scheduler that it was stitched with",
        hint="after a change of scheduler, or a deep copy of the pipeline, stitch it again: stitch(pipeline, entry)",
    )


class Once:
    """Held by one at a time. A copy is free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Once"], tuple[()]]:
        return Once, ()

    def take(self) -> bool:
        """Whether nobody held it until now."""
        return self._lock.acquire(blocking=False)

    def give_back(self) -> None:
        """Let others have it."""
        self._lock.release()


@dataclass
class Watch:
    """What a watched scheduler knows: who follows it, and its own allocation where it has one.

    A copy of the scheduler is followed by the same denoiser, and free where the original is in use. One of a sampling
    `profile` stands in the pipeline `instead_of` another.
    """

    follower: Follower
    allocation: Allocation | None = None
    profile: str = ""
    instead_of: Any = None
    in_use: Once = field(default_factory=Once)
    latest: Trajectory | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Watch":
        return Watch(memo.get(id(self.follower), self.follower), self.allocation, self.profile, self.instead_of)

    def begin(self, scheduler: Any) -> None:
        """Open a trajectory. PNDM and Heun have more timesteps than steps: the noise end gets the surplus."""
        n_entries = len(scheduler.timesteps)
        n_steps = scheduler.num_inference_steps or n_entries  # unknown to some when the timesteps are given
        allocation = self.follower.allocation_for(n_steps, self.allocation, self.profile)
        step_of_entry = [entry * n_steps // n_entries for entry in range(n_entries)]
        self.latest = Trajectory(scheduler, self.follower, allocation.by_step, step_of_entry, RESERVED.get())
        NOW.set(self.latest)
        self.follower.report(0, is_last=False)


def watch(scheduler: Any, by: Watch) -> None:
    """Have its follower follow this diffusers scheduler from now on, and its copies; who did before no longer does."""
    scheduler.__class__ = extended(type(scheduler), "watched", _watched)
    scheduler.watched_by = by


def watch_of(scheduler: Any) -> Watch | None:
    """What `watch` left with the scheduler."""
    found: Watch | None = vars(scheduler).get("watched_by")
    return found


def _watched(kind: Any) -> dict[str, Callable[..., Any]]:
    """The methods of a scheduler class by which it opens trajectories and moves them on."""

    @functools.wraps(kind.set_timesteps)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> None:
        kind.set_timesteps(self, *args, **kwargs)
        if watched_by := watch_of(self):  # one made of this class anew is not watched
            watched_by.begin(self)

    @functools.wraps(kind.step)
    def step(self: Any, model_output: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        if trajectory := _own(self):
            trajectory.arrive(timestep)
        result = kind.step(self, model_output, timestep, *args, **kwargs)
        if trajectory:
            trajectory.advance()
        return result

    methods: dict[str, Callable[..., Any]] = {"set_timesteps": set_timesteps, "step": step}
    if hasattr(kind, "scale_model_input"):
        methods["scale_model_input"] = _watched_scaling(kind)
    return methods


def _watched_scaling(kind: Any) -> Callable[..., Any]:
    """`scale_model_input`, by which most pipelines say before they ask which timestep is next."""

    @functools.wraps(kind.scale_model_input)
    def scale_model_input(self: Any, sample: Any, timestep: Any = None) -> Any:
        if trajectory := _own(self):
            trajectory.arrive(timestep)
        return kind.scale_model_input(self, sample, timestep)

    return scale_model_input


def _own(scheduler: Any) -> Trajectory | None:
    """The trajectory of this context, if this scheduler opened it. Raises ConfigError when another call took over."""
    trajectory = NOW.get()
    if trajectory is None or trajectory.scheduler is not scheduler:
        return None
    if trajectory is not scheduler.watched_by.latest:
        raise in_use()
    return trajectory


PER_REQUEST = "take one shallow copy per request, members are shared: stitch(copy.copy(pipeline), entry)"


def in_use(why: str = "its scheduler serves one call at a time", hint: str = PER_REQUEST) -> ConfigError:
    """The error of two calls at once that share what only one may have."""
    return ConfigError(
        f"this stitched pipeline is in use: {why}",
        hint=hint,
    )

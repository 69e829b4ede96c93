"""The stand-in that makes a stock diffusers pipeline stitch (T-Stitch, arXiv 2402.14167, figure 2).

A `StitchedDenoiser` sits in the pipeline's `transformer` or `unet` slot and lets the right member answer each sampling
step. Which step it is, it learns by watching the pipeline's own solver: no tensor is read back from the device, and
forward calls are not counted, because guidance may take one or two per step.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.measure.execution import Offload
from tstitch_search.measure.trajectory import Answerer

# How a family puts the pipeline's question to one member: (member, *the pipeline's arguments) -> the member's output.
Ask: TypeAlias = Callable[..., Any]


class StitchedDenoiser(nn.Module):
    """Members standing where a pipeline expects one denoiser.

    What the pipeline reads from its denoiser (`config`, `dtype`, `add_embedding`, ...) the largest member, the anchor,
    answers. `on_step(i)`, when set, is called once i sampling steps are done, i = 0 ... n_steps, without waiting for
    the device. `offload`, when set, brings in whoever's turn it is. `answerer`, when set, may answer a call in the
    member's place (`measure/trajectory.py`).
    """

    def __init__(self, members: Mapping[str, nn.Module], ask: Ask):
        """`members` by denoiser name. They are kept in a list: a ModuleDict refuses names such as `v1.5` or `half`."""
        super().__init__()
        self.names = tuple(members)
        self.members = nn.ModuleList(members.values())
        self._anchor = max(range(len(members)), key=lambda k: sum(p.numel() for p in self.members[k].parameters()))
        self.on_step: Callable[[int], None] | None = None
        self.offload: Offload | None = None
        self.answerer: Answerer | None = None
        self._path: tuple[str, ...] = ()
        self._ask = ask
        self._allocation: Allocation | None = None
        self._by_step: tuple[str, ...] = ()
        self._step_of_entry: list[int] = []
        self._entry = 0

    def __getattr__(self, name: str) -> Any:
        """What a module does not have itself, the anchor answers."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("members", "_anchor"):  # under construction: nobody to ask yet
                raise
            return getattr(self.members[self._anchor], name)

    def set_allocation(self, allocation: Allocation) -> None:
        """Who answers from the next trajectory on. Raises ConfigError when it names an unknown denoiser."""
        if unknown := [name for name in allocation.steps if name not in self.names]:
            raise ConfigError(f"{allocation}: unknown denoiser {unknown[0]!r}, expected one of {', '.join(self.names)}")
        self._allocation = allocation

    def can_replay(self, allocation: Allocation) -> bool:
        """Whether answers can stand in for calls: not where a member goes by its own earlier calls.

        A member says so by `is_stateful`, diffusers' own caches by `is_cache_enabled`.
        """
        members = [self.members[self.names.index(name)] for name in allocation.steps if name in self.names]
        return not any(getattr(m, "is_stateful", False) or getattr(m, "is_cache_enabled", False) for m in members)

    def forward(self, *inputs: Any, **named_inputs: Any) -> Any:
        """The answer of the current step's member to whatever the pipeline asks."""
        if self._entry >= len(self._step_of_entry):
            raise ConfigError("no trajectory is under way: expected set_allocation, then the pipeline's own loop")
        name = self._by_step[self._step_of_entry[self._entry]]
        self._path += (name,)

        def ask(name: str) -> Any:
            member = self.members[self.names.index(name)]
            if self.offload:
                self.offload.bring_in(member)
            return self._ask(member, *inputs, **named_inputs)

        return self.answerer(self._path, ask) if self.answerer else ask(name)

    def watch(self, scheduler: Any) -> None:
        """Follow this diffusers scheduler from now on: its timesteps start a trajectory, its steps move it on."""
        set_timesteps, step = scheduler.set_timesteps, scheduler.step

        @functools.wraps(set_timesteps)
        def watched_set_timesteps(*args: Any, **kwargs: Any) -> None:
            set_timesteps(*args, **kwargs)
            self._start(n_steps=scheduler.num_inference_steps, n_entries=len(scheduler.timesteps))

        @functools.wraps(step)
        def watched_step(*args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            self._advance()
            return result

        scheduler.set_timesteps, scheduler.step = watched_set_timesteps, watched_step

    def _start(self, n_steps: int, n_entries: int) -> None:
        """Begin a trajectory. PNDM and Heun have more timestep entries than steps: the noise end gets the surplus."""
        if self._allocation is None:
            raise ConfigError("the pipeline was started without an allocation: call set_allocation first")
        if self._allocation.n_steps != n_steps:
            raise ConfigError(
                f"{self._allocation} has {self._allocation.n_steps} steps, but the pipeline runs {n_steps} steps",
                hint="give the allocation and the pipeline the same n_steps",
            )
        self._by_step = self._allocation.by_step
        self._step_of_entry = [entry * n_steps // n_entries for entry in range(n_entries)]
        self._entry, self._path = 0, ()
        self._report(0)

    def _advance(self) -> None:
        done = self._step_of_entry[self._entry]
        self._entry += 1
        if self.offload and self._entry == len(self._step_of_entry):
            self.offload.leave()
        if self._entry == len(self._step_of_entry) or self._step_of_entry[self._entry] > done:
            self._report(done + 1)

    def _report(self, n_done: int) -> None:
        if self.on_step is not None:
            self.on_step(n_done)

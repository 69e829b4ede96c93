"""The stand-in that makes a stock diffusers pipeline stitch (T-Stitch, arXiv 2402.14167, figure 2).

A `StitchedDenoiser` sits in the pipeline's `transformer` or `unet` slot and lets the right member answer each sampling
step. Which step it is, it learns by watching the pipeline's own solver: no tensor is read back from the device, and
forward calls are not counted, because guidance may take one or two per step.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.members.execution import Offload
from tstitch_search.sampling.calls import Forward, ForwardAdapter, call, fitted
from tstitch_search.sampling.prefixes import Answerer


class StitchedDenoiser(nn.Module):
    """Members standing where a pipeline expects one denoiser.

    What the pipeline reads from its denoiser (`config`, `dtype`, `add_embedding`, ...) the largest member, the anchor,
    answers. An allocation speaks of the whole trajectory: a pipeline that enters it later (image to image with a
    strength below 1) or leaves it earlier (`denoising_end`) runs that part of it. `on_step(i)`, when set, is called
    once i sampling steps are done, i = 0 ... n_steps, without waiting for the device. `offload`, when set, brings in
    whoever's turn it is. `at_turn[name]()`, where there is one, comes before a member's first answer of a segment.
    `answerer`, when set, may answer a call in the member's place (`sampling/prefixes.py`).
    """

    def __init__(self, members: Mapping[str, nn.Module], forward: Forward = call):
        """`members` by denoiser name. They are kept in a list: a ModuleDict refuses names such as `v1.5` or `half`."""
        super().__init__()
        self.names = tuple(members)
        self.members = nn.ModuleList(members.values())
        self._anchor = max(range(len(members)), key=lambda k: sum(p.numel() for p in self.members[k].parameters()))
        self._forwards = [fitted(forward, member, self.members[self._anchor]) for member in self.members]
        self.on_step: Callable[[int], None] | None = None
        self.offload: Offload | None = None
        self.at_turn: dict[str, Callable[[], None]] = {}
        self._turn: int | None = None
        self.answerer: Answerer | None = None
        self._path: tuple[str, ...] = ()
        self._allocation: Allocation | None = None
        self._scheduler: Any = None
        self._member_of_step: list[int] = []
        self._step_of_entry: list[int] = []
        self._entry: int | None = None

    def __getattr__(self, name: str) -> Any:
        """What a module does not have itself, the anchor answers; but what it hides, as hooks of its own, it keeps."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "members" or name.startswith("_"):  # `members`: under construction, nobody to ask yet
                raise
            return getattr(self.members[self._anchor], name)

    @property
    def device(self) -> torch.device:
        """Where the members answer, which under offload is not where their weights wait."""
        return self.offload.device if self.offload else next(self.members[self._anchor].parameters()).device

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile every member. Compiled as a whole, each sampling step would be compiled anew."""
        for member in self.members:
            member.compile(*args, **kwargs)

    def load_lora_adapter(self, *_args: Any, **_kwargs: Any) -> None:
        """Refuses, with ConfigError: pipelines would load it into one member, and could not take it out again."""
        raise ConfigError(
            "a LoRA changes one member, got the stitched pipeline",
            hint="load it into its member: members['XL'].load_lora_adapter(weights, prefix='unet')",
        )

    def set_allocation(self, allocation: Allocation) -> None:
        """Who answers from the next trajectory on. Raises ConfigError when it names an unknown denoiser."""
        if unknown := [name for name in allocation.steps if name not in self.names]:
            raise ConfigError(f"{allocation}: unknown denoiser {unknown[0]!r}, expected one of {', '.join(self.names)}")
        self._allocation = allocation

    def adapt(self, name: str, adapter: ForwardAdapter) -> None:
        """Put the pipeline's questions to the member `name`, and bring its answers back, through `adapter`."""
        k = self.names.index(name)
        self._forwards[k] = adapter(self._forwards[k])

    def can_replay(self, allocation: Allocation) -> bool:
        """Whether answers can stand in for calls: not where a member goes by its own earlier calls.

        A member says so by `is_stateful`, diffusers' own caches by `is_cache_enabled`.
        """
        members = [self.members[self.names.index(name)] for name in allocation.steps if name in self.names]
        return not any(getattr(m, "is_stateful", False) or getattr(m, "is_cache_enabled", False) for m in members)

    def forward(self, *inputs: Any, **named_inputs: Any) -> Any:
        """The answer of the current step's member to whatever the pipeline asks."""
        k = self._member_of_step[self._step_of_entry[self._current_entry()]]
        if self.answerer is None:
            return self._put(k, inputs, named_inputs)
        self._path += (self.names[k],)
        return self.answerer(self._path, lambda name: self._put(self.names.index(name), inputs, named_inputs))

    def _put(self, k: int, inputs: tuple[Any, ...], named_inputs: Mapping[str, Any]) -> Any:
        """What member k answers."""
        if self.offload:
            self.offload.bring_in(self.members[k])
        if k != self._turn and self.names[k] in self.at_turn:
            self.at_turn[self.names[k]]()
        self._turn = k
        return self._forwards[k](self.members[k], *inputs, **named_inputs)

    def watch(self, scheduler: Any) -> None:
        """Follow this diffusers scheduler from now on: its timesteps start a trajectory, its steps move it on.

        Whoever watched it before does so no longer.
        """
        for name in ("set_timesteps", "scale_model_input", "step"):
            vars(scheduler).pop(name, None)
        set_timesteps, step = scheduler.set_timesteps, scheduler.step

        @functools.wraps(set_timesteps)
        def watched_set_timesteps(*args: Any, **kwargs: Any) -> None:
            set_timesteps(*args, **kwargs)
            self._start(n_steps=scheduler.num_inference_steps, n_entries=len(scheduler.timesteps))

        @functools.wraps(step)
        def watched_step(model_output: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
            self._arrive(timestep)
            result = step(model_output, timestep, *args, **kwargs)
            self._advance()
            return result

        self._scheduler = scheduler
        scheduler.set_timesteps, scheduler.step = watched_set_timesteps, watched_step
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input = self._watched_scaling(scheduler.scale_model_input)

    def _watched_scaling(self, scale: Callable[..., Any]) -> Callable[..., Any]:
        """`scale_model_input`, by which most pipelines say before they ask which timestep is next."""

        @functools.wraps(scale)
        def watched_scale(sample: Any, timestep: Any = None) -> Any:
            self._arrive(timestep)
            return scale(sample, timestep)

        return watched_scale

    def _start(self, n_steps: int | None, n_entries: int) -> None:
        """Begin a trajectory. PNDM and Heun have more timestep entries than steps: the noise end gets the surplus."""
        n_steps = n_steps or n_entries  # unknown to some solvers when the timesteps are given
        if self._allocation is None:
            raise ConfigError("the pipeline was started without an allocation: call set_allocation first")
        if self._allocation.n_steps != n_steps:
            raise ConfigError(
                f"{self._allocation} has {self._allocation.n_steps} steps, but the pipeline runs {n_steps} steps",
                hint="give the allocation and the pipeline the same n_steps",
            )
        self._member_of_step = [self.names.index(name) for name in self._allocation.by_step]
        self._step_of_entry = [entry * n_steps // n_entries for entry in range(n_entries)]
        self._entry, self._turn, self._path = None, None, ()
        self._report(0)

    def _current_entry(self) -> int:
        """The place among the solver's timesteps; that of a new trajectory is where the pipeline told its solver."""
        if self._entry is None and self._step_of_entry:
            self._entry = getattr(self._scheduler, "begin_index", None) or 0
        if self._entry is None or self._entry >= len(self._step_of_entry):
            raise ConfigError("no trajectory is under way: expected set_allocation, then the pipeline's own loop")
        return self._entry

    def _arrive(self, timestep: Any) -> None:
        """Note the place of `timestep` where it is a view of the solver's own: by its address, not by its value."""
        own = self._scheduler.timesteps
        if not (isinstance(timestep, torch.Tensor) and isinstance(own, torch.Tensor)):
            return
        if timestep.untyped_storage().data_ptr() == own.untyped_storage().data_ptr():
            self._entry = int(timestep.storage_offset() - own.storage_offset()) // own.stride(0)

    def _advance(self) -> None:
        done = self._step_of_entry[self._current_entry()]
        self._entry = following = self._current_entry() + 1
        if self.offload and following == len(self._step_of_entry):
            self.offload.leave()
        if following == len(self._step_of_entry) or self._step_of_entry[following] > done:
            self._report(done + 1)

    def _report(self, n_done: int) -> None:
        if self.on_step is not None:
            self.on_step(n_done)

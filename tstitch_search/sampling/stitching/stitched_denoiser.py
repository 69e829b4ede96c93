"""The stand-in that makes a stock diffusers pipeline stitch (T-Stitch, arXiv 2402.14167, figure 2).

A `StitchedDenoiser` sits in the pipeline's `transformer` or `unet` slot and lets the right member answer each sampling
step. Which step it is, the pipeline's own scheduler tells (`trajectory.py`): no tensor is read back from the device,
and forward calls are not counted, because guidance may take one or two per step.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.hooks import apply_group_offloading
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.config.models.profile import ProfileConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.changes.caches import CALL
from tstitch_search.members.execution import GroupOffload, Offload, groups_of
from tstitch_search.sampling.stitching.calls import Forward, ForwardAdapter, call, fitted
from tstitch_search.sampling.stitching.instances import Instance, Instances, nothing
from tstitch_search.sampling.stitching.prefixes import Answerer
from tstitch_search.sampling.stitching.trajectory import NOW, Once, Trajectory, Watch, nothing_under_way, watch


class StitchedDenoiser(nn.Module):
    """Members standing where a pipeline expects one denoiser.

    What the pipeline reads from its denoiser (`config`, `dtype`, `add_embedding`, ...) the largest member, the anchor,
    answers. An allocation speaks of the whole trajectory: a pipeline that enters it later (image to image with a
    strength below 1) or leaves it earlier (`denoising_end`) runs that part of it. `on_step(i)`, when set, is called
    once i sampling steps are done, i = 0 ... n_steps, without waiting for the device. `offload`, when set, brings in
    whoever's turn it is. `at_turn[name]()`, where there is one, comes before a member's first answer of a segment.
    `answerer`, when set, may answer a call in the member's place (`prefixes.py`). Several pipelines may ask it
    at once, each in a trajectory of its own; `more[name]()` is another module for a member that remembers its calls.
    `defaults`: arguments of a stitched pipeline for calls that do not give them; `fixed`: by member those that
    no call of an entry with it may change. `asked_in`: the pipeline's number format, where members have their own.
    `keeps_answers`: members see what was answered at the same timestep before. `profiles`: the sampling profiles that
    a deployed pipeline may be asked for.
    """

    def __init__(self, members: Mapping[str, nn.Module], forward: Forward = call):
        """`members` by denoiser name. They are kept in a list: a ModuleDict refuses names such as `v1.5` or `half`."""
        super().__init__()
        self.names = tuple(members)
        self.members = nn.ModuleList(members.values())
        self._anchor = max(range(len(members)), key=lambda k: sum(p.numel() for p in self.members[k].parameters()))
        self._forwards = [fitted(forward, member, self.members[self._anchor]) for member in self.members]
        self.on_step: Callable[[int], None] | None = None
        self.offload: Offload | GroupOffload | None = None
        self.at_turn: dict[str, Callable[[], None]] = {}
        self.answerer: Answerer | None = None
        self.defaults: dict[str, Any] = {}
        self.fixed: dict[str, dict[str, Any]] = {}
        self.keeps_answers = False
        self.profiles: Mapping[str, ProfileConfig] = {}
        self.asked_in: torch.dtype | None = None
        self.in_use = Once()
        self._allocation: Allocation | None = None
        self.more: dict[str, Callable[[], Instance]] = {}
        self._instances: dict[str, Instances] = {}

    def __getattr__(self, name: str) -> Any:
        """What a module does not have itself, the anchor answers; but what it hides, as hooks of its own, it keeps."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "members" or name.startswith("_"):  # `members`: under construction, nobody to ask yet
                raise
            return getattr(self.members[self._anchor], name)

    @property
    def dtype(self) -> torch.dtype:
        """The number format that the members are asked in."""
        own: torch.dtype = self.asked_in or self.members[self._anchor].dtype  # type: ignore[assignment]
        return own

    @property
    def device(self) -> torch.device:
        """Where the members answer, which under offload is not where their weights wait."""
        return self.offload.device if self.offload else next(self.members[self._anchor].parameters()).device

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile every member. Compiled as a whole, each sampling step would be compiled anew."""
        for member in self.members:
            member.compile(*args, **kwargs)

    def enable_group_offload(self, *args: Any, **kwargs: Any) -> None:
        """Have diffusers move every member's blocks to the device and back, as its pipelines ask their parts to."""
        for member in self.members:
            apply_group_offloading(member, *args, **kwargs)

    @property
    def is_in_groups(self) -> bool:
        """Whether diffusers moves the blocks of a member."""
        return any(True for member in self.members for _ in groups_of(member))

    @contextmanager
    def cache_context(self, name: str, **_where: Any) -> Iterator[None]:
        """Which of a step's calls is being made: members with caches keep them apart, as in diffusers' pipelines."""
        token = CALL.set(name)
        try:
            yield
        finally:
            CALL.reset(token)

    def load_lora_adapter(self, *_args: Any, **_kwargs: Any) -> None:
        """Refuses, with ConfigError: pipelines would load it into one member, and could not take it out again."""
        raise ConfigError(
            "a LoRA changes one member, got the stitched pipeline",
            hint="load it into its member: members['XL'].load_lora_adapter(weights, prefix='unet')",
        )

    def set_allocation(self, allocation: Allocation) -> None:
        """Divide the steps of the next trajectories like this. Raises ConfigError when it names an unknown denoiser."""
        self._require_known(allocation)
        self._allocation = allocation

    def _require_known(self, allocation: Allocation) -> None:
        if unknown := [name for name in allocation.steps if name not in self.names]:
            raise ConfigError(f"{allocation}: unknown denoiser {unknown[0]!r}, expected one of {', '.join(self.names)}")

    def adapt(self, name: str, adapter: ForwardAdapter) -> None:
        """Put the pipeline's questions to the member `name`, and bring its answers back, through `adapter`."""
        k = self.names.index(name)
        self._forwards[k] = adapter(self._forwards[k])

    def can_replay(self, allocation: Allocation) -> bool:
        """Whether answers can stand in for calls: not where a member goes by its own earlier calls.

        A member says so by `is_stateful`, diffusers' own caches by `is_cache_enabled`.
        """
        return not any(_remembers(self.members[k]) for k, name in enumerate(self.names) if name in allocation.steps)

    @contextmanager
    def reserve(self, allocation: Allocation) -> Iterator[Mapping[str, Instance]]:
        """What one trajectory has for itself: members that remember their calls; under offload, every member.

        Raises ConfigError when another one has it and there is no more of it.
        """
        with ExitStack() as stack:
            yield {
                name: stack.enter_context(self._instances_of(name).one())
                for name in sorted(allocation.steps)
                if self.offload or _remembers(self.member(name))
            }

    def _instances_of(self, name: str) -> Instances:
        first = Instance(self.member(name), self.at_turn.get(name, nothing))
        return self._instances.setdefault(name, Instances(first, None if self.offload else self.more.get(name)))

    def member(self, name: str) -> nn.Module:
        """The module that answers for the member `name`."""
        return self.members[self.names.index(name)]

    def forward(self, *inputs: Any, **named_inputs: Any) -> Any:
        """The answer of the current step's member to whatever the pipeline asks."""
        trajectory = NOW.get()
        if trajectory is None or trajectory.follower is not self:
            raise nothing_under_way()
        output = self._answer(trajectory, lambda name: self._put(trajectory, name, inputs, named_inputs))
        if self.keeps_answers:
            trajectory.answers.append(output)
        return output

    def _answer(self, trajectory: Trajectory, put: Callable[[str], Any]) -> Any:
        if self.answerer is None:
            return put(trajectory.name)
        trajectory.path += (trajectory.name,)
        return self.answerer(trajectory.path, put)

    def _put(self, trajectory: Trajectory, name: str, inputs: tuple[Any, ...], named_inputs: Mapping[str, Any]) -> Any:
        """What the member `name` answers."""
        k = self.names.index(name)
        own = trajectory.reserved.get(name) or Instance(self.members[k], self.at_turn.get(name, nothing))
        if self.offload:
            self.offload.bring_in(own.module)
        if name != trajectory.turn:
            own.at_turn()
        trajectory.turn = name
        return self._forwards[k](own.module, *inputs, **named_inputs)

    def watch(
        self, scheduler: Any, allocation: Allocation | None = None, profile: str = "", instead_of: Any = None
    ) -> None:
        """Follow this diffusers scheduler, and copies of it, from now on: it opens trajectories and moves them on.

        What followed it before does so no longer. `allocation`: how the steps of its trajectories are divided, whatever
        `set_allocation` says. `profile`: the one it is of, and stands in the pipeline `instead_of` its own. Raises
        ConfigError when the allocation names an unknown denoiser.
        """
        if allocation is not None:
            self._require_known(allocation)
        watch(scheduler, Watch(self, allocation, profile, instead_of))

    def allocation_for(self, n_steps: int, own: Allocation | None, profile: str) -> Allocation:
        """How the `n_steps` of a trajectory that begins are divided. Raises ConfigError when they are not that many."""
        allocation = own or self._allocation
        if allocation is None:
            raise ConfigError("the pipeline was started without an allocation: call set_allocation first")
        if allocation.profile != profile:
            raise ConfigError(
                f"{allocation} has the profile {allocation.profile or 'of the pipeline'!r}, but the scheduler in the "
                f"pipeline is that of {profile or 'the pipeline'!r}",
                hint="stitch the pipeline with the entry: stitch(pipeline, entry)",
            )
        if allocation.n_steps != n_steps:
            raise ConfigError(
                f"{allocation} has {allocation.n_steps} steps, but the pipeline runs {n_steps} steps",
                hint=f"give the pipeline num_inference_steps={allocation.n_steps}",
            )
        return allocation

    def report(self, n_done: int, is_last: bool) -> None:
        """So many sampling steps of a trajectory are done."""
        if self.offload and is_last:
            self.offload.leave()
        if self.on_step is not None:
            self.on_step(n_done)


def _remembers(member: nn.Module) -> bool:
    """Whether its answers go by its own earlier calls."""
    return bool(getattr(member, "is_stateful", False) or getattr(member, "is_cache_enabled", False))

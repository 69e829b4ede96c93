"""A sampling profile: where the steps of a trajectory lie, for members that want a schedule of their own."""

from typing import Annotated

from pydantic import Field, field_validator

from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import Number, Steps, Text

# What a setting of a scheduler may be; a list for custom timesteps and the like.
Setting = str | bool | int | Number | None | list[int] | list[Number]


class ProfileConfig(Model):
    """The steps, solver and scheduler settings of some allocations, in place of the space's own."""

    n_steps_given: Steps | Annotated[tuple[Steps, ...], Field(min_length=1)] = Field(
        alias="n_steps", description="Sampling steps of the whole trajectory, at most the space's; a list to search it."
    )
    solver: Text | None = Field(
        None, description="diffusers scheduler class, for example EulerDiscreteScheduler; default: the space's."
    )
    scheduler: dict[str, Setting] = Field(
        default_factory=dict,
        description="Settings of that class which differ from the pipeline's, for example {timestep_spacing: trailing} "
        "or {shift: 3.0}.",
    )
    denoisers: tuple[Text, ...] | None = Field(
        None, description="The members that may take part; default: all.", min_length=1
    )

    @field_validator("n_steps_given")
    @classmethod
    def _step_counts_differ(cls, given: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(given, tuple) and len(set(given)) < len(given):
            raise ValueError(f"got {', '.join(map(str, given))}, expected each number of steps only once")
        return given

    @property
    def step_counts(self) -> tuple[int, ...]:
        """The numbers of steps that are searched, the largest first."""
        return descending(self.n_steps_given)

    def __str__(self) -> str:
        """What its images depend on, beside its members and their steps."""
        settings = ", ".join(f"{name}={value}" for name, value in sorted(self.scheduler.items()))
        return f"{self.solver or 'the own solver'}({settings})"


def descending(given: int | tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of steps, the largest first."""
    return tuple(sorted(given, reverse=True)) if isinstance(given, tuple) else (given,)

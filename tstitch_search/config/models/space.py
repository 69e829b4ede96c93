"""A search space: the denoisers of one family, and the allocations allowed.

A little over 250 lines: every key stands beside its check.
"""

from math import floor
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from tstitch_search.allocation import NAME, Allocation
from tstitch_search.config.family_traits import FamilyName, FamilyTraits, traits_of
from tstitch_search.config.models.base import Model
from tstitch_search.config.models.denoiser import NO_GUIDANCE, DenoiserConfig, completed, twins_of
from tstitch_search.config.models.profile import ProfileConfig, descending
from tstitch_search.config.quantities import FileName, Grid, Steps, Text, Whole
from tstitch_search.errors import ConfigError

RuleName: TypeAlias = Literal[
    "interleaving", "decreasing_probability", "large_to_small", "guidance_interval", "fewer_steps_each"
]

# Shares of the steps at which the largest denoiser alone is measured as a baseline, the most telling first.
FEWER_STEPS = (0.5, 0.75, 0.25)
# Arguments of a pipeline's call that count something, in all of diffusers.
COUNTS = {"height", "width", "num_frames", "max_sequence_length"}


class SpaceConfig(Model):
    """A search space: the denoisers of one model family and the allocations allowed.

    Only a study of recorded measurements (`measure.recorded`) does without pipeline and weights.
    """

    name: FileName = Field(description="What it is, for example fashion_dit_s_b_xl: letters, digits, _ . -")
    family: FamilyName | None = Field(
        None,
        description="dit or ldm: class-conditional models. Else leave it out: the pipeline says what it is; the other "
        "names stand for its class.",
    )
    pipeline: Text | None = Field(
        None,
        description="Where the shared parts are (VAE, scheduler): hub id (owner/name@commit pins it), folder or "
        "zoo:FAMILY.",
    )
    pipeline_revision: Text | None = Field(None, description="Commit, tag or branch of the pipeline's hub repository.")
    controlnet: Text | None = Field(
        None, description="Hub id or folder (relative to this file) of a ControlNet beside the pipeline."
    )
    call: dict[str, str | bool | int | float | None] = Field(
        default_factory=dict,
        description="Further arguments of the pipeline's call, for example {height: 1024, width: 1024}, given as they "
        "are. Not for dit and ldm.",
    )
    denoisers: tuple[DenoiserConfig, ...] = Field(
        description="Members in order from the noise end to the image end.", min_length=1
    )
    n_steps_given: Steps | Annotated[tuple[Steps, ...], Field(min_length=1)] = Field(
        alias="n_steps",
        description="Sampling steps of the whole trajectory; a list, for example [10, 14, 20], to search their number "
        "too: the most steps are then those of the grid and of the anchor.",
    )
    solver: Text | None = Field(
        None, description="diffusers scheduler class, for example DDIMScheduler; default: the pipeline's own."
    )
    grid: Grid = Field(
        1,
        description="Segment lengths are multiples of this: a number of steps (1, 5) or a share below 1 (0.1, 10%). "
        "Trajectories with fewer steps are cut at the same shares, rounded to whole steps.",
    )
    orders: Literal["small_first", "any"] | tuple[tuple[str, ...], ...] = Field(
        "small_first",
        description="small_first: as listed; any: every order of the denoisers, each taking one segment at most, or as "
        "max_switches says; or a list of orders.",
    )
    max_switches: Whole | None = Field(
        None,
        description="With orders: any, every sequence of denoisers that changes so often at most, so that one may come "
        "again (S-XL-S).",
        ge=1,
    )
    fewer_steps: tuple[Grid, ...] | None = Field(
        None,
        description="Baselines: the largest denoiser alone with so many steps, or shares of the steps such as 50%; [] "
        "for none. Default: 50%, 75% and 25%, or where n_steps is a list its numbers.",
    )
    baselines: tuple[RuleName, ...] = Field(
        (),
        description="Further baselines. interleaving, decreasing_probability, large_to_small: rules of the paper's "
        "table 7 that give half of the steps to the first denoiser and half to the largest; guidance_interval: the "
        "largest for the middle 40%, and `of` it one without guidance around; fewer_steps_each: fewer_steps of the "
        "denoisers that have the largest one's weights, too.",
    )
    published_boundary: Text | None = Field(
        None,
        description="Pipelines with two experts (Wan 2.2): how they divide the steps by themselves, as HIGH*7-LOW*13. "
        "A baseline; `check` says how many steps the pipeline's boundary_ratio gives each.",
    )
    profiles: dict[str, ProfileConfig] = Field(
        default_factory=dict,
        description="Sampling profiles by name: steps that lie elsewhere, for members that want so (few-step LoRAs). "
        "Their allocations are written XL-fast*4@lightning.",
    )
    n_classes: Whole = Field(1000, description="Number of class labels the denoisers know.", ge=1)

    convert: bool = Field(
        False,
        description="Convert between members whose prediction type or noise schedule differs; default: refuse them.",
    )

    guided_channels: Whole | None = Field(
        None,
        description="dit: guide only the first so many latent channels, 3 in DiT's released code; default: all.",
        ge=1,
    )
    learned_variance: bool = Field(
        False,
        description="dit: DDPMScheduler takes the variances that the denoisers learned; default: fixed ones.",
    )

    @field_validator("guided_channels", "learned_variance")
    @classmethod
    def _of_dit_only(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("family") not in (None, "dit"):
            raise ValueError(f"got {str(value).lower()} for the family {info.data['family']}, expected it for dit only")
        return value

    @field_validator("call")
    @classmethod
    def _calls_a_pipeline(cls, call: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if call and info.data.get("family") in ("dit", "ldm"):
            raise ValueError(
                f"got {', '.join(call)} for the family {info.data['family']}, which takes no more arguments"
            )
        for name in COUNTS & call.keys():
            if call[name] is not None and (type(call[name]) is not int or call[name] < 1):
                raise ValueError(f"got {name}: {call[name]!r}, expected a whole number of at least 1")
        return call

    @property
    def traits(self) -> FamilyTraits:
        """What is known of the space's pipeline without loading it."""
        return traits_of(self.family, controlnet=self.controlnet is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """Denoiser names from the noise end."""
        return tuple(d.name for d in self.denoisers)

    @field_validator("denoisers")
    @classmethod
    def _names_differ(cls, denoisers: tuple[DenoiserConfig, ...], info: ValidationInfo) -> tuple[DenoiserConfig, ...]:
        names = [d.name for d in denoisers]
        if len(set(names)) < len(names):
            raise ValueError(f"got the names {', '.join(names)}, expected each only once")
        pipeline = "@".join(filter(None, [info.data.get("pipeline"), info.data.get("pipeline_revision")]))
        return tuple(completed(d, {d.name: d for d in denoisers}).described_by(pipeline) for d in denoisers)

    @field_validator("n_steps_given")
    @classmethod
    def _step_counts_differ(cls, given: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(given, tuple) and len(set(given)) < len(given):
            raise ValueError(f"got {', '.join(map(str, given))}, expected each number of steps only once")
        return given

    @field_validator("grid")
    @classmethod
    def _grid_divides_the_steps(cls, grid: float, info: ValidationInfo) -> float:
        if "n_steps_given" not in info.data:  # wrong itself, and reported
            return grid
        n_steps = descending(info.data["n_steps_given"])[0]
        length = grid * n_steps if grid < 1 else grid
        if round(length) < 1 or abs(length - round(length)) > 1e-9 or n_steps % round(length):
            divisors = [str(g) for g in range(1, n_steps + 1) if n_steps % g == 0]
            raise ValueError(
                f"got {grid:g}: {n_steps} steps are not divisible by segments of {length:g} steps, "
                f"expected one of {', '.join(divisors)} steps"
            )
        return grid

    @field_validator("orders")
    @classmethod
    def _orders_name_denoisers(cls, orders: Any, info: ValidationInfo) -> Any:
        names = [d.name for d in info.data.get("denoisers", ())]
        for order in () if isinstance(orders, str) or not names else orders:
            if not order or (unknown := [name for name in order if name not in names]):
                given = f"unknown denoiser {unknown[0]!r:.60}" if order else "an empty order"
                raise ValueError(f"got {given}, expected orders of {', '.join(names)}")
        return orders

    @field_validator("max_switches")
    @classmethod
    def _switches_find_room(cls, max_switches: int | None, info: ValidationInfo) -> int | None:
        if max_switches is None or not {"orders", "grid", "n_steps_given"} <= info.data.keys():
            return max_switches
        if info.data["orders"] != "any":
            raise ValueError(f"got {max_switches} with orders of their own, expected it with orders: any")
        counts, grid = descending(info.data["n_steps_given"]), info.data["grid"]
        n_units = round(1 / grid if grid < 1 else counts[0] / grid)
        if max_switches >= (room := min(n_units, counts[-1])):
            raise ValueError(
                f"got {max_switches}, so {max_switches + 1} segments, but the shortest trajectory has room for {room}"
            )
        return max_switches

    @field_validator("fewer_steps")
    @classmethod
    def _fewer_are_fewer(cls, fewer_steps: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        n_steps = descending(info.data.get("n_steps_given", 1000))[0]
        for n in fewer_steps or ():
            if n >= 1 and (n != round(n) or n >= n_steps):
                raise ValueError(f"got {n:g}, expected shares below 1 or whole numbers of steps below {n_steps}")
        return fewer_steps

    @field_validator("baselines")
    @classmethod
    def _rules_find_their_denoisers(cls, rules: tuple[RuleName, ...], info: ValidationInfo) -> tuple[RuleName, ...]:
        if "guidance_interval" in rules and NO_GUIDANCE not in twins_of(info.data.get("denoisers", ())).values():
            raise ValueError("got guidance_interval, expected a denoiser `of` the largest with guidance_scale: 1")
        return rules

    @field_validator("profiles")
    @classmethod
    def _profiles_can_be_used(
        cls, profiles: dict[str, ProfileConfig], info: ValidationInfo
    ) -> dict[str, ProfileConfig]:
        if not {"denoisers", "n_steps_given"} <= info.data.keys():
            return profiles
        names, n_steps = [d.name for d in info.data["denoisers"]], descending(info.data["n_steps_given"])[0]
        for name, profile in profiles.items():
            _require_usable(name, profile, names, n_steps)
        return profiles

    @field_validator("published_boundary")
    @classmethod
    def _divides_the_steps_of_two(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None or not {"denoisers", "n_steps_given"} <= info.data.keys():
            return text
        try:
            found = Allocation.parse(text)
        except ConfigError as error:
            raise ValueError(error.message) from error
        names, n_steps = [d.name for d in info.data["denoisers"]], descending(info.data["n_steps_given"])[0]
        if len(found.segments) != 2 or found.n_steps != n_steps or not set(found.steps) <= set(names):
            raise ValueError(f"got {text:.60}, expected two of {', '.join(names)} that share {n_steps} steps")
        return text

    @property
    def twins(self) -> dict[str, str]:
        """The denoisers that have the weights of the largest, and what they have beside it."""
        return twins_of(self.denoisers)

    @property
    def n_steps(self) -> int:
        """Sampling steps of the longest trajectory, that of the anchor."""
        return self.step_counts[0]

    @property
    def step_counts(self) -> tuple[int, ...]:
        """The numbers of steps that are searched outside profiles, the largest first."""
        return descending(self.n_steps_given)

    @property
    def grid_steps(self) -> float:
        """The grid step as a number of sampling steps."""
        return self.grid * self.n_steps if self.grid < 1 else self.grid

    @property
    def fewer_whole_steps(self) -> tuple[int, ...]:
        """The numbers of steps, below `n_steps`, at which the largest denoiser alone is a baseline, each once."""
        searched = self.step_counts[1:]
        asked = self.fewer_steps if self.fewer_steps is not None else () if searched else FEWER_STEPS
        whole = (max(1, floor(n * self.n_steps + 0.5)) if n < 1 else round(n) for n in asked)
        return tuple(dict.fromkeys(n for n in (*searched, *whole) if n < self.n_steps))


def _require_usable(name: str, profile: ProfileConfig, denoisers: list[str], n_steps: int) -> None:
    """Nothing, when the profile can be written behind an allocation and some denoiser takes part. Raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"got the name {name!r:.60}, expected a letter, then letters, digits, _ . + and single -")
    if unknown := [member for member in profile.denoisers or () if member not in denoisers]:
        raise ValueError(f"{name}: got the denoiser {unknown[0]!r:.60}, expected some of {', '.join(denoisers)}")
    if profile.step_counts[0] > n_steps:
        raise ValueError(f"{name}: got {profile.step_counts[0]} steps, expected at most the space's {n_steps}")

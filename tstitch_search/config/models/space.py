"""A search space: the denoisers of one family, and the allocations allowed."""

from collections.abc import Mapping
from math import floor
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from tstitch_search.allocation import NAME
from tstitch_search.config.family_traits import FamilyName
from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import FileName, Grid, Number, Steps, Text, Whole

RuleName: TypeAlias = Literal["interleaving", "decreasing_probability", "large_to_small"]

# Shares of the steps at which the largest denoiser alone is measured as a baseline, the most telling first.
FEWER_STEPS = (0.5, 0.75, 0.25)


class LoraConfig(Model):
    """A LoRA on a denoiser: where it is, and how much of it."""

    weights: Text = Field(description="Hub id, folder or safetensors file (relative to this file).")
    file: Text | None = Field(None, description="The file in that folder or repository, where it holds several.")
    revision: Text | None = Field(None, description="Commit, tag or branch of the hub repository.")
    scale: Number = Field(1.0, description="Weight of what it adds.")
    adapter: str | None = Field(
        None, description="Its name on the denoiser; default: lora_0, lora_1, ...", pattern=r"^[A-Za-z][A-Za-z0-9_]*$"
    )


class DenoiserConfig(Model):
    """One member: a named denoiser and where its weights are."""

    name: str = Field(
        description="Short name in allocations, as S or XL-free: a letter, then letters, digits, _ . + and single -",
        pattern=f"^{NAME.pattern}$",
        max_length=100,
    )
    weights: Text | None = Field(
        None,
        description="Hub id, folder or file (relative to this file), zoo:FAMILY/MEMBER for an embedded one, or "
        "module:function of your own; only a study of recorded measurements does without.",
    )
    of: Text | None = Field(
        None,
        description="Another denoiser of this list, whose weights it shares; beside it only what differs is said.",
    )
    guidance_scale: Number | None = Field(
        None,
        description="Guidance of its own, whatever the study's; 1: none, and only the conditional half is computed.",
        ge=0,
    )
    format: Literal["diffusers", "dit", "uvit", "ldm"] = Field(
        "diffusers",
        description="diffusers: a folder or repository with config.json and safetensors; dit, uvit, ldm: one .pt, .pth "
        "or .ckpt file in the layout of facebookresearch/DiT, baofff/U-ViT or CompVis/latent-diffusion "
        "(class-conditional), converted when it is loaded.",
    )
    lora: tuple[LoraConfig, ...] = Field(
        (),
        description="LoRAs on it, loaded as the pipeline's own loader does; needs peft. Its weights stay shared with "
        "denoisers `of` it.",
    )
    accelerator: str | None = Field(
        None,
        description="Skip part of the work: deepcache3 (U-Nets: inner blocks every 3 steps), taylorseer3 (attention "
        "and feed-forward layers every 3 steps), tomesd0.5 (U-Nets with cross attention: half the tokens of the finest "
        "attention merged; needs the extra tomesd).",
        pattern=r"^(deepcache[1-9]\d*|taylorseer[1-9]\d*|tomesd0\.\d+)$",
    )
    subfolder: Text | None = Field(None, description="Folder inside the repository, for example `unet`.")
    revision: Text | None = Field(None, description="Commit, tag or branch of the hub repository.")

    @field_validator("lora")
    @classmethod
    def _adapters_differ(cls, lora: tuple[LoraConfig, ...]) -> tuple[LoraConfig, ...]:
        names = [each.adapter or f"lora_{i}" for i, each in enumerate(lora)]
        if len(set(names)) < len(names):
            raise ValueError(f"got the adapters {', '.join(names)}, expected each name only once")
        return lora

    @property
    def source(self) -> tuple[str | None, ...]:
        """Where its weights are from; members of one source share them."""
        return (self.weights, self.format, self.subfolder, self.revision)

    def completed_by(self, base: "DenoiserConfig") -> "DenoiserConfig":
        """The same with what it does not say taken from the denoiser it is `of`."""
        said = self.model_fields_set
        taken = {key: getattr(base, key) for key in type(self).model_fields if key not in said}
        return self.model_copy(update=taken)


class SpaceConfig(Model):
    """A search space: the denoisers of one model family and the allocations allowed.

    Only a study of recorded measurements (`measure.recorded`) does without family, pipeline and weights.
    """

    name: FileName = Field(description="What it is, for example fashion_dit_s_b_xl: letters, digits, _ . -")
    family: FamilyName | None = Field(None, description="Which adapter drives the pipeline.")
    pipeline: Text | None = Field(
        None,
        description="Where the shared parts are (VAE, scheduler): hub id (owner/name@commit pins it), folder or "
        "zoo:FAMILY.",
    )
    pipeline_revision: Text | None = Field(None, description="Commit, tag or branch of the pipeline's hub repository.")
    controlnet: Text | None = Field(
        None, description="sdxl_controlnet: hub id or folder (relative to this file) of the ControlNet."
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
        description="Further baselines, rules of the paper's table 7 that give half of the steps to the first denoiser "
        "and half to the largest.",
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

    @property
    def names(self) -> tuple[str, ...]:
        """Denoiser names from the noise end."""
        return tuple(d.name for d in self.denoisers)

    @field_validator("denoisers")
    @classmethod
    def _names_differ(cls, denoisers: tuple[DenoiserConfig, ...]) -> tuple[DenoiserConfig, ...]:
        names = [d.name for d in denoisers]
        if len(set(names)) < len(names):
            raise ValueError(f"got the names {', '.join(names)}, expected each only once")
        return tuple(_completed(denoiser, {d.name: d for d in denoisers}) for denoiser in denoisers)

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
        n_steps = _descending(info.data["n_steps_given"])[0]
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
        counts, grid = _descending(info.data["n_steps_given"]), info.data["grid"]
        n_units = round(1 / grid if grid < 1 else counts[0] / grid)
        if max_switches >= (room := min(n_units, counts[-1])):
            raise ValueError(
                f"got {max_switches}, so {max_switches + 1} segments, but the shortest trajectory has room for {room}"
            )
        return max_switches

    @field_validator("fewer_steps")
    @classmethod
    def _fewer_are_fewer(cls, fewer_steps: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        n_steps = _descending(info.data.get("n_steps_given", 1000))[0]
        for n in fewer_steps or ():
            if n >= 1 and (n != round(n) or n >= n_steps):
                raise ValueError(f"got {n:g}, expected shares below 1 or whole numbers of steps below {n_steps}")
        return fewer_steps

    @property
    def n_steps(self) -> int:
        """Sampling steps of the longest trajectory, that of the anchor."""
        return self.step_counts[0]

    @property
    def step_counts(self) -> tuple[int, ...]:
        """The numbers of steps that are searched, the largest first."""
        return _descending(self.n_steps_given)

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


def _completed(denoiser: DenoiserConfig, by_name: Mapping[str, DenoiserConfig]) -> DenoiserConfig:
    """The denoiser with all that it takes from those it is `of`. Raises ValueError for a circle or an unknown name."""
    chain = [denoiser]
    while chain[-1].of is not None:
        if chain[-1].of not in by_name:
            raise ValueError(f"{chain[-1].name} is of {chain[-1].of!r:.60}, expected one of {', '.join(by_name)}")
        chain.append(by_name[chain[-1].of])
        if chain[-1] in chain[:-1]:
            circle = " of ".join(d.name for d in chain)
            raise ValueError(f"got the circle {circle}, expected one of them to name its weights")
    completed = chain[-1]
    for each in reversed(chain[:-1]):
        full = each.completed_by(completed)
        if full.source != completed.source:
            raise ValueError(f"{each.name} is of {completed.name} and names other weights, expected one of the two")
        completed = full
    return completed


def _descending(given: int | tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of steps, the largest first."""
    return tuple(sorted(given, reverse=True)) if isinstance(given, tuple) else (given,)

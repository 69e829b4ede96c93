"""The shapes of `search_spaces/*.yaml` and `studies/*.yaml`: every field documented, unknown keys refused.

These documents are checked here once; inside the package there are only these frozen objects. Descriptions become the
JSON Schema that editors use (`tstitch-search schema study`).
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tstitch_search.allocation import NAME


def _percent(value: Any) -> Any:
    """`5%` -> 0.05; numbers pass."""
    if isinstance(value, str) and (m := re.fullmatch(r"\s*([0-9.]+)\s*%\s*", value)):
        return float(m[1]) / 100
    return value


def _seconds(value: Any) -> Any:
    """`90s`, `15m`, `2h`, `250ms` -> seconds; numbers pass."""
    if isinstance(value, str) and (m := re.fullmatch(r"\s*([0-9.]+)\s*(ms|s|m|h)\s*", value)):
        return float(m[1]) * {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}[m[2]]
    return value


Fraction = Annotated[float, BeforeValidator(_percent), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]


class Model(BaseModel):
    """Frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DenoiserConfig(Model):
    """One member: a named denoiser and where its weights are."""

    name: str = Field(description="Short name used in allocations, for example S or XL.", pattern=f"^{NAME.pattern}$")
    weights: str = Field(description="Hub id, folder (relative to this file), or zoo:FAMILY/MEMBER for an embedded one.")
    subfolder: str | None = Field(None, description="Folder inside the repository, for example `unet`.")
    revision: str | None = Field(None, description="Commit, tag or branch of the hub repository.")


class SpaceConfig(Model):
    """A search space: the denoisers of one model family and the allocations allowed."""

    name: str = Field(description="What it is, for example fashion_dit_s_b_xl.", pattern=r"^[A-Za-z0-9_.-]+$")
    family: Literal["dit"] = Field(description="Which adapter drives the pipeline.")
    pipeline: str = Field(description="Where the shared parts are (VAE, scheduler): hub id, folder, or zoo:FAMILY.")
    denoisers: tuple[DenoiserConfig, ...] = Field(description="Members in order from the noise end to the image end.", min_length=1)
    n_steps: int = Field(description="Sampling steps of the whole trajectory.", ge=1, le=1000)
    solver: str | None = Field(None, description="diffusers scheduler class, for example DDIMScheduler; default: the pipeline's own.")
    grid: Annotated[float, BeforeValidator(_percent)] = Field(
        1, description="Segment lengths are multiples of this: a number of steps (1, 5) or a fraction below 1 (0.1).", gt=0
    )
    orders: Literal["small_first", "any"] | tuple[tuple[str, ...], ...] = Field(
        "small_first", description="small_first: as listed; any: every order of the denoisers; or a list of orders."
    )
    n_classes: int = Field(1000, description="Number of class labels the denoisers know.", ge=1)

    @property
    def names(self) -> tuple[str, ...]:
        """Denoiser names from the noise end."""
        return tuple(d.name for d in self.denoisers)

    @model_validator(mode="after")
    def _names_are_known_and_unique(self) -> "SpaceConfig":
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"denoisers: names must differ, got {', '.join(self.names)}")
        for order in () if isinstance(self.orders, str) else self.orders:
            if unknown := [name for name in order if name not in self.names]:
                raise ValueError(f"orders: unknown denoiser {unknown[0]!r}, expected one of {', '.join(self.names)}")
            if not order:
                raise ValueError("orders: an order needs at least one denoiser")
        return self

    @model_validator(mode="after")
    def _grid_divides_the_steps(self) -> "SpaceConfig":
        if abs(self.n_steps / self.grid_steps - round(self.n_steps / self.grid_steps)) > 1e-9:
            raise ValueError(
                f"grid: {self.n_steps} steps are not divisible by segments of {self.grid_steps:g} steps (grid {self.grid:g}); "
                f"choose one of {', '.join(str(g) for g in range(1, self.n_steps + 1) if self.n_steps % g == 0)} steps"
            )
        if self.grid_steps < 1 or abs(self.grid_steps - round(self.grid_steps)) > 1e-9:
            raise ValueError(f"grid: {self.grid:g} of {self.n_steps} steps is {self.grid_steps:g} steps, expected a whole number")
        return self

    @property
    def grid_steps(self) -> float:
        """The grid step as a number of sampling steps."""
        return self.grid * self.n_steps if self.grid < 1 else self.grid


class FocusConfig(Model):
    """Restrict the study to the part of the front that matters."""

    latency_s: tuple[Seconds, Seconds] | None = Field(None, description="Only allocations whose predicted time lies between.")
    max_fid_loss: Fraction | None = Field(None, description="Only entries whose FID is at most this much above the largest denoiser's.")

    @field_validator("latency_s")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and value[0] > value[1]:
            raise ValueError(f"the lower end comes first, got {value[0]:g} to {value[1]:g} s")
        return value


class ProxySetConfig(Model):
    """The images used while searching."""

    labels: Literal["balanced", "random"] = Field("balanced", description="balanced: every class equally often in each chunk.")
    seed: int = Field(0, description="Image i of a set has its own seed, derived from this and i alone.", ge=0)
    chunk_size: int = Field(100, description="Images per unit of work.", ge=2)


class QualityConfig(Model):
    """How image quality is measured."""

    extractor: str = Field("inception-v3-compat", description="torch-fidelity feature extractor; fashion-cnn is the zoo's own.")
    extractor_weights: str | None = Field(None, description="File with the extractor's weights; default: its own place or download.")
    reference: str = Field(description=".npz with mu and sigma of the real images' features, or zoo:FAMILY.")
    n_images: int = Field(1000, description="Images per allocation while searching.", ge=20)


class SearchConfig(Model):
    """Which allocations are tried, and when to stop."""

    sampler: Literal["enumerate", "random", "tpe", "nsga2"] = Field("enumerate", description="Who proposes the next allocation.")
    n_trials: int | None = Field(None, description="At most this many allocations, baselines included; default: no limit.", ge=1)
    device_seconds: Seconds | None = Field(None, description="No new allocation once workers have spent this; for example 2h.")
    look_ahead: int = Field(4, description="How many allocations may be under way at once.", ge=1)


class ConfirmConfig(Model):
    """The front again, on images the search never saw."""

    n_images: int = Field(5000, description="Images per entry.", ge=20)
    max_entries: int = Field(12, description="At most this many entries, spread over time, single denoisers included.", ge=1)
    lossless_margin: Fraction = Field(0.02, description="An entry is lossless if its FID loss is shown to be below this share.")


class LatencyConfig(Model):
    """How time is measured: for one batch of stated size, from noise to decoded images."""

    batch_size: int = Field(8, description="Images per timed batch, as at deploy time.", ge=1)
    n_repeats: int = Field(5, description="Timed repeats, interleaved over denoisers; the median counts.", ge=3)
    threads: int | None = Field(None, description="CPU threads while timing on CPU; default: all cores.", ge=1)


class WorkersConfig(Model):
    """Who does the work."""

    pool: Literal["ray", "inline"] = Field("ray", description="ray: worker processes; inline: in this process, for debugging.")
    n_workers: int | None = Field(None, description="Default: one per GPU, or one per core on CPU.", ge=1)
    device: str = Field("auto", description="auto, cpu or cuda.", pattern=r"^(auto|cpu|cuda)$")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float32", description="Number format of weights and arithmetic.")
    device_batch_size: int = Field(64, description="Images sampled together inside a chunk; no effect on the images.", ge=1)


class StudyConfig(Model):
    """A study: one question about one search space."""

    name: str = Field(description="Names the run folder reports/NAME.", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    search_space: str = Field(description="Path of the search space file, relative to this file.")
    guidance_scale: float = Field(1.5, description="Classifier-free guidance weight; 1 switches it off.", ge=1)
    sampler_seed: int = Field(0, description="Seed of the allocation sampler.", ge=0)
    focus: FocusConfig = FocusConfig()
    proxy_set: ProxySetConfig = ProxySetConfig()
    quality: QualityConfig
    search: SearchConfig = SearchConfig()
    confirm: ConfirmConfig = ConfirmConfig()
    latency: LatencyConfig = LatencyConfig()
    workers: WorkersConfig = WorkersConfig()


class Study(Model):
    """A checked study with its search space and the folders its relative paths are read from."""

    config: StudyConfig
    space: SpaceConfig
    study_path: Path
    space_path: Path

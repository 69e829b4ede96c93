"""Which allocations are tried, in which part of the front, and confirmed."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import Images, Loss, Number, Seconds, Text, Whole

# A chunk's error is estimated from 20 blocks of it.
MIN_RACING_CHUNK = 20


class FocusConfig(Model):
    """Restrict the study to the part of the front that matters."""

    latency_s: tuple[Seconds, Seconds] | None = Field(
        None, description="Only allocations whose predicted time lies between these two, for example [0.5, 1.2]."
    )
    max_fid_loss: Loss | None = Field(
        None, description="Only entries whose FID is at most this share above the largest denoiser's, for example 5%."
    )

    @field_validator("latency_s")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and value[0] > value[1]:
            raise ValueError(f"got {value[0]:g} to {value[1]:g} s, expected the lower end first")
        return value


class SearchConfig(Model):
    """Which allocations are tried, and when to stop."""

    sampler: Literal["known_latency", "enumerate", "random", "tpe", "nsga2", "gp"] = Field(
        "known_latency",
        description="Who proposes the next allocation. known_latency: the highest expected gain of the front, time "
        "being known; enumerate: all, in random order; random, tpe, nsga2, gp: Optuna's (gp loads torch in the main "
        "process; set OMP_NUM_THREADS=1 for it).",
    )
    n_trials: Whole | None = Field(
        None, description="At most this many allocations, baselines included; default: no limit.", ge=1
    )
    device_seconds: Seconds | None = Field(
        None, description="No new allocation once workers have spent this; for example 2h."
    )
    tolerance: Loss | None = Field(
        None,
        description="Stop once the best next question is expected to raise the front's hypervolume by less than this "
        "share; default: 0.1% with known_latency, else go on.",
    )
    racing: bool | None = Field(
        None,
        description="Give images chunk by chunk where they are expected to gain most per second, at most "
        "quality.n_images to an allocation. Default: true with known_latency and the objective fid.",
    )
    warm_start: tuple[Text, ...] = Field(
        (),
        description="Lookup tables, or folders of finished runs, of denoisers with the same names (relative to this "
        "file): another step count, prompt set or resolution, or weights before a LoRA. known_latency takes their "
        "qualities as a trend, if they turn out to be one.",
    )
    look_ahead: Whole = Field(4, description="How many allocations may be under way at once.", ge=1)

    @field_validator("racing")
    @classmethod
    def _racing_knows_times(cls, racing: bool | None, info: ValidationInfo) -> bool | None:
        if racing and info.data.get("sampler") != "known_latency":
            raise ValueError(f"got true with the sampler {info.data.get('sampler')}, expected known_latency")
        return racing

    @field_validator("warm_start")
    @classmethod
    def _trends_need_a_model(cls, warm_start: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if warm_start and info.data.get("sampler") != "known_latency":
            raise ValueError(
                f"got {len(warm_start)} with the sampler {info.data.get('sampler')}, expected known_latency"
            )
        return warm_start

    @property
    def stop_below(self) -> float | None:
        """The expected gain, as a share of the hypervolume, below which the search stops; None: never."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.001 if self.sampler == "known_latency" else None


class ConfirmConfig(Model):
    """The front again, on images the search never saw."""

    n_images: Images = Field(5000, description="Images per entry.")
    max_entries: Whole = Field(
        12, description="At most this many entries, spread over time, single denoisers included.", ge=1
    )
    lossless_margin: Loss = Field(
        0.02, description="An entry is lossless if its FID loss is shown to be below this share, for example 2%.", le=1
    )
    until_lossless: bool = Field(
        False,
        description="Where no entry is shown lossless, make more images of those that could be, up to 8 times "
        "n_images, at looks planned in advance; see docs/statistics.md. `run --until-lossless` sets it.",
    )
    margin: Number | None = Field(
        None,
        description="With a metric per pair: the loss that counts as none, in the metric's own unit (psnr: dB below "
        "its ceiling of 58.9). Default: that of the metric; see docs/statistics.md.",
        gt=0,
    )

"""The shapes of `search_spaces/*.yaml` and `studies/*.yaml`: every field documented, unknown keys refused.

One long file, since it is the reference of every key. These documents are checked here once; inside the package there
are only these frozen objects. Descriptions become the JSON Schema that editors use (`tstitch-search schema study`).
"""

from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from tstitch_search.allocation import NAME
from tstitch_search.config.family_traits import FamilyName
from tstitch_search.config.quantities import FileName, Fraction, Grid, Images, Number, Steps, Text, Whole
from tstitch_search.config.quantities import Seconds as Seconds
from tstitch_search.config.rivals import Rival


class Model(BaseModel):
    """Frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DenoiserConfig(Model):
    """One member: a named denoiser and where its weights are."""

    name: str = Field(
        description="Short name in allocations, for example S or XL+deepcache3: a letter, then letters, digits, _ . +",
        pattern=f"^{NAME.pattern}$",
        max_length=100,
    )
    weights: Text | None = Field(
        None,
        description="Hub id, folder or file (relative to this file), zoo:FAMILY/MEMBER for an embedded one, or "
        "module:function of your own; only a study of recorded measurements does without.",
    )
    format: Literal["diffusers", "dit", "uvit"] = Field(
        "diffusers",
        description="diffusers: a folder or repository with config.json and safetensors; dit, uvit: one .pt file in "
        "the layout of facebookresearch/DiT or baofff/U-ViT, converted when it is loaded.",
    )
    accelerator: str | None = Field(
        None,
        description="Skip part of the work: deepcache3 (U-Nets: inner blocks every 3 steps), taylorseer3 (attention "
        "and feed-forward layers every 3 steps), tomesd0.5 (half the tokens merged; needs the package tomesd).",
        pattern=r"^(deepcache[1-9]\d*|taylorseer[1-9]\d*|tomesd0\.\d+)$",
    )
    subfolder: Text | None = Field(None, description="Folder inside the repository, for example `unet`.")
    revision: Text | None = Field(None, description="Commit, tag or branch of the hub repository.")


RuleName: TypeAlias = Literal["interleaving", "decreasing_probability", "large_to_small"]

# Shares of the steps at which the largest denoiser alone is measured as a rival, the most telling first.
FEWER_STEPS = (0.5, 0.75, 0.25)


class SpaceConfig(Model):
    """A search space: the denoisers of one model family and the allocations allowed.

    Only a study of recorded measurements (`measure.recorded`) does without family, pipeline and weights.
    """

    name: FileName = Field(description="What it is, for example fashion_dit_s_b_xl: letters, digits, _ . -")
    family: FamilyName | None = Field(None, description="Which adapter drives the pipeline.")
    pipeline: Text | None = Field(
        None, description="Where the shared parts are (VAE, scheduler): hub id, folder, or zoo:FAMILY."
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
        return denoisers

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


def _descending(given: int | tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of steps, the largest first."""
    return tuple(sorted(given, reverse=True)) if isinstance(given, tuple) else (given,)


class FocusConfig(Model):
    """Restrict the study to the part of the front that matters."""

    latency_s: tuple[Seconds, Seconds] | None = Field(
        None, description="Only allocations whose predicted time lies between these two, for example [0.5, 1.2]."
    )
    max_fid_loss: Fraction | None = Field(
        None, description="Only entries whose FID is at most this share above the largest denoiser's, for example 5%."
    )

    @field_validator("latency_s")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and value[0] > value[1]:
            raise ValueError(f"got {value[0]:g} to {value[1]:g} s, expected the lower end first")
        return value


class ProxySetConfig(Model):
    """The images used while searching."""

    labels: Literal["balanced", "random"] | Text = Field(
        "balanced",
        description="balanced: every class equally often in each chunk; random: drawn per image; or a file, label i "
        "for image i in line i, those of the confirmation set after those of the search.",
    )
    prompts: Text | None = Field(
        None,
        description="Prompt i is for image i, first the search's, then the confirmation's: a .txt with one per line, "
        "a .csv with a column prompt or caption, or COCO captions (.json).",
    )
    negative_prompt: str | None = Field(None, description="What no image shall show.")
    control_images: Text | None = Field(None, description="Folder of images; image i by name is for image i.")
    seed: Whole = Field(0, description="Image i of a set has its own seed, derived from this and i alone.", ge=0)
    chunk_size: Whole = Field(100, description="Images per unit of work.", ge=2)


# A chunk's error is estimated from 20 blocks of it.
MIN_RACING_CHUNK = 20

MetricName: TypeAlias = Literal["fid", "kid", "inception_score", "precision", "recall", "clip_score"]

# The metrics that compare with real images.
COMPARING = ("fid", "kid", "precision", "recall")


class GuardConfig(Model):
    """A second metric that an entry must not lose while it wins the objective."""

    metric: MetricName = Field(description="Which metric guards.")
    tolerance: Fraction = Field(
        0.02, description="An entry whose guard is worse than the largest denoiser's by more than this is flagged."
    )
    reference: Literal["study", "anchor"] = Field(
        "study",
        description="study: quality.reference; anchor: the largest denoiser's own images of the other set, for a study "
        "without real images.",
    )


class QualityConfig(Model):
    """How image quality is measured."""

    objective: MetricName = Field("fid", description="The metric M of Eq. 6 that the search optimises.")
    metrics: tuple[MetricName, ...] = Field((), description="Further metrics, reported for every entry.")
    guard: GuardConfig | None = Field(None, description="A metric that must not be lost; for example inception_score.")
    features_dtype: Literal["float32", "float16"] = Field(
        "float32", description="How features are stored; float16 halves the disk (FID changes by about 1e-6)."
    )
    extractor: Text = Field(
        "inception-v3-compat",
        description="torch-fidelity feature extractor, fashion-cnn of the zoo, or module:Class of your own.",
    )
    extractor_weights: Text | None = Field(
        None, description="File with the extractor's weights; default: its own place or download."
    )
    reference: Text | None = Field(
        None,
        description="Real images: a folder, an .npz (mu and sigma, features, or images as arr_0), dataset:NAME of "
        "torch-fidelity, or zoo:FAMILY.",
    )
    clip_model: Text = Field(
        "openai/clip-vit-large-patch14", description="CLIP model for clip_score: hub id, or folder of save_pretrained."
    )
    n_images: Images = Field(1000, description="Images per allocation while searching.")
    control_images: Images | None = Field(
        None,
        description="Images of each denoiser alone, and of neighbours half and half, while searching: control variates "
        "that lift every FID to this number of images, with less noise. Default: n_images when racing, else none.",
    )

    @field_validator("control_images")
    @classmethod
    def _controls_fid(cls, control_images: int | None, info: ValidationInfo) -> int | None:
        n_images, objective = info.data.get("n_images", 0), info.data.get("objective")
        if control_images is not None and control_images < n_images:
            raise ValueError(f"got {control_images}, expected at least quality.n_images, which is {n_images}")
        if control_images is not None and objective != "fid":
            raise ValueError(
                f"control variates are for FID, and the objective is {objective}; leave control_images out"
            )
        return control_images

    @property
    def comparing(self) -> tuple[MetricName, ...]:
        """The metrics that compare with `reference`."""
        guarded = (self.guard.metric,) if self.guard and self.guard.reference == "study" else ()
        return tuple(name for name in (self.objective, *self.metrics, *guarded) if name in COMPARING)

    @property
    def from_reference(self) -> tuple[MetricName, ...]:
        """The metrics that are bound to the study's reference: all but a guard that compares with the anchor."""
        guard = (self.guard.metric,) if self.guard and self.guard.reference == "study" else ()
        return tuple(dict.fromkeys((self.objective, *self.metrics, *guard)))

    @property
    def all_metrics(self) -> tuple[MetricName, ...]:
        """The objective, the further metrics and the guard, each once."""
        guard = (self.guard.metric,) if self.guard else ()
        return tuple(dict.fromkeys((self.objective, *self.metrics, *guard)))


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
    tolerance: Fraction | None = Field(
        None,
        description="Stop once the best next question is expected to raise the front's hypervolume by less than this "
        "share; default: 0.1% with known_latency, else go on.",
    )
    racing: bool | None = Field(
        None,
        description="Give images chunk by chunk where they are expected to gain most per second, at most "
        "quality.n_images to an allocation. Default: true with known_latency and the objective fid.",
    )
    look_ahead: Whole = Field(4, description="How many allocations may be under way at once.", ge=1)

    @field_validator("racing")
    @classmethod
    def _racing_knows_times(cls, racing: bool | None, info: ValidationInfo) -> bool | None:
        if racing and info.data.get("sampler") != "known_latency":
            raise ValueError(f"got true with the sampler {info.data.get('sampler')}, expected known_latency")
        return racing

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
    lossless_margin: Fraction = Field(
        0.02, description="An entry is lossless if its FID loss is shown to be below this share, for example 2%.", le=1
    )


# The operating point that drives the search.
DEFAULT_POINT = "default"


class PointConfig(Model):
    """Another operating point: the times of the same allocations at another batch size or on another device."""

    id: FileName = Field(description="Its name, for `pick --at`: letters, digits, _ . -")
    batch_size: Whole | None = Field(None, description="Images per timed batch; default: as latency.batch_size.", ge=1)
    device: Literal["cpu", "cuda"] | None = Field(None, description="Another device of this machine.")
    from_file: Text | None = Field(
        None, alias="from", description="File of `tstitch-search calibrate`, made at that point on any machine."
    )


class LatencyConfig(Model):
    """How time is measured: for one batch of stated size, from noise to decoded images."""

    batch_size: Whole = Field(8, description="Images per timed batch, as at deploy time.", ge=1)
    n_repeats: Whole = Field(5, description="Timed repeats, interleaved over denoisers; the median counts.", ge=3)
    threads: Whole | None = Field(None, description="CPU threads while timing on CPU; default: all cores.", ge=1)
    from_file: Text | None = Field(
        None,
        alias="from",
        description="File written by `tstitch-search calibrate` (relative to this one) to take step times from.",
    )
    max_spread: Fraction = Field(
        0.1, description="The run says so when repeats of a step differ by more than this share, for example 10%."
    )
    points: tuple[PointConfig, ...] = Field(
        (), description="Further operating points of the same table. The search goes by latency.batch_size."
    )

    @field_validator("points")
    @classmethod
    def _ids_differ(cls, points: tuple[PointConfig, ...]) -> tuple[PointConfig, ...]:
        ids = [DEFAULT_POINT, *(point.id for point in points)]
        if len(set(ids)) < len(ids):
            raise ValueError(f"got the ids {', '.join(ids)}, expected each only once; {DEFAULT_POINT} is the first's")
        return points


class WorkersConfig(Model):
    """Who does the work."""

    pool: Literal["ray", "inline"] = Field(
        "ray", description="ray: worker processes; inline: in this process, for debugging."
    )
    address: Text | None = Field(
        None,
        description="A running Ray cluster: auto, HOST:PORT or ray://HOST:PORT; default: a Ray of its own on this "
        "machine, which listens on loopback only.",
    )
    n_workers: Whole | None = Field(
        None, description="Default: one per GPU, or one per core on CPU; on a cluster as many as fit.", ge=1
    )
    max_workers: Whole | None = Field(
        None, description="On a cluster, instead of n_workers: up to so many, as machines join and leave.", ge=1
    )
    cpus_per_worker: Whole | None = Field(
        None, description="CPU cores of each worker; default: an equal share of this machine, 1 on a cluster.", ge=1
    )
    gpus_per_worker: Number | None = Field(
        None, description="GPUs of each worker: a share of one (0.5) or whole ones (1, 2); default: equal shares.", gt=0
    )
    timing_workers: Text | None = Field(
        None,
        description="Part of the name of the device that times, for example H200, where workers have different ones; "
        "the others only make images.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one; on a cluster if gpus_per_worker is given."
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="Number format of weights and arithmetic."
    )
    device_batch_size: Whole = Field(
        64, description="Images sampled together inside a chunk; no effect on the images.", ge=1
    )
    reuse_mb: Whole = Field(
        1024,
        description="Memory in MB, on its device, in which each worker keeps denoiser outputs that allocations with "
        "the same beginning share; no effect on the images. 0: none.",
        ge=0,
    )

    @field_validator("max_workers")
    @classmethod
    def _max_of_a_cluster(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("address") is None:
            raise ValueError(f"got {value} without address, expected n_workers: no machine joins a Ray of our own")
        if value is not None and info.data.get("n_workers") is not None:
            raise ValueError(f"got {value} together with n_workers, expected one of the two")
        return value

    @field_validator("address")
    @classmethod
    def _clusters_need_ray(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("pool") == "inline":
            raise ValueError(f"got {value!r:.60} with pool: inline, expected pool: ray")
        return value

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_whole_or_shared(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise ValueError(f"got {value:g}, expected a share of one GPU, or a whole number of them")
        return value


class ExecutionConfig(Model):
    """How the members run, alike while calibrating, searching and deploying."""

    compile: bool = Field(False, description="Compile every member with torch.compile.")
    channels_last: bool = Field(False, description="Keep members and VAE in channels-last memory format.")
    attention: Literal["default", "math", "flash", "efficient", "cudnn"] = Field(
        "default", description="torch's kernel for attention; default: torch chooses."
    )
    offload: Literal["none", "model"] = Field(
        "none", description="model: only the member whose turn it is has its weights on the GPU."
    )
    vae: Text | None = Field(
        None, description="Another VAE for the same latents: hub id, folder (relative to this file) or zoo:FAMILY/vae."
    )

    @field_validator("offload")
    @classmethod
    def _compiled_members_stay(cls, offload: str, info: ValidationInfo) -> str:
        if offload == "model" and info.data.get("compile"):
            raise ValueError("got model together with compile: true, expected one of the two")
        return offload

    def __str__(self) -> str:
        """What differs from the defaults; not the VAE, whose weights speak for themselves."""
        chosen = self.model_dump(exclude={"vae"}, exclude_defaults=True)
        return " ".join(f"{name}={value}".lower() for name, value in chosen.items()) or "plain"


class MeasureConfig(Model):
    """Past measurements in place of a device; without `recorded` everything is measured now."""

    recorded: Text | None = Field(
        None,
        description="CSV with the columns allocation, latency_s, fid and optionally fid_se, n_images; relative to this "
        "file.",
    )
    source: Text | None = Field(None, description="Where the recorded numbers were published, for the report.")
    device: Text = Field("unknown (recorded)", description="The device that the recorded times were taken on.")
    features: Text | None = Field(
        None,
        description="Folder with the features of real images made by each allocation, AxN-BxM.npy, same images in the "
        "same order, and reference.npz (mu, sigma); default: images are simulated with the recorded FID.",
    )
    noise: Fraction | None = Field(
        None,
        description="Of simulated images: relative standard deviation of FID over quality.n_images images, for example "
        "2%; default: as the table's fid_se says, else none.",
        le=1,
    )
    noise_correlation: Fraction = Field(
        0.0, description="Of simulated images: correlation of that noise between any two allocations.", le=1
    )

    @field_validator("features", "source", "noise")
    @classmethod
    def _about_a_record(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("recorded") is None:
            raise ValueError(f"got {value!r:.60} without recorded, the table that it belongs to")
        return value

    @field_validator("noise")
    @classmethod
    def _only_of_simulated_images(cls, noise: float | None, info: ValidationInfo) -> float | None:
        if noise is not None and info.data.get("features") is not None:
            raise ValueError("got noise together with features, whose noise is their own; expected one of the two")
        return noise


class StudyConfig(Model):
    """A study: one question about one search space."""

    name: FileName = Field(
        description="Names the run folder reports/NAME: letters, digits, _ . - and no . or - in front."
    )
    search_space: Text | SpaceConfig = Field(
        description="Path of the search space file, relative to this file; or the search space itself."
    )
    guidance_scale: Number = Field(1.5, description="Classifier-free guidance weight; 1 switches it off.", ge=1)
    sampler_seed: Whole = Field(0, description="Seed of the allocation sampler.", ge=0)
    focus: FocusConfig = FocusConfig()
    rivals: Text | None = Field(
        None,
        description="CSV with the columns name, latency_s, fid, source: what others published, drawn beside the front; "
        "relative to this file.",
    )
    proxy_set: ProxySetConfig = ProxySetConfig()
    measure: MeasureConfig = MeasureConfig()
    quality: QualityConfig
    search: SearchConfig = SearchConfig()
    confirm: ConfirmConfig = ConfirmConfig()
    latency: LatencyConfig = LatencyConfig()
    execution: ExecutionConfig = ExecutionConfig()
    workers: WorkersConfig = WorkersConfig()
    storage: Text | None = Field(
        None,
        description="SQLAlchemy URL of the Optuna database, for example postgresql://user@host/studies; default: "
        "study.db in the run folder. Whatever else is there, the study's name must be free.",
        pattern=r"^[a-z0-9_+]+://",
    )

    @field_validator("search")
    @classmethod
    def _racing_compares(cls, search: SearchConfig, info: ValidationInfo) -> SearchConfig:
        quality, proxy_set = info.data.get("quality"), info.data.get("proxy_set")
        if search.racing and quality is not None and quality.objective != "fid":
            raise ValueError(
                f"racing needs control variates, which are for FID, and the objective is {quality.objective}"
            )
        if search.racing and proxy_set is not None and proxy_set.chunk_size < MIN_RACING_CHUNK:
            raise ValueError(
                f"racing judges an allocation by one chunk of {proxy_set.chunk_size} images, expected "
                f"proxy_set.chunk_size of at least {MIN_RACING_CHUNK}"
            )
        return search

    @property
    def races(self) -> bool:
        """Whether images are given chunk by chunk; unless stated, wherever it is possible and there are two chunks."""
        if self.search.racing is not None:
            return self.search.racing
        chunk_size = self.proxy_set.chunk_size
        can = self.search.sampler == "known_latency" and self.quality.objective == "fid"
        return can and MIN_RACING_CHUNK <= chunk_size < self.quality.n_images

    @property
    def control_level(self) -> int | None:
        """The number of images of the control variates, at which every FID is estimated; None without them."""
        n_images, control_images = self.quality.n_images, self.quality.control_images
        if self.races:
            return control_images or n_images
        return control_images if control_images != n_images else None

    @field_validator("quality")
    @classmethod
    def _reference_where_needed(cls, quality: QualityConfig, info: ValidationInfo) -> QualityConfig:
        measure = info.data.get("measure")
        if measure is None:  # wrong itself, and reported
            return quality
        if measure.recorded and quality.reference:
            raise ValueError(f"got reference {quality.reference!r:.60}, expected none: it comes with measure.recorded")
        if not measure.recorded and not quality.reference and quality.comparing:
            raise ValueError(f"reference is missing: {quality.comparing[0]} compares with real images")
        return quality


@dataclass(frozen=True)
class ProxyFiles:
    """Entries of the `n_search` images of the proxy set, then of the confirmation set; None where there is no file.

    `sha256` holds (key, hash of the file) of the text files.
    """

    n_search: int = 0
    labels: tuple[int, ...] | None = None
    prompts: tuple[str, ...] | None = None
    control_images: tuple[Path, ...] | None = None
    sha256: tuple[tuple[str, str], ...] = ()


class Study(Model):
    """A checked study with its search space, the files they came from and what was overridden (`key=value`)."""

    config: StudyConfig
    space: SpaceConfig
    study_path: Path
    space_path: Path
    overrides: tuple[str, ...] = ()
    proxy_files: ProxyFiles = ProxyFiles()
    rivals: tuple[Rival, ...] = ()

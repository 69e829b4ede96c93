"""Who does the work, and how the members run there."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import Number, Text, Whole


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
        64,
        description="Images sampled together inside a chunk; no effect on the images, unless a member's cache decides "
        "by the batch (first_block).",
        ge=1,
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
    offload: Literal["none", "model", "group"] = Field(
        "none",
        description="model: only the member whose turn it is has its weights on the GPU. group: of that member only "
        "the block at work and the next one, for members that do not fit as a whole.",
    )
    vae_tiling: bool = Field(
        False, description="Decode in tiles what is larger than one: less memory, and slightly other images."
    )
    vae: Text | None = Field(
        None, description="Another VAE for the same latents: hub id, folder (relative to this file) or zoo:FAMILY/vae."
    )

    @field_validator("offload")
    @classmethod
    def _compiled_members_stay(cls, offload: str, info: ValidationInfo) -> str:
        if offload != "none" and info.data.get("compile"):
            raise ValueError(f"got {offload} together with compile: true, expected one of the two")
        return offload

    def __str__(self) -> str:
        """What differs from the defaults; not the VAE, whose weights speak for themselves."""
        chosen = self.model_dump(exclude={"vae"}, exclude_defaults=True)
        return " ".join(f"{name}={value}".lower() for name, value in chosen.items()) or "plain"

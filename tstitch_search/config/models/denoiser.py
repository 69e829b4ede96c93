"""A denoiser of a search space: where its weights are, and what is done to them and with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tstitch_search.allocation import NAME
from tstitch_search.config.models.accelerator import CacheConfig
from tstitch_search.config.models.base import Model
from tstitch_search.config.models.quantization import QuantizationConfig
from tstitch_search.config.quantities import Number, Text

# What a twin of the largest is called that differs in having no guidance.
NO_GUIDANCE = "no guidance"
# Endings of checkpoints in one file; and of those that could run code.
SINGLE_FILES, PICKLES = (".safetensors", ".gguf"), (".ckpt", ".pt", ".pth", ".bin")
ACCELERATOR = r"^(deepcache[1-9]\d*|taylorseer[1-9]\d*|tomesd0\.\d+)$"


class LoraConfig(Model):
    """A LoRA on a denoiser: where it is, and how much of it."""

    weights: Text = Field(description="Hub id, folder or safetensors file (relative to this file).")
    file: Text | None = Field(None, description="The file in that folder or repository, where it holds several.")
    revision: Text | None = Field(None, description="Commit, tag or branch of the hub repository.")
    scale: Number = Field(1.0, description="Weight of what it adds.")
    fuse: bool = Field(
        False, description="Merge it into the weights, which are then a copy: faster, and in memory once more."
    )
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
    format: Literal["diffusers", "single_file", "dit", "uvit", "ldm"] = Field(
        "diffusers",
        description="diffusers: a folder or repository with config.json and safetensors; single_file: one .safetensors "
        "or .gguf file that diffusers' from_single_file takes; dit, uvit, ldm: one .pt, .pth or .ckpt file in the "
        "layout of facebookresearch/DiT, baofff/U-ViT or CompVis/latent-diffusion (class-conditional), converted when "
        "it is loaded.",
    )
    variant: Text | None = Field(
        None, description="Of a folder's weights those of this name: fp16 for *.fp16.safetensors, ema, non_ema."
    )
    file: Text | None = Field(None, description="single_file: the file in that folder or repository.")
    config: Text | None = Field(
        None,
        description="single_file: hub id (owner/name@commit pins it) or folder whose config.json describes the model, "
        "in `subfolder`, transformer or unet; default: the pipeline.",
    )
    lora: tuple[LoraConfig, ...] = Field(
        (),
        description="LoRAs on it, loaded as the pipeline's own loader does; needs peft. Its weights stay shared with "
        "denoisers `of` it.",
    )
    accelerator: Annotated[str, Field(pattern=ACCELERATOR)] | CacheConfig | None = Field(
        None,
        description="Skip part of the work: deepcache3 (U-Nets: inner blocks every 3 steps), taylorseer3 (attention "
        "and feed-forward layers every 3 steps), tomesd0.5 (U-Nets with cross attention: half the tokens of the finest "
        "attention merged; needs the extra tomesd), or a cache of diffusers and its settings, as {first_block: "
        "{threshold: 0.1}}.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="Number format of its own, whatever the workers' is; its weights are then a copy."
    )
    quantization: QuantizationConfig | None = Field(
        None, description="Quantised weights, which are then a copy; needs a GPU and the package bitsandbytes."
    )
    subfolder: Text | None = Field(
        None, description="Folder inside the repository, for example `unet`, or `unet_ema` of a training."
    )
    revision: Text | None = Field(None, description="Commit, tag or branch of the hub repository.")

    @field_validator("lora")
    @classmethod
    def _adapters_differ(cls, lora: tuple[LoraConfig, ...]) -> tuple[LoraConfig, ...]:
        names = [each.adapter or f"lora_{i}" for i, each in enumerate(lora)]
        if len(set(names)) < len(names):
            raise ValueError(f"got the adapters {', '.join(names)}, expected each name only once")
        if len({each.fuse for each in lora}) > 1:
            raise ValueError("got fuse for some of the LoRAs, expected it for all or none")
        return lora

    @model_validator(mode="after")
    def _quantised_weights_stay(self) -> "DenoiserConfig":
        if self.quantization and (self.lora or self.dtype or self.format != "diffusers"):
            other = "lora" if self.lora else "dtype" if self.dtype else f"format {self.format}"
            raise ValueError(f"got quantization with {other}, expected it alone, on weights in diffusers' format")
        return self

    @model_validator(mode="after")
    def _form_is_said(self) -> "DenoiserConfig":
        if self.variant and self.format != "diffusers":
            raise ValueError(f"got the variant {self.variant:.60} with format {self.format}, expected it of a folder")
        if self.format != "single_file":
            if self.file or self.config:
                key = "file" if self.file else "config"
                raise ValueError(f"got {key} with format {self.format}, expected it with format: single_file")
            return self
        name = self.file or self.weights
        if name and not name.endswith(SINGLE_FILES):
            what = "" if Path(name).suffix in PICKLES else ", as `weights` or the `file` in them"
            why = "; a pickle could run code" if Path(name).suffix in PICKLES else ""
            raise ValueError(f"got {name:.60}, expected a {' or '.join(SINGLE_FILES)} file{what}{why}")
        return self

    @property
    def remembers(self) -> bool:
        """Whether its answers go by its own earlier ones."""
        return self.accelerator is not None and not str(self.accelerator).startswith("tomesd")

    @property
    def decides_by_batch(self) -> bool:
        """Whether what it skips, and so an image, depends on the images in one batch with it."""
        return isinstance(self.accelerator, CacheConfig) and self.accelerator.first_block is not None

    @property
    def copies(self) -> str:
        """What makes its weights a copy of those in its files; empty where they are shared as they are."""
        fused = f"fused {self.name}" if any(each.fuse for each in self.lora) else ""
        return " ".join(filter(None, [fused, self.dtype, str(self.quantization or "")]))

    @property
    def source(self) -> tuple[str | None, ...]:
        """Where its weights are from; members of one source share them."""
        return (self.weights, self.format, self.variant, self.file, self.config, self.subfolder, self.revision)

    def completed_by(self, base: "DenoiserConfig") -> "DenoiserConfig":
        """The same with what it does not say taken from the denoiser it is `of`."""
        said = self.model_fields_set
        taken = {key: getattr(base, key) for key in type(self).model_fields if key not in said}
        return self.model_copy(update=taken)

    def described_by(self, pipeline: str) -> "DenoiserConfig":
        """The same; of one file without a `config` of its own the `pipeline` says what model it is."""
        is_told = self.format != "single_file" or self.config or not pipeline
        return self if is_told else self.model_copy(update={"config": pipeline})

    def beside(self, other: "DenoiserConfig") -> str | None:
        """What it has that the other one of the same weights has not; None where nothing has a name."""
        parts = ["LoRA"] * (self.lora not in ((), other.lora))
        parts += ["cache"] * (self.remembers and self.accelerator != other.accelerator)
        free = (
            self.guidance_scale is not None and self.guidance_scale <= 1 and other.guidance_scale != self.guidance_scale
        )
        return " and ".join(parts) or (NO_GUIDANCE if free else None)


def twins_of(denoisers: Sequence[DenoiserConfig]) -> dict[str, str]:
    """The denoisers that have the weights of the last, the largest, and what they have beside it."""
    found = {d.name: d.beside(denoisers[-1]) for d in denoisers[:-1] if d.source == denoisers[-1].source}
    return {name: what for name, what in found.items() if what}


def completed(denoiser: DenoiserConfig, by_name: Mapping[str, DenoiserConfig]) -> DenoiserConfig:
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

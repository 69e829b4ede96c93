"""What a lookup table says of how its members are asked, so that they answer in production as they did in the study."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from tstitch_search.config.models import DenoiserConfig, SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import compare
from tstitch_search.members.weights import weight_files, weights_sha256


@dataclass(frozen=True)
class MemberSettings:
    """The search space of a table, its guidance, and what is known of each of its denoisers.

    `noise`: what it was trained to undo; `sizes`: number of parameters; `hashes`: sha256 of its weight files.
    """

    space: SpaceConfig
    guidance_scale: float
    noise: Mapping[str, NoiseProcess]
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, table: LookupTable) -> "MemberSettings":
        """The settings of the table's study. Raises ConfigError when it does not hold one that makes images."""
        try:
            space = SpaceConfig.model_validate(table.provenance["study"]["search_space"])
        except (KeyError, TypeError, ValidationError) as error:
            raise ConfigError(
                "the table does not say which study made it",
                hint="give the table of a study by this version, or leave `table` out for plain members",
            ) from error
        if space.pipeline is None:
            raise ConfigError("the table holds recorded numbers: it does not say how its denoisers make images")
        denoisers = {d["name"]: d for d in table.provenance.get("denoisers", ())}
        noise = {name: NoiseProcess(**d["noise"]) for name, d in denoisers.items() if d.get("noise")}
        if unknown := [n for n in space.names if n not in noise and f"noise.{n}" in table.provenance.get("key", {})]:
            raise ConfigError(
                f"the table says that {unknown[0]!r} was converted, but not from what",
                hint="an earlier version made it; run its study again, which measures nothing anew",
            )
        sizes = {name: d["n_parameters"] for name, d in denoisers.items() if d.get("n_parameters")}
        hashes = {name: d["sha256"] for name, d in denoisers.items() if d.get("sha256")}
        guidance_scale = float(table.provenance["study"].get("guidance_scale", 1))
        return cls(space, guidance_scale, noise, sizes, hashes)

    def require_same(self, given: Mapping[str, nn.Module]) -> None:
        """Nothing, when the modules are those that the table is about, as far as that can be told.

        Raises ConfigError for one of another size, and for one that was loaded from a folder of other weights.
        """
        for name, member in given.items():
            size, known = count_values(member), self.sizes.get(name)
            if known and size and abs(size - known) > self._slack(name) * known:
                raise _not_the_tables(name, f"it has {size:,} parameters, there {known:,}", self._of_size(size))
            loaded = loaded_from(member, self._configured(name))
            sha256 = weights_sha256(loaded) if loaded and name in self.hashes else None
            if sha256 and sha256 != self.hashes[name]:
                same = [other for other, theirs in self.hashes.items() if theirs == sha256]
                raise _not_the_tables(name, f"the weights in {loaded[0].parent} are others", same)

    def _slack(self, name: str) -> float:
        """Of other formats, the file holds a table of positions too, which the module computes."""
        return 0 if self._configured(name).format == "diffusers" else 0.02

    def _configured(self, name: str) -> DenoiserConfig:
        return next((d for d in self.space.denoisers if d.name == name), DenoiserConfig(name=name))

    def _of_size(self, size: int) -> list[str]:
        return [name for name, known in self.sizes.items() if known == size]

    def members(self, given: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Those of `given` in the order of the space; several of the same weights are modules of their own over them.

        So one of them is enough to be given. Raises ConfigError for a name that the table does not know.
        """
        if unknown := [name for name in given if name not in self.space.names]:
            known = ", ".join(self.space.names)
            raise ConfigError(f"the table knows no denoiser {unknown[0]!r}, expected some of {known}")
        found = {d.name: self._find(d, given) for d in self.space.denoisers}
        return {name: member for name, member in found.items() if member is not None}

    def of_the_same_weights(self, name: str) -> list[str]:
        """The other denoisers of the weights of this one: it is made of any of them."""
        source = self._configured(name).source
        return [d.name for d in self.space.denoisers if d.source == source and d.name != name and not d.lora]

    def _find(self, denoiser: DenoiserConfig, given: Mapping[str, nn.Module]) -> nn.Module | None:
        alike = [d.name for d in self.space.denoisers if d.source == denoiser.source]
        plain = [d.name for d in self.space.denoisers if d.name in alike and not d.lora and not d.copies]
        found = next((given[name] for name in (denoiser.name, *plain) if name in given), None)
        has_its_own = denoiser.name in given and bool(denoiser.lora)
        if found is not None and denoiser.copies and denoiser.name not in given:
            return _copy(found, denoiser)
        if found is None or has_its_own or (len(alike) == 1 and denoiser.accelerator is None):
            return found
        return twin_of(found)

    def converted(self, names: Iterable[str], want: NoiseProcess) -> dict[str, NoiseProcess]:
        """The noise process of each denoiser of these names that was trained for another than `want`, the pipeline's.

        Raises ConfigError where it cannot be converted, or the table's study did not.
        """
        other = {name: self.noise[name] for name in names if self.noise.get(name, want) != want}
        for name, have in other.items():
            verdict, why = compare(have, want)
            if verdict == "refused" or not self.space.convert:
                raise ConfigError(
                    f"denoiser {name!r} has noise process {have}, but the pipeline's scheduler has {want}: {why}",
                    hint="give the pipeline that the table was made with, or its scheduler",
                )
        return other


def _copy(module: nn.Module, denoiser: DenoiserConfig) -> nn.Module:
    """Weights of its own for a member that is not given; LoRAs are fused later."""
    if denoiser.quantization:
        raise ConfigError(
            f"the denoiser {denoiser.name!r} has quantised weights ({denoiser.quantization}), which are loaded as such",
            hint="load it with diffusers' BitsAndBytesConfig, and give it under its name",
        )
    dtype = getattr(torch, denoiser.dtype) if denoiser.dtype else None
    return copy.deepcopy(module).to(dtype=dtype)


def _not_the_tables(name: str, why: str, same: list[str]) -> ConfigError:
    hint = f"it is the table's {same[0]!r}: give each under its own name" if same else "give the one that was measured"
    return ConfigError(f"the denoiser {name!r} is not the table's: {why}", hint=hint)


def count_values(module: nn.Module) -> int | None:
    """How many values its weights have, without those of adapters on it; None where they are packed (quantised)."""
    if getattr(module, "hf_quantizer", None) is not None or getattr(module, "is_quantized", False):
        return None
    own = {id(tensor): tensor for name, tensor in module.state_dict(keep_vars=True).items() if "lora_" not in name}
    return sum(tensor.numel() for tensor in own.values())


def loaded_from(module: Any, denoiser: DenoiserConfig) -> list[Path]:
    """The weight files of the local folder that diffusers loaded the module from, of the denoiser's variant.

    Empty where it is not known, as of a single file: its configuration names where that was saved.
    """
    place = getattr(module, "config", {}).get("_name_or_path")
    if denoiser.format == "single_file" or not place or not (Path(place) / "config.json").exists():
        return []
    files = weight_files(Path(place), "the denoiser", variant=denoiser.variant)
    return files if all(file.exists() for file in files) else []

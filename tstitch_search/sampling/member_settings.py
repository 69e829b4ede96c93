"""What a lookup table says of how its members are asked, so that they answer in production as they did in the study."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import nn

from tstitch_search.config.models import DenoiserConfig, SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import compare


@dataclass(frozen=True)
class MemberSettings:
    """The search space of a table, and what each of its denoisers was trained to undo where that is known."""

    space: SpaceConfig
    noise: Mapping[str, NoiseProcess]

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
        if space.family is None:
            raise ConfigError("the table holds recorded numbers: it does not say how its denoisers make images")
        noise = {d["name"]: NoiseProcess(**d["noise"]) for d in table.provenance.get("denoisers", ()) if d.get("noise")}
        if unknown := [n for n in space.names if n not in noise and f"noise.{n}" in table.provenance.get("key", {})]:
            raise ConfigError(
                f"the table says that {unknown[0]!r} was converted, but not from what",
                hint="an earlier version made it; run its study again, which measures nothing anew",
            )
        return cls(space, noise)

    def members(self, given: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Those of `given` in the order of the space; accelerated ones are copies of the plain ones, sharing weights.

        An accelerated denoiser may be left out where the plain one of the same weights is there. Raises ConfigError for
        a name that the table does not know.
        """
        if unknown := [name for name in given if name not in self.space.names]:
            known = ", ".join(self.space.names)
            raise ConfigError(f"the table knows no denoiser {unknown[0]!r}, expected some of {known}")
        found = {d.name: self._find(d, given) for d in self.space.denoisers}
        return {name: member for name, member in found.items() if member is not None}

    def _find(self, denoiser: DenoiserConfig, given: Mapping[str, nn.Module]) -> nn.Module | None:
        if denoiser.accelerator is None:
            return given.get(denoiser.name)
        plain = denoiser.model_copy(update={"accelerator": None})
        alike = [d.name for d in self.space.denoisers if d == plain.model_copy(update={"name": d.name})]
        found = next((given[name] for name in (denoiser.name, *alike) if name in given), None)
        return None if found is None else sharing_weights(found)

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


def sharing_weights(module: nn.Module) -> Any:
    """A copy of the module that has the same parameters and buffers: what is changed in its layers stays its own."""
    return deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})

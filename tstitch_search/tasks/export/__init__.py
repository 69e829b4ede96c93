"""A lookup table's step splits in the terms of other samplers: steps, timesteps and sigmas.

A format is a module with a function that makes the text, and its row in `FORMATS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable
from tstitch_search.tasks.export import comfyui, diffusers_segments, step_rows
from tstitch_search.tasks.export.source import Source

FORMATS: dict[str, Callable[[Source], str]] = {
    "csv": step_rows.as_csv,
    "diffusers": diffusers_segments.as_json,
    "comfyui": comfyui.as_workflow,
}


def export(
    path: Path,
    form: str,
    study: Path | None = None,
    settings: Sequence[str] = (),
    allocation: str | None = None,
) -> str:
    """The entries of the table at `path`, or the one that has this allocation, as a text of the format `form`.

    With `settings` the steps are those of the study's solver with them. Raises ConfigError when the format cannot say
    it or the table has no such entry, and ConfigError or EnvironmentProblem when the solver is needed and cannot be had
    here.
    """
    table = LookupTable.read(path)
    source = Source(path, table, table.entries, study, settings)
    return FORMATS[form](source if allocation is None else _only(source, allocation))


def _only(source: Source, text: str) -> Source:
    wanted = Allocation.parse(text)
    found = tuple(entry for entry in source.entries if entry.allocation == wanted)
    if not found:
        known = ", ".join(str(entry.allocation) for entry in source.entries)
        raise ConfigError(f"the table's front has no {wanted}", hint=f"take one of {known}")
    return replace(source, entries=found)

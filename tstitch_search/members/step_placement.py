"""Where a flow-matching scheduler puts its steps between noise and image. Imports no torch.

Denoisers trained by flow matching are told the noise level with every question, and answer wherever they are asked.
So another shift is no misfit; but few-step members were made for theirs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.weights import read_json


def placement(scheduler_config: Mapping[str, Any]) -> str | None:
    """The shift, fixed or by resolution, and the last noise level, in words; None where it is no flow matching."""
    config = scheduler_config
    if NoiseProcess.of(config).prediction_type != "flow_prediction":
        return None
    if config.get("use_dynamic_shifting"):
        said = f"shift by resolution, {config.get('base_shift', 0.5):g} to {config.get('max_shift', 1.15):g}"
    else:
        said = f"shift {config.get('shift', config.get('flow_shift', 1.0)):g}"
    spacings = [k for k in ("karras", "exponential", "beta") if config.get(f"use_{k}_sigmas")]
    last = config.get("shift_terminal")
    return ", ".join([said, *spacings, *([f"ending at {last:g}"] if last else [])])


def own_placement(member: Path, owner: str) -> str | None:
    """The same of the scheduler that a member was published with: in its folder, or beside it in its repository."""
    places = [member, member / "scheduler", member.parent / "scheduler"]
    files = [place / "scheduler_config.json" for place in places if (place / "scheduler_config.json").exists()]
    return placement(read_json(files[0], owner)) if files else None

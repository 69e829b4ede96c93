"""Whether the safetensors files of a model are all there and whole, by their headers. Imports no torch."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.files import require_itself
from tstitch_search.members.weights import WEIGHTS, weight_files, weight_map

AGAIN = "fetch the folder again, for example with `hf download`"
# What torch.compile puts before the name of every tensor.
COMPILED = "_orig_mod."


def count_parameters(folder: Path, owner: str, *, required: bool, stem: str = WEIGHTS) -> int | None:
    """Number of values in the weights that diffusers loads from `folder`; None when they are absent and not required.

    `stem`: how their names begin. Raises EnvironmentProblem naming the file when some are missing, are none, are not of
    the length that their header tells, or are named as the model does not know them.
    """
    files = weight_files(folder, owner, stem)
    if absent := [file for file in files if not file.exists()]:
        if required:
            raise _missing(folder, owner, stem, absent, len(files))
        return None
    shapes = {name: shape for file in files for name, shape in shapes_of(file, owner).items()}
    if unknown := weight_map(folder, owner, stem).keys() - shapes.keys():
        raise EnvironmentProblem(f"{owner}: no file in {folder} holds {min(unknown)}, which its index names", AGAIN)
    if any(name.startswith(COMPILED) for name in shapes):
        raise EnvironmentProblem(
            f"{owner}: {folder} holds weights named {COMPILED}...: they were saved from a compiled model",
            hint="save the model itself: model._orig_mod.save_pretrained(FOLDER)",
        )
    return sum(map(prod, shapes.values()))


def shapes_of(file: Path, owner: str) -> Mapping[str, list[int]]:
    """The shape of every tensor; the library holds the header against the length of the file."""
    require_itself(file, owner)
    try:
        with safe_open(file, "np") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise EnvironmentProblem(
            f"{owner}: {file} is damaged or cut off: its {file.stat().st_size:,} bytes are not what a safetensors "
            "header at its beginning says",
            hint=AGAIN,
        ) from error


def _missing(folder: Path, owner: str, stem: str, absent: list[Path], n_files: int) -> EnvironmentProblem:
    """What to say of weights that are not there, going by what is there in their place."""
    if len(absent) < n_files:
        return EnvironmentProblem(
            f"{owner}: {len(absent)} of {n_files} parts of the weights are missing, the first is {absent[0]}", AGAIN
        )
    others = sorted(file.name for file in folder.glob(f"{stem}*.safetensors"))
    if others:
        return EnvironmentProblem(
            f"{owner}: {folder} holds a variant of the weights only, {others[0]}; expected {absent[0].name}",
            hint="load it with from_pretrained(..., variant=...) once and save it with save_pretrained",
        )
    if pickled := sorted(file.name for kind in ("*.bin", "*.pt", "*.ckpt") for file in folder.glob(kind)):
        return EnvironmentProblem(
            f"{owner}: {folder} holds pickled weights only, {pickled[0]}, which are not loaded: they could run code",
            hint="where you trust them: from_pretrained(..., use_safetensors=False), then save_pretrained",
        )
    return EnvironmentProblem(
        f"{owner}: the weights are not at {absent[0]}",
        hint="download them as safetensors, or save them there with save_pretrained",
    )

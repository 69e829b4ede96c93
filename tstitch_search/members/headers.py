"""Whether the safetensors files of a model are all there and whole, by their headers. Imports no torch."""

import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tstitch_search.config.models.denoiser import PICKLES
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.files import require_itself
from tstitch_search.members.weights import WEIGHTS, names_in, unwrapped, weight_files, weight_map

AGAIN = "fetch the folder again, for example with `hf download`"
PLAINLY = "save the model itself: model._orig_mod.save_pretrained(FOLDER), or model.module"
# How files begin that torch.save wrote: a zip, and before torch 1.6 a pickle.
PICKLED = (b"PK\x03\x04", b"\x80\x02")


def count_parameters(
    folder: Path, owner: str, *, required: bool, stem: str = WEIGHTS, variant: str | None = None
) -> int | None:
    """Number of values in the weights that diffusers loads from `folder`; None when they are absent and not required.

    `stem`: how their names begin. Raises EnvironmentProblem naming the file when some are missing, are none, are not of
    the length that their header tells, or are named as the model does not know them.
    """
    files = weight_files(folder, owner, stem, variant)
    if absent := [file for file in files if not file.exists()]:
        if required:
            raise _missing(folder, owner, stem, variant, absent, len(files))
        return None
    shapes = {name: shape for file in files for name, shape in shapes_of(file, owner).items()}
    if unknown := weight_map(folder, owner, stem, variant).keys() - shapes.keys():
        raise EnvironmentProblem(f"{owner}: no file in {folder} holds {min(unknown)}, which its index names", AGAIN)
    wrapped = next((name for name in shapes if is_wrapped([name])), None)
    if wrapped and (stem != WEIGHTS or len(files) > 1):
        why = "a compiled or parallel model was saved, which is loaded of denoisers and VAEs in one file only"
        raise EnvironmentProblem(f"{owner}: {folder} holds weights named {wrapped}: {why}", PLAINLY)
    return sum(map(prod, shapes.values()))


def is_wrapped(names: Iterable[str]) -> bool:
    """Whether a model was saved inside a wrapper, so that its tensors have other names than the model's."""
    return any(unwrapped(name) != name for name in names)


def shapes_of(file: Path, owner: str) -> Mapping[str, list[int]]:
    """The shape of every tensor; the library holds the header against the length of the file."""
    require_itself(file, owner)
    try:
        with safe_open(file, "np") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        with file.open("rb") as stream:
            begins = stream.read(4)
        if begins.startswith(PICKLED):
            raise EnvironmentProblem(
                f"{owner}: {file} is a pickle that torch.save wrote, not safetensors: it could run code",
                hint="where you trust it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), ...)",
            ) from error
        raise EnvironmentProblem(
            f"{owner}: {file} is damaged or cut off: its {file.stat().st_size:,} bytes are not what a safetensors "
            "header at its beginning says",
            hint=AGAIN,
        ) from error


def _missing(
    folder: Path, owner: str, stem: str, variant: str | None, absent: list[Path], n_files: int
) -> EnvironmentProblem:
    """What to say of weights that are not there, going by what is there in their place."""
    if len(absent) < n_files:
        return EnvironmentProblem(
            f"{owner}: {len(absent)} of {n_files} parts of the weights are missing, the first is {absent[0]}", AGAIN
        )
    names = names_in(folder)
    there = _variants(names, stem) - {variant}
    if there and n_files == 1:
        named = ", ".join(f"variant {name!r}" if name else "plain ones" for name in sorted(there, key=str))
        wanted = f"no variant {variant!r} of the weights" if variant else "no plain weights"
        return EnvironmentProblem(
            f"{owner}: {folder} holds {wanted}, but {named}; expected {absent[0].name}",
            hint="of a denoiser say `variant: NAME`, or leave it out for plain ones; save others with save_pretrained",
        )
    if pickled := sorted(name for name in names if name.endswith(PICKLES)):
        return EnvironmentProblem(
            f"{owner}: {folder} holds pickled weights only, {pickled[0]}, which are not loaded: they could run code",
            hint="where you trust them: from_pretrained(..., use_safetensors=False), then save_pretrained",
        )
    return EnvironmentProblem(
        f"{owner}: the weights are not at {absent[0]}",
        hint="download them as safetensors, or save them there with save_pretrained",
    )


def _variants(names: Iterable[str], stem: str) -> set[str | None]:
    """The variants of the weights in files of these names, whole or in parts; None for plain ones."""
    form = re.compile(rf"{stem}(?:\.(.+?))?(?:-\d+-of-\d+)?\.safetensors")
    return {found[1] for name in names if (found := form.fullmatch(name))}

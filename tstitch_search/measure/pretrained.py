"""Networks of transformers: from a folder of save_pretrained, or a hub id, `owner/name` or `owner/name@commit`."""

from pathlib import Path
from typing import Any

import torch

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.weights import first_line


def load_pretrained(what: str, kind: Any, name: str, near: Path, hint: str) -> Any:
    """The network of the class `kind` in the folder `name` relative to `near`, or else with this hub id, in float32.

    Raises EnvironmentProblem, which calls it `what` and gives the hint, when it cannot be had, or when weights lack.
    """
    try:
        source, revision = _located(name, near)
        model, report = kind.from_pretrained(source, revision=revision, output_loading_info=True)
    except Exception as error:  # transformers raises nearly anything for a damaged or foreign folder
        raise _unloadable(what, name, near, hint, error) from error
    if missing := sorted(report["missing_keys"]):
        raise EnvironmentProblem(
            f"the {what} {name!r} has no weights for {missing[0]} and {len(missing) - 1} others", hint=hint
        )
    return model.float().requires_grad_(False).eval()


def load_processor(what: str, kind: Any, names: tuple[str, ...], near: Path, hint: str) -> Any:
    """The processor of the class `kind` from the first of `names` that has one. Raises EnvironmentProblem."""
    for name in names:
        try:
            source, revision = _located(name, near)
            return kind.from_pretrained(source, revision=revision)
        except Exception as error:  # as above
            problem = _unloadable(what, name, near, hint, error)
    raise problem


def _located(name: str, near: Path) -> tuple[str, str]:
    if (near / name).is_dir():
        return str(near / name), "main"
    source, _, revision = name.partition("@")
    return source, revision or "main"


def _unloadable(what: str, name: str, near: Path, hint: str, error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"the {what} {name!r} can be loaded neither from the folder {near / name} nor from the hub: "
        f"{type(error).__name__}: {first_line(error)}",
        hint=hint,
    )


def squared(images: torch.Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Float (n, 3, size, size) of uint8 images (n, 3, h, w), resized by bicubic interpolation and normalised."""
    x = torch.nn.functional.interpolate(images.float() / 255, (size, size), mode="bicubic", antialias=True)
    shift, scale = (torch.tensor(values, device=images.device)[None, :, None, None] for values in (mean, std))
    return (x.clamp(0, 1) - shift) / scale

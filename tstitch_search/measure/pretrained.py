"""Networks of transformers: from a folder of save_pretrained, or a hub id, `owner/name` or `owner/name@commit`."""

from pathlib import Path
from typing import Any

import torch

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.of_transformers import MODEL, PROCESSOR, hint_for, locate_pretrained, unloadable
from tstitch_search.members.weights import first_line


def load_pretrained(what: str, kind: Any, name: str, near: Path) -> Any:
    """The network of the class `kind` in the folder `name` relative to `near`, or else with this hub id, in float32.

    Raises EnvironmentProblem, which calls it `what`, when it cannot be had, or when weights lack.
    """
    source, revision = locate_pretrained(what, name, near, MODEL)
    try:
        model, report = kind.from_pretrained(source, revision=revision, output_loading_info=True)
    except Exception as error:  # transformers raises nearly anything for a damaged or foreign folder
        raise unloadable(what, name, near, f"{type(error).__name__}: {first_line(error)}") from error
    if missing := sorted(report["missing_keys"]):
        raise EnvironmentProblem(
            f"the {what} {name!r} has no weights for {missing[0]} and {len(missing) - 1} others", hint_for(name)
        )
    return model.float().requires_grad_(False).eval()


def load_processor(what: str, kind: Any, names: tuple[str, ...], near: Path) -> Any:
    """The processor of the class `kind` from the first of `names` that has one. Raises EnvironmentProblem."""
    for name in names:
        try:
            source, revision = locate_pretrained(what, name, near, PROCESSOR)
            return kind.from_pretrained(source, revision=revision)
        except EnvironmentProblem as error:
            problem = error
        except Exception as error:  # as above
            problem = unloadable(what, name, near, f"{type(error).__name__}: {first_line(error)}")
    raise problem


def squared(images: torch.Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Float (n, 3, size, size) of uint8 images (n, 3, h, w), resized by bicubic interpolation and normalised."""
    x = torch.nn.functional.interpolate(images.float() / 255, (size, size), mode="bicubic", antialias=True)
    shift, scale = (torch.tensor(values, device=images.device)[None, :, None, None] for values in (mean, std))
    return (x.clamp(0, 1) - shift) / scale

"""Whether a network of transformers can be had, found out in seconds and without loading it. Imports no torch.

transformers itself asks a hub that does not answer again and again, for half a minute.
"""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, OfflineModeIsEnabled

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.weights import TIMEOUT_S, first_line

# One of these is there where a model is, and where a processor is.
MODEL = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
PROCESSOR = ("preprocessor_config.json", "processor_config.json")


def locate_pretrained(what: str, name: str, near: Path, files: Sequence[str]) -> tuple[str, str]:
    """The folder `name` relative to `near`, or the repository of this hub id, and its revision; it has one of `files`.

    A hub id may be pinned: `owner/name@commit`. Nothing is fetched. Raises EnvironmentProblem, which calls it `what`.
    """
    folder = near / name
    if folder.is_dir():
        if any((folder / file).is_file() for file in files):
            return str(folder), "main"
        raise EnvironmentProblem(f"the {what} {name!r}: the folder {folder} has no {files[0]}", hint_for(name))
    source, _, revision = name.partition("@")
    revision = revision or "main"
    if problem := _problem(source, revision, files):
        raise unloadable(what, name, near, problem)
    return source, revision


def unloadable(what: str, name: str, near: Path, problem: str) -> EnvironmentProblem:
    """What to say of a network that cannot be had: where it was looked for, how to get it, what works without."""
    return EnvironmentProblem(
        f"the {what} {name!r} can be loaded neither from the folder {near / name} nor from the hub: {problem}",
        hint_for(name),
    )


def hint_for(name: str) -> str:
    """How to get a network, and what works without."""
    source, _, revision = name.partition("@")
    pinned = f" --revision {revision}" if revision else ""
    return (
        f"get it once with `hf download {source}{pinned}` where there is a network, or give a folder that "
        "save_pretrained made; psnr and ssim need no weights"
    )


def _problem(source: str, revision: str, files: Sequence[str]) -> str | None:
    """Why the repository does not give one of `files`; None if one is in the cache already, or on the hub."""
    try:
        if any(isinstance(try_to_load_from_cache(source, file, revision=revision), str) for file in files):
            return None
        if any(_is_on_hub(source, revision, file) for file in files):
            return None
    except OfflineModeIsEnabled:
        return "it was not fetched yet, and HF_HUB_OFFLINE is set"
    except GatedRepoError:
        return "its owner asks you to accept terms on its page, then log in with `hf auth login`"
    except Exception as error:  # no valid id, no such repository, no network: each has types of its own
        return f"{type(error).__name__}: {first_line(error)}"
    return f"its repository has no {files[0]}"


def _is_on_hub(source: str, revision: str, file: str) -> bool:
    try:
        get_hf_file_metadata(hf_hub_url(source, file, revision=revision), timeout=TIMEOUT_S)
    except EntryNotFoundError:
        return False
    return True

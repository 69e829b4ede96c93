"""Where the weights of a member are, and what their files say without being loaded. Imports no torch."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, list_repo_files, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

from tstitch_search.config.models import DenoiserConfig
from tstitch_search.config.models.denoiser import SINGLE_FILES
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.files import what_instead
from tstitch_search.zoo import PREFIX, embedded_path

# How long the hub may take to answer.
TIMEOUT_S = 5.0
# How the names of weight files begin: of denoisers and VAEs (diffusers), of text encoders (transformers).
WEIGHTS, ENCODER_WEIGHTS = "diffusion_pytorch_model", "model"
# What wrappers put before the name of every tensor.
COMPILED, PARALLEL = "_orig_mod.", "module."

# What says of a denoiser's repository what it was trained for.
BESIDE = tuple(f"{part}/*config.json" for part in ("scheduler", "vae", "text_encoder", "text_encoder_2"))
# Where the configuration of a denoiser in one file may be, in a pipeline or by itself.
SLOTS = ("transformer", "unet", "")


def locate(text: str, near: Path, owner: str, files: Sequence[str], revision: str | None = None) -> Path:
    """The local folder that `text` means: `zoo:FAMILY/...`, a folder relative to `near`, or a hub id.

    A commit, tag or branch of a hub repository may follow its id, as in `owner/name@commit`, or be its `revision`. Only
    its `files` (patterns) are fetched, and nothing at all when HF_HUB_OFFLINE is set. Raises EnvironmentProblem saying
    whose files are missing and where they were looked for.
    """
    if text.startswith(PREFIX):
        return _embedded(text, owner)
    if (near / text).is_dir():
        return near / text
    try:
        repository, _, pinned = text.partition("@")
        return _snapshot(repository, revision or pinned or None, tuple(files))
    except GatedRepoError as error:
        raise EnvironmentProblem(
            f"{owner}: {text!r} is gated: its owner asks you to accept terms, and to say who you are",
            hint="accept them on its page on the hub, then `hf auth login`",
        ) from error
    except (OSError, ValueError) as error:  # huggingface_hub: not found, gated, no network; ValueError: no valid id
        folder = os.path.normpath(near / text)
        if text.startswith((".", "/")):
            hint = "correct the path, or put there what belongs there"
            raise EnvironmentProblem(f"{owner}: there is no folder {folder}", hint) from error
        why = "it was not fetched yet, and HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else first_line(error)
        raise EnvironmentProblem(
            f"{owner}: {text!r} is neither the folder {folder} nor to be had from the hub: {why}",
            hint="correct the path or hub id, or download it once while online",
        ) from error


def _snapshot(repository: str, revision: str | None, files: tuple[str, ...]) -> Path:
    """The folder of the repository's `files`: from the hub where it answers, which is asked once, else from the cache.

    snapshot_download itself asks a hub that does not answer again and again, for half a minute. Raises what it does.
    """
    found = partial(snapshot_download, repository, revision=revision, allow_patterns=list(files))
    silent = None if HF_HUB_OFFLINE else _silence_of(repository, revision)
    if silent is None:
        return Path(found())
    try:
        return Path(found(local_files_only=True))
    except LocalEntryNotFoundError:
        raise OSError(f"it was not fetched yet, and the hub does not answer ({silent})") from None


@cache
def _silence_of(repository: str, revision: str | None) -> str | None:
    """Why the hub does not answer; None where it does, whatever it says."""
    try:
        HfApi().repo_info(repository, revision=revision, timeout=TIMEOUT_S)
    except (HfHubHTTPError, ValueError):  # it has no such repository, or that is no valid id
        return None
    except Exception as error:  # no network: the HTTP library's own types
        return first_line(error)
    return None


def member_folder(denoiser: DenoiserConfig, near: Path, *, with_weights: bool) -> Path:
    """The local folder of the denoiser's weights and configuration; of a hub repository only their files are fetched.

    Raises EnvironmentProblem when there is none, ConfigError for a file in its place.
    """
    assert denoiser.weights is not None  # of a study that makes images
    owner = f"denoiser {denoiser.name!r}"
    if (near / denoiser.weights).is_file():
        raise ConfigError(
            f"{owner}: {denoiser.weights} is one file, expected a folder with config.json",
            hint="format: single_file for one that diffusers loads; dit, uvit or ldm for the original's",
        )
    prefix = f"{denoiser.subfolder}/" if denoiser.subfolder else ""
    weights = weight_patterns(denoiser.variant, prefix) if with_weights else []
    files = [f"{prefix}config.json", f"{prefix}scheduler*", *BESIDE, *weights]
    return locate(denoiser.weights, near, owner, files, denoiser.revision) / prefix


def config_folder(denoiser: DenoiserConfig, near: Path, owner: str) -> Path:
    """The folder whose config.json says what the denoiser in a file is. Raises ConfigError where there is none."""
    if denoiser.config is None:
        raise ConfigError(f"{owner}: nothing says what model its file holds", hint="config: OWNER/NAME of a repository")
    slots = [denoiser.subfolder] if denoiser.subfolder else SLOTS
    files = [f"{slot}/config.json".removeprefix("/") for slot in slots]
    folder = locate(denoiser.config, near, owner, [*files, *BESIDE])
    found = next((folder / slot for slot, file in zip(slots, files, strict=True) if (folder / file).exists()), None)
    if found is None:
        raise ConfigError(
            f"{owner}: {folder} holds none of {', '.join(files)}, which would say what model its file holds",
            hint="say where it is: config: OWNER/NAME, subfolder: NAME",
        )
    return found


def locate_file(
    text: str, file: str | None, near: Path, owner: str, revision: str | None = None, *, fetch: bool = True
) -> Path:
    """The one safetensors file that `text` means: the file itself, or `file` in that folder or hub repository.

    Without `fetch` a file of a named repository is not fetched, and need not be there. Raises EnvironmentProblem.
    """
    if (near / text).is_file():
        return near / text
    if file is None and text.endswith(SINGLE_FILES):
        raise EnvironmentProblem(
            f"{owner}: there is no file {os.path.normpath(near / text)}",
            hint="correct the path, or name a hub repository and its `file`",
        )
    wanted = file or "*.safetensors"
    folder = locate(text, near, owner, [wanted] if fetch else [], revision)
    if file and not fetch and is_of_hub(folder):
        return folder / file
    found = sorted(folder.glob(wanted))
    if len(found) != 1:
        others = ", ".join(path.name for path in found or sorted(folder.glob("*"))) or "none"
        raise EnvironmentProblem(
            f"{owner}: expected one {f'file {file}' if file else 'safetensors file'} in {folder}, found {others:.300}",
            hint="name one of them: {weights: FOLDER, file: NAME.safetensors}",
        )
    return found[0]


def names_in(folder: Path) -> set[str]:
    """The names of the files in the folder; of a hub's, which are fetched as needed, those of its repository too."""
    names = {file.name for file in folder.glob("*")}
    if is_of_hub(folder) and not HF_HUB_OFFLINE:
        with suppress(Exception):  # only to say what is there: without an answer it is what was fetched
            repository, _, commit, *inside = folder.resolve().relative_to(Path(HF_HUB_CACHE).resolve()).parts
            files = map(Path, list_repo_files("/".join(repository.split("--", 2)[1:]), revision=commit))
            names |= {file.name for file in files if file.parent == Path(*inside)}
    return names


def is_of_hub(folder: Path) -> bool:
    """Whether the folder is where files from the hub are kept, so that those not there yet may still be fetched."""
    return folder.resolve().is_relative_to(Path(HF_HUB_CACHE).resolve())


def _embedded(text: str, owner: str) -> Path:
    folder = embedded_path(text)
    if folder.is_dir():
        return folder
    there = sorted(each.name for each in folder.parent.glob("*") if each.is_dir())
    known = f"; {text.rpartition('/')[0]} has {', '.join(there)}" if there else ""
    raise EnvironmentProblem(
        f"{owner}: the embedded {text} is not at {folder}{known}",
        hint="correct its name, or reinstall the package",
    )


def first_line(error: Exception) -> str:
    """The first line of the error's message, or its type when it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_json(path: Path, owner: str) -> dict[str, Any]:
    """The JSON object in `path`. Raises EnvironmentProblem when it cannot be read, ConfigError when it is no object."""
    try:
        content = path.read_bytes()
        if instead := what_instead(content):
            raise ConfigError(f"{owner}: {path} {instead[0]}", instead[1])
        value = json.loads(content)
    except OSError as error:
        raise EnvironmentProblem(
            f"{owner}: cannot read {path}: {error.strerror}",
            hint="check the path; for a repository of several parts give `subfolder`",
        ) from error
    except ValueError as error:
        raise ConfigError(f"{owner}: {path} is not JSON: {error}", hint="fetch or write the file again") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{owner}: {path} holds a {type(value).__name__}, expected a JSON object")
    return value


def weight_patterns(variant: str | None = None, prefix: str = "") -> list[str]:
    """How the weights of a diffusers folder are called: in one file, or in parts with an index of them."""
    dotted = f".{variant}" if variant else ""
    stem = f"{prefix}{WEIGHTS}"
    return [f"{stem}{dotted}.safetensors", f"{stem}{dotted}-*.safetensors", f"{stem}.safetensors.index{dotted}.json"]


def weight_files(folder: Path, owner: str, stem: str = WEIGHTS, variant: str | None = None) -> list[Path]:
    """The safetensors files diffusers loads from `folder`, whether they are there or not; or the file that it is."""
    if folder.is_file():
        return [folder]
    whole = f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors"
    shards = set(weight_map(folder, owner, stem, variant).values()) or {whole}
    return [folder / shard for shard in sorted(shards)]


def weight_map(folder: Path, owner: str, stem: str = WEIGHTS, variant: str | None = None) -> dict[str, str]:
    """The file that holds each tensor, by the index of weights that come in parts; empty for weights in one file."""
    index = folder / (f"{stem}.safetensors.index.{variant}.json" if variant else f"{stem}.safetensors.index.json")
    if not index.exists():
        return {}
    found = read_json(index, owner).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise ConfigError(f"{owner}: {index} has no weight_map from tensors to files", hint="fetch the folder again")
    return found


def unwrapped(name: str) -> str:
    """The name of a tensor as the model knows it, without what torch.compile and data parallel training put before."""
    return name.replace(COMPILED, "").removeprefix(PARALLEL)


def weights_sha256(files: Sequence[Path]) -> str:
    """The sha256 of the one weight file, or of the list of the shards' sha256, so that both can be checked by hand."""
    hashes = [_sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""What the files of a proxy set say: a label, a prompt or a control image for each image of a study.

Entry i of a file belongs to image i: the proxy set takes the first entries, the confirmation set those after them, so
that the two never share one and a smaller proxy set is the beginning of a larger one.
"""

import csv
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tstitch_search.config.groups import check_groups
from tstitch_search.config.models import ProxyFiles, ProxySetConfig, SpaceConfig
from tstitch_search.config.prompt_sets import Prompt, lines_of, parse_prompts
from tstitch_search.errors import ConfigError, TooFewEntries
from tstitch_search.files import what_instead

# Labels that need no file.
DRAWN = ("balanced", "random")


def check_takes(config: ProxySetConfig, space: SpaceConfig) -> None:
    """Nothing, when the pipeline takes all that is given, and what it needs is there.

    Raises ConfigError, its message beginning with the key.
    """
    takes, needs = space.traits.takes, space.traits.needs
    who = f"the family {space.family!r}" if space.family else "a pipeline for prompts"
    given = [key for key in ("prompts", "negative_prompt", "control_images") if getattr(config, key) is not None]
    if refused := [key for key in given if key not in takes]:
        raise ConfigError(
            f"{refused[0]}: {who} does not take it, only {', '.join(takes)}",
            hint=f"remove proxy_set.{refused[0]}",
        )
    if config.inputs and "prompts" not in takes:
        raise ConfigError(f"inputs: {who} does not take them", hint="remove proxy_set.inputs")
    if config.prompt_column is not None and config.prompts is None:
        raise ConfigError("prompt_column: there is no file of prompts to have it", hint="name one as proxy_set.prompts")
    if missing := [key for key in needs if key not in given]:
        raise ConfigError(
            f"{missing[0]}: missing; {who} makes its images from {', '.join(needs)}",
            hint=f"name them in proxy_set.{missing[0]}",
        )


def read_proxy_files(config: ProxySetConfig, n_classes: int, n_search: int, n_confirm: int, near: Path) -> ProxyFiles:
    """The entries of both sets; paths are relative to `near`.

    Raises ConfigError, its message beginning with the key, for a file that cannot be read, holds something else or too
    little.
    """
    hashes: list[tuple[str, str]] = []
    folder = config.control_images

    def entries(key: str, parse: Callable[[Path, bytes], Sequence[Any]]) -> tuple[Any, ...]:
        path = near / getattr(config, key)
        content = _read(key, path)
        hashes.append((key, hashlib.sha256(content).hexdigest()))
        return _enough(key, path, _parsed(key, path, content, parse), n_search, n_confirm)

    def labels_in(_: Path, content: bytes) -> list[int]:
        return parse_labels(content.decode("utf-8-sig"), n_classes)

    groups = None if config.groups is None else config.groups.column

    def prompts_in(path: Path, content: bytes) -> list[Prompt]:
        return parse_prompts(path, content, config.prompt_column, groups)

    prompts: tuple[Prompt, ...] | None = None if config.prompts is None else entries("prompts", prompts_in)
    categories = tuple(prompt.category for prompt in prompts or ())
    labels = None if config.labels in DRAWN else entries("labels", labels_in)
    confirmed = slice(n_search, n_search + n_confirm)
    check_groups(config, categories[confirmed], range(n_classes) if labels is None else labels[confirmed], n_confirm)
    return ProxyFiles(
        n_search,
        labels=labels,
        prompts=None if prompts is None else tuple(prompt.text for prompt in prompts),
        categories=categories if any(categories) else None,
        control_images=None if folder is None else _images("control_images", near / folder, n_search, n_confirm),
        sha256=tuple(hashes),
        inputs=tuple((n, _images(f"inputs.{n}", near / at, n_search, n_confirm)) for n, at in config.inputs.items()),
    )


def parse_labels(text: str, n_classes: int) -> list[int]:
    """One class label in [0, n_classes) per line. Raises ValueError naming the line."""
    labels = []
    for number, line in enumerate(lines_of(text), start=1):
        if not (line.isascii() and line.isdigit() and len(line) < 10 and int(line) < n_classes):
            raise ValueError(f"line {number} is {line!r:.60}, expected a class label from 0 to {n_classes - 1}")
        labels.append(int(line))
    return labels


def _read(key: str, path: Path) -> bytes:
    try:
        if not path.is_file():
            known = f"{', '.join(DRAWN)} or a file, and " if key == "labels" else "a file, and "
            raise ConfigError(
                f"{key}: expected {known}{str(path)!r:.200} is none", hint="paths are relative to the study file"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ConfigError(f"{key}: cannot read {str(path)!r:.200}: {error}", hint="check the path") from error


def _parsed(key: str, path: Path, content: bytes, parse: Callable[[Path, bytes], Sequence[Any]]) -> Sequence[Any]:
    if instead := what_instead(content):
        raise ConfigError(f"{key}: {path} {instead[0]}", instead[1])
    try:
        return parse(path, content)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key}: {path} is not UTF-8 text", hint="save the file as UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{key}: {path}: {error}", hint="correct the file: one entry for each image") from error


def _images(key: str, folder: Path, n_search: int, n_confirm: int) -> tuple[Path, ...]:
    from tstitch_search.real_images import list_images  # numpy and Pillow, which `pick` does without

    try:
        paths = [folder / name for name in list_images(folder)]
    except ConfigError as error:
        raise ConfigError(f"{key}: {error.message}", error.hint) from error
    return _enough(key, folder, paths, n_search, n_confirm)


def _enough(key: str, path: Path, entries: Sequence[Any], n_search: int, n_confirm: int) -> tuple[Any, ...]:
    """The entries, if they are enough; what is beyond the study's images is for `confirm.until_lossless`."""
    if len(entries) < n_search + n_confirm:
        raise TooFewEntries(
            f"{key}: {path} holds {len(entries)}, expected at least {n_search + n_confirm}: one for each of the "
            f"{n_search} images of the search and the {n_confirm} of the confirmation",
            hint="add some, or lower quality.n_images or confirm.n_images",
        )
    return tuple(entries)

"""Files that are whole or absent. Standard library only."""

import os
from contextlib import suppress
from pathlib import Path

from tstitch_search.errors import EnvironmentProblem


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write `content` so that a crash leaves the old file or the new one, never half of it."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror}", hint="make room or choose a writable folder, then run again"
        ) from error


def cache_folder(name: str) -> Path:
    """Where the user's machine keeps what can be made again, under `$XDG_CACHE_HOME`; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tstitch-search" / name


def make_folder(path: Path) -> None:
    """Create `path` and its parents; an existing folder is fine. Raises EnvironmentProblem when that is refused."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot create the folder {path}: {error.strerror}", hint="choose a writable folder with --output"
        ) from error


# What is left in a file's place by downloads that went wrong: how it begins, what it is, what to do.
_STAND_INS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "git lfs pull, or download the file"),
    (b"<!doctype html", "is a web page, saved in place of the file", "download the file itself, not the page about it"),
    (b"<html", "is a web page, saved in place of the file", "download the file itself, not the page about it"),
    (b"<?xml", "is an XML document, such as a server's error message", "download the file again"),
)
_N_LOOKED_AT = 200  # bytes


def what_instead(content: bytes) -> tuple[str, str] | None:
    """What a file with this content is instead of anything we read, and what to do; None when nothing says so."""
    if not content:
        return "is empty", "download or write the file again"
    start = content[:_N_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next(((what, hint) for begins, what, hint in _STAND_INS if start.startswith(begins)), None)


def require_itself(path: Path, owner: str) -> None:
    """Nothing, when the file may be what its name says or cannot be read. Raises EnvironmentProblem with what it is."""
    try:
        with path.open("rb") as stream:
            instead = what_instead(stream.read(_N_LOOKED_AT))
    except OSError:  # for whoever reads it to say
        return
    if instead:
        raise EnvironmentProblem(f"{owner}: {path} {instead[0]}", instead[1])

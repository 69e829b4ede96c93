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

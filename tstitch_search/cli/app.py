"""The application that every verb is registered with, and the options that several verbs share."""

import os
import shutil
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from tstitch_search import __version__
from tstitch_search.api import run_path, table_path

# Bytes that must be free where a file is to be written.
LEAST_ROOM = 2**20
# What is typed to call us, for lines that are copied from the screen.
COMMAND = "uv run tstitch-search" if "UV_RUN_RECURSION_DEPTH" in os.environ else "tstitch-search"
# Names of films, which no package of ours writes.
FILMS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
# How much is said on stderr while a verb works.
verbosity: ContextVar[Literal["quiet", "normal", "verbose"]] = ContextVar("verbosity", default="normal")

# The verbs as `--help` lists them; those of every day in the order in which they are used.
GROUPS = {
    "Every day": ("init", "check", "plan", "run", "status", "report", "pick"),
    "Tables and run folders": (
        "show",
        "diff",
        "generate",
        "merge",
        "compare",
        "requality",
        "export",
        "schema",
        "repair",
    ),
    "Devices": ("calibrate", "recalibrate", "verify"),
    "Research": ("analyze", "finetune"),
}


class Grouped(TyperGroup):
    """The verbs under the titles of GROUPS, in plain text: typer's own panels need rich, which takes time to load."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = formatter.width - 6 - max(map(len, self.commands))
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(verb, self.commands[verb].get_short_help_str(width)) for verb in verbs])


app = typer.Typer(
    cls=Grouped,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help takes a third of the time
    context_settings={"max_content_width": 100},
    help="Find how to divide sampling steps among diffusion denoisers: a lookup table of time against quality.",
)


def as_table(given: Path) -> Path:
    """The lookup table that is meant by a path on the command line."""
    return table_path(given)


def _folder(given: Path) -> Path:
    return run_path(given)


StudyPath = Annotated[Path, typer.Argument(help="Study file, for example studies/quickstart.yaml.", metavar="STUDY")]
TablePath = Annotated[Path, typer.Argument(help="A run folder or its lookup.json.", metavar="RUN", callback=as_table)]
RunPath = Annotated[Path, typer.Argument(help="A run folder or its lookup.json.", metavar="RUN", callback=_folder)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one setting, for example --set quality.n_images=200.", metavar="KEY=VALUE"),
]
Budget = Annotated[str | None, typer.Option(help="Search no longer than this device time: 90s, 15m, 2h.")]
Workers = Annotated[int | None, typer.Option(help="Number of workers.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; default reports/STUDY-NAME.")]
OtherStudy = Annotated[
    Path | None, typer.Option(help="Study file, where the table's own paths lead nowhere.", metavar="STUDY")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table for people.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"tstitch-search {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say a line for each chunk of images.")] = False,
) -> None:
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other")
    verbosity.set("quiet" if quiet else "verbose" if verbose else "normal")


def in_front(arguments: list[str]) -> list[str]:
    """The command line with `--quiet` and `--verbose` in front of the verb, for people give them anywhere."""
    return sorted(arguments, key=lambda argument: argument not in ("--quiet", "--verbose"))


def said() -> bool | Literal["verbose"]:
    """What `--quiet` and `--verbose` ask for, as the `progress` of a call."""
    asked = verbosity.get()
    return "verbose" if asked == "verbose" else asked == "normal"


def overrides(settings: list[str] | None, budget: str | None, workers: int | None, device: str | None) -> list[str]:
    """The flags as `key=value` settings; a flag wins over --set."""
    flags = {"search.device_seconds": budget, "workers.n_workers": workers, "workers.device": device}
    return [*(settings or []), *(f"{key}={value}" for key, value in flags.items() if value is not None)]


def require_output(path: Path, formats: Sequence[str] = ()) -> None:
    """Nothing, when a file can be written at `path`: asked before the work whose result it is to hold.

    `formats`: the endings that it may have. Raises ConfigError or EnvironmentProblem.
    """
    from tstitch_search.errors import ConfigError, EnvironmentProblem

    if formats and path.suffix.lower() not in formats:
        kinds = ", ".join(formats)
        hint = "clips are written as animated .webp, .png or .gif; no film" if path.suffix.lower() in FILMS else ""
        raise ConfigError(f"--output: got {str(path)!r:.200}, expected a name that ends in one of {kinds}", hint=hint)
    if path.is_dir():
        raise ConfigError(f"--output: {path} is a folder, expected the name of a file")
    if not path.parent.is_dir():
        raise ConfigError(f"--output: there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise EnvironmentProblem(f"--output: {path} cannot be written", hint="choose a writable folder")
    if shutil.disk_usage(path.parent).free < LEAST_ROOM:
        raise EnvironmentProblem(f"--output: there is no room on the disk of {path.parent}", hint="make room")


def seconds(text: str | None) -> float | None:
    """A time as typed, in seconds. Raises ConfigError for anything else."""
    from tstitch_search.config.quantities import Seconds

    return _quantity(text, Seconds, "a time, expected for example 0.8s, 250ms or 2m")


def share(text: str | None) -> float | None:
    """A share as typed, 2% as 0.02. Raises ConfigError for anything else."""
    from tstitch_search.config.quantities import Loss

    return _quantity(text, Loss, "a share, expected for example 2% or 0.02")


def _quantity(text: str | None, kind: Any, expected: str) -> float | None:
    from pydantic import TypeAdapter, ValidationError

    from tstitch_search.errors import ConfigError

    try:
        return None if text is None else float(TypeAdapter(kind).validate_python(text))
    except ValidationError as error:
        (problem,) = error.errors(include_url=False)[:1]
        if problem["type"] == "value_error" and " write " in problem["msg"]:
            raise ConfigError(problem["msg"].removeprefix("Value error, ")) from error
        raise ConfigError(f"{text!r} is not {expected}") from error

"""A run from the command line: what is said meanwhile, and how it ends."""

import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tstitch_search.api import load_study, run, run_folder
from tstitch_search.cli.app import COMMAND, said
from tstitch_search.cli.json_log import JsonLog, line, log, log_error
from tstitch_search.errors import TStitchError
from tstitch_search.signals import stop_on_signals

if TYPE_CHECKING:
    from tstitch_search.config import Study
    from tstitch_search.study_run import Result


def run_and_show(
    path: Path, settings: Sequence[str], output: Path | None, *, as_json: bool, json_log: bool, tracker: str | None
) -> None:
    """Run the study and print its outcome. Raises typer.Exit when it was interrupted or allocations failed."""
    try:
        result = _run(load_study(path, settings), output, json_log, tracker)
    except KeyboardInterrupt as stop:
        raise interrupted(stop, json_log) from None
    except TStitchError as error:
        if not json_log:
            raise
        log_error(error)
        raise typer.Exit(error.exit_code) from None
    from tstitch_search.cli.tables import print_result

    print_result(result, as_json)
    if result.n_failed:
        raise typer.Exit(4)


def _run(study: "Study", output: Path | None, json_log: bool, tracker: str | None) -> "Result":
    folder, reporter = run_folder(study, output), None
    if tracker:
        from tstitch_search.report.trackers import tracker as opened

        reporter = opened(tracker, folder, study.config.name)
    if not json_log:
        return run(study, folder, reporter=reporter, progress=said())
    with stop_on_signals(lambda text: line("note", text=text)) as is_stopping:
        return run(study, folder, reporter=reporter, progress=JsonLog(), is_stopping=is_stopping)


def interrupted(stop: KeyboardInterrupt, json_log: bool = False) -> typer.Exit:
    """How a command ends that `stop` ended, with the exit code of its signal; says how to go on."""
    _say(f"interrupted; the same command goes on from here: {COMMAND} {shlex.join(sys.argv[1:])}", json_log)
    return typer.Exit(128 + (stop.args[0] if stop.args else signal.SIGINT))


def _say(text: str, json_log: bool) -> None:
    if json_log:
        log("note", text=text)
    else:
        print(text, file=sys.stderr)

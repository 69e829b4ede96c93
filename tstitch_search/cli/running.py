"""A run from the command line: what is said meanwhile, Ctrl-C, and how it ends."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import typer

from tstitch_search.cli.app import run_folder
from tstitch_search.cli.display import show_progress
from tstitch_search.cli.json_log import JsonLog, line, log, log_error
from tstitch_search.cli.tables import print_outcome
from tstitch_search.config import load_study
from tstitch_search.errors import TStitchError
from tstitch_search.report.tensorboard import TensorBoard
from tstitch_search.study_run import Outcome, run_study
from tstitch_search.study_run.pool import open_pool
from tstitch_search.study_run.progress import Progress

PROMISE = "finishing what is under way; press Ctrl-C again to stop at once"


def run_and_show(
    path: Path, settings: Sequence[str], output: Path | None, *, as_json: bool, json_log: bool, tensorboard: bool
) -> None:
    """Run the study and print its outcome. Raises typer.Exit when it was interrupted or allocations failed."""
    try:
        outcome = _run(path, settings, output, json_log, tensorboard)
    except KeyboardInterrupt:
        _say(f"interrupted; the same command goes on from here: tstitch-search {' '.join(sys.argv[1:])}", json_log)
        raise typer.Exit(130) from None
    except TStitchError as error:
        if not json_log:
            raise
        log_error(error)
        raise typer.Exit(error.exit_code) from None
    print_outcome(outcome, as_json)
    if outcome.n_failed:
        raise typer.Exit(4)


def _run(path: Path, settings: Sequence[str], output: Path | None, json_log: bool, tensorboard: bool) -> Outcome:
    study = load_study(path, settings)
    folder = run_folder(output, study.config.name)
    with ExitStack() as stack:
        progress: Progress = JsonLog() if json_log else stack.enter_context(show_progress())
        is_stopping = stack.enter_context(stop_on_interrupt(json_log))
        reporter = stack.enter_context(closing(TensorBoard(folder / "tensorboard"))) if tensorboard else None
        return run_study(study, folder, open_pool, progress, is_stopping, reporter)


@contextmanager
def stop_on_interrupt(json_log: bool) -> Iterator[Callable[[], bool]]:
    """Whether the run shall stop, as a function; inside the block the second SIGINT raises KeyboardInterrupt."""
    pressed: list[int] = []

    def on_interrupt(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        said = line("note", text=PROMISE) if json_log else PROMISE
        os.write(2, f"{said}\n".encode())  # a stream may be in the middle of a write just now

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _say(text: str, json_log: bool) -> None:
    if json_log:
        log("note", text=text)
    else:
        print(text, file=sys.stderr)

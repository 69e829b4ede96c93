"""A run from the command line: what is said meanwhile, the signals that stop it, and how it ends."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tstitch_search.cli.app import run_folder
from tstitch_search.cli.display import show_progress
from tstitch_search.cli.json_log import JsonLog, line, log, log_error
from tstitch_search.config import Study, load_study
from tstitch_search.errors import TStitchError

if TYPE_CHECKING:
    from tstitch_search.progress import Progress
    from tstitch_search.study_run import Outcome

PROMISE = "finishing what is under way; press Ctrl-C again to stop at once"
# Who sends SIGTERM or SIGHUP (Slurm, Kubernetes, systemd, a spot machine, a closed terminal) kills soon afterwards.
GRACE_S = 7.0
SHORT_PROMISE = f"{{name}}: finishing what is under way; what takes longer than {GRACE_S:.0f} s is discarded"


def run_and_show(
    path: Path, settings: Sequence[str], output: Path | None, *, as_json: bool, json_log: bool, tensorboard: bool
) -> None:
    """Run the study and print its outcome. Raises typer.Exit when it was interrupted or allocations failed."""
    try:
        outcome = _run(load_study(path, settings), output, json_log, tensorboard)
    except KeyboardInterrupt as stop:
        raise interrupted(stop, json_log) from None
    except TStitchError as error:
        if not json_log:
            raise
        log_error(error)
        raise typer.Exit(error.exit_code) from None
    from tstitch_search.cli.tables import print_outcome

    print_outcome(outcome, as_json)
    if outcome.n_failed:
        raise typer.Exit(4)


def _run(study: Study, output: Path | None, json_log: bool, tensorboard: bool) -> "Outcome":
    """Imports what a run needs only now that there is one: a refused study is refused at once."""
    from tstitch_search.report.tensorboard import TensorBoard
    from tstitch_search.study_run import run_study
    from tstitch_search.study_run.pool import open_pool

    folder = run_folder(output, study.config.name)
    with ExitStack() as stack:
        progress: Progress = JsonLog() if json_log else stack.enter_context(show_progress())
        is_stopping = stack.enter_context(stop_on_signals(json_log))
        reporter = stack.enter_context(closing(TensorBoard(folder / "tensorboard"))) if tensorboard else None
        return run_study(study, folder, open_pool, progress, is_stopping, reporter)


@contextmanager
def stop_on_signals(json_log: bool) -> Iterator[Callable[[], bool]]:
    """Whether the run shall stop, as a function: after SIGINT, SIGTERM or SIGHUP, unless that one is ignored (nohup).

    Inside the block a second signal raises KeyboardInterrupt, and so does the end of GRACE_S after SIGTERM or SIGHUP.
    It leaves the block with the number of the first signal as its argument.
    """
    caught: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        if number != signal.SIGINT:
            signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        promise = PROMISE if number == signal.SIGINT else SHORT_PROMISE.format(name=signal.Signals(number).name)
        said = line("note", text=promise) if json_log else promise
        os.write(2, f"{said}\n".encode())  # a stream may be in the middle of a write just now

    wanted = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in (*wanted, signal.SIGALRM)}
    try:
        yield lambda: bool(caught)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*caught[:1]) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(stop: KeyboardInterrupt, json_log: bool = False) -> typer.Exit:
    """How a command ends that `stop` ended, with the exit code of its signal; says how to go on."""
    _say(f"interrupted; the same command goes on from here: tstitch-search {shlex.join(sys.argv[1:])}", json_log)
    return typer.Exit(128 + (stop.args[0] if stop.args else signal.SIGINT))


def _say(text: str, json_log: bool) -> None:
    if json_log:
        log("note", text=text)
    else:
        print(text, file=sys.stderr)

"""The command line: arguments in, typed calls, tables out. Results go to stdout, everything said meanwhile to stderr.

Exit codes: 0 done, 1 a bug of ours, 2 usage or configuration, 3 the machine lacks something, 4 finished with failed
allocations, 5 nothing satisfies the asked budget or quality, 130 interrupted by
Ctrl-C, 143 ended by SIGTERM, 129 by SIGHUP.
"""

import codecs
import io
import signal
import sys
from typing import NoReturn

from tstitch_search.cli import analysis_verbs as analysis_verbs
from tstitch_search.cli import check_verbs as check_verbs
from tstitch_search.cli import export_verbs as export_verbs
from tstitch_search.cli import finetune_verbs as finetune_verbs
from tstitch_search.cli import folder_verbs as folder_verbs
from tstitch_search.cli import generate_verbs as generate_verbs
from tstitch_search.cli import init_verbs as init_verbs
from tstitch_search.cli import ops_verbs as ops_verbs
from tstitch_search.cli import show_verbs as show_verbs
from tstitch_search.cli import study_verbs as study_verbs
from tstitch_search.cli import table_verbs as table_verbs
from tstitch_search.cli.app import app, in_front
from tstitch_search.errors import TStitchError

# What stands for a character that the terminal does not know.
STAND_INS = {
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    **dict.fromkeys("▁▂▃▄▅▆▇█━╸╺", "#"),
}


def main() -> None:
    """Run the command line; a problem the user can mend is printed without a traceback."""
    speak_every_charset()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminated)
    try:
        app(in_front(sys.argv[1:]))
    except TStitchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def speak_every_charset() -> None:
    """Let a terminal that knows ASCII or cp1252 alone print what it can, and stand-ins for the rest."""
    codecs.register_error("stand-in", _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="stand-in")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(STAND_INS.get(c, "?") for c in error.object[error.start : error.end]), error.end


def _terminated(number: int, frame: object) -> NoReturn:
    """Leave in order, so that workers are stopped and devices freed."""
    sys.exit(128 + number)

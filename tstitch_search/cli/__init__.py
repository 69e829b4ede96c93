"""The command line: arguments in, typed calls, tables out. Results go to stdout, everything said meanwhile to stderr.

Exit codes: 0 done, 1 a bug of ours, 2 usage or configuration, 3 the machine lacks something, 4 finished with failed
allocations, 5 nothing satisfies the asked budget or quality, 130 interrupted.
"""

import signal
import sys
from typing import NoReturn

from tstitch_search.cli.app import app, in_front
from tstitch_search.errors import TStitchError

# The order of the verbs in --help.
# isort: off
from tstitch_search.cli import init_verbs as init_verbs
from tstitch_search.cli import study_verbs as study_verbs
from tstitch_search.cli import check_verbs as check_verbs
from tstitch_search.cli import generate_verbs as generate_verbs
from tstitch_search.cli import export_verbs as export_verbs
from tstitch_search.cli import table_verbs as table_verbs
from tstitch_search.cli import show_verbs as show_verbs
from tstitch_search.cli import finetune_verbs as finetune_verbs
from tstitch_search.cli import folder_verbs as folder_verbs
from tstitch_search.cli import analysis_verbs as analysis_verbs
from tstitch_search.cli import ops_verbs as ops_verbs


def main() -> None:
    """Run the command line; a problem the user can mend is printed without a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(in_front(sys.argv[1:]))
    except TStitchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _terminated(number: int, frame: object) -> NoReturn:
    """Leave in order on SIGTERM, so that workers are stopped and devices freed."""
    sys.exit(128 + number)

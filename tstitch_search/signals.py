"""Signals that stop a run in order, whether it was started by the command line, by a script or in a notebook."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PROMISE = "finishing what is under way; press Ctrl-C again to stop at once"
# Who sends SIGTERM or SIGHUP (Slurm, Kubernetes, systemd, a spot machine, a closed terminal) kills soon afterwards.
GRACE_S = 7.0
SHORT_PROMISE = f"{{name}}: finishing what is under way; what takes longer than {GRACE_S:.0f} s is discarded"


@contextmanager
def stop_on_signals(as_line: Callable[[str], str] = str) -> Iterator[Callable[[], bool]]:
    """Whether the run shall stop, as a function: after SIGINT, SIGTERM or SIGHUP, unless that one is ignored (nohup).

    Inside the block a second signal raises KeyboardInterrupt, and so does the end of GRACE_S after SIGTERM or SIGHUP.
    It leaves the block with the number of the first signal as its argument. `as_line`: how what is said of it is
    written to stderr. In another thread than the main one, which no signal reaches, it never stops.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    caught: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        if number != signal.SIGINT:
            signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        promise = PROMISE if number == signal.SIGINT else SHORT_PROMISE.format(name=signal.Signals(number).name)
        os.write(2, f"{as_line(promise)}\n".encode())  # a stream may be in the middle of a write just now

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

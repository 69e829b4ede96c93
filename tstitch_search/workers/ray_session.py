"""Ray itself, started quietly on this machine or joined where the study or RAY_ADDRESS says; imported nowhere else.

Import `ray` from here: its settings are then in place before it reads them. A study with an address must say so before:
see `study_run/preparation/pool.py`.
"""

import logging
import math
import os
import secrets
import signal
import socket
import threading
from pathlib import Path

from tstitch_search.errors import EnvironmentProblem

# A user's own value stays.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # workers use this interpreter, not one of their own
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a worker without a share of a GPU sees none
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 lets any other process distort our times
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")  # else printed among our output
if not os.environ.get("RAY_ADDRESS"):  # listen on loopback alone, as Ray does by itself off Linux
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray

__all__ = ["FEWER", "check_room", "connect", "count_room", "ray"]

OBJECT_STORE_BYTES = 256 * 2**20  # a chunk's features are a few MB; Ray would reserve 30 % of the memory
KNOCK_S = 10
FEWER = "fewer workers (--workers), or --set workers.pool=inline"
HERE = "room in /dev/shm and /tmp; or " + FEWER
SHORT_TMPDIR = "set TMPDIR to a folder with a short name, such as /tmp: Ray keeps sockets there"
AWAY = "unset RAY_ADDRESS or workers.address; RAY_AUTH_MODE=token, when that Ray asks for one"
CLIENT = "pip install 'ray[client]', or give HOST:PORT of the cluster's head"


def connect(n_cpus: int, address: str | None = None) -> bool:
    """Start Ray with `n_cpus` to give out, or join the one at `address` or RAY_ADDRESS.

    False when this process has it already. The caller's SIGTERM handler stays. Raises EnvironmentProblem when Ray does
    not come up.
    """
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS", "")
    on_sigterm, is_main = signal.getsignal(signal.SIGTERM), threading.current_thread() is threading.main_thread()
    # A closed terminal tells all its processes: what Ray starts here ends with the driver, not before it.
    on_sighup = signal.signal(signal.SIGHUP, signal.SIG_IGN) if is_main else None
    try:
        if address:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _have_token()
            ray.init(
                address="local",
                num_cpus=n_cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # of any type; the machine is at fault
        if address:
            hint = CLIENT if isinstance(error, ImportError) else AWAY
            raise EnvironmentProblem(f"no Ray at {address}: {error}", hint=hint) from error
        hint = SHORT_TMPDIR if "AF_UNIX" in str(error) else HERE
        raise EnvironmentProblem(f"Ray did not start: {error}", hint=hint) from error
    finally:
        if is_main:
            signal.signal(signal.SIGHUP, on_sighup)
    if on_sigterm is not None and is_main:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray had put its own there, which aborts
    return True


def _have_token() -> None:
    """Give Ray its token in the environment where HOME cannot hold it; Ray keeps it in a file there, and needs it."""
    if os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        return
    try:
        file = Path.home() / ".ray" / "auth_token"
        file.parent.mkdir(parents=True, exist_ok=True)
        is_home_to_it = file.exists() or os.access(file.parent, os.W_OK)
    except (OSError, RuntimeError):  # RuntimeError: nobody knows where home is
        is_home_to_it = False
    if not is_home_to_it:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _knock(address: str) -> None:
    """Raise OSError when nobody listens at `[ray://]host:port`: Ray itself would try for a quarter of an hour."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def count_room(cpus_per_worker: int, gpus_per_worker: float) -> int:
    """How many workers fit on the machines that Ray has now; each on one machine."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    each = (("CPU", cpus_per_worker), ("GPU", gpus_per_worker))
    return int(sum(min(_n_that_fit(int(has.get(unit, 0)), n) for unit, n in each) for has in machines))


def check_room(n_workers: int, cpus_per_worker: int, gpus_per_worker: float) -> None:
    """Raise EnvironmentProblem when the workers do not fit into what Ray has; it would wait for room without end."""
    n_fit = count_room(cpus_per_worker, gpus_per_worker)
    if n_workers > n_fit:
        wanted = f"{n_workers} worker(s) with {cpus_per_worker} CPU and {round(gpus_per_worker, 2):g} GPU each"
        have = ray.cluster_resources()
        there = f"{have.get('CPU', 0):g} CPU, {have.get('GPU', 0):g} GPU, room for {n_fit} of them"
        raise EnvironmentProblem(f"{wanted} do not fit: Ray has {there}", hint=FEWER)


def _n_that_fit(n_units: int, each: float) -> float:
    """How many workers find room on `n_units` GPUs or cores of a machine; a share below 1 never spans two."""
    if each == 0:
        return math.inf
    return n_units * int(1 / each + 1e-9) if each < 1 else n_units // each

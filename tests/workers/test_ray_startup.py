"""How Ray comes up and goes away, each in an interpreter of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import HANG_S
from processes import parents, process_tree

ENDLESS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import measurers
from tstitch_search.workers.ray_pool import RayPool, ray
ray.cloudpickle.register_pickle_by_value(measurers)
pool = RayPool(measurers.ArithmeticMeasurer, 1)
pool.start()
print("busy", flush=True)
while True:
    pool.submit(measurers.make_chunk("Slow*1"))
    pool.wait(60)
"""
START = "from tstitch_search.workers.ray_pool import RayPool; RayPool(dict, 1).start()"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished interpreter, with none of our own Ray settings but those given."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_run_on_one_machine_needs_no_home() -> None:
    """Ray keeps a token in HOME; where that cannot be written, driver and workers have it from the environment."""
    ask = (
        "from tstitch_search.workers.ray_session import connect, ray\n"
        "connect(1)\n"
        "print(ray.get(ray.remote(lambda: 42).remote()), ray.get_runtime_context().worker.mode == 0)"
    )
    ended = run_python(ask, HOME=f"{os.devnull}/home", RAY_AUTH_MODE="token")
    assert ended.stdout == "42 True\n", ended.stderr


def test_a_ray_address_where_nobody_listens_is_said_at_once() -> None:
    ended = run_python(START, RAY_ADDRESS="127.0.0.1:1")
    assert "EnvironmentProblem: no Ray at 127.0.0.1:1: " in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("  try: unset RAY_ADDRESS")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's table of processes")
def test_an_interrupted_driver_leaves_no_process_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"busy\n"
        tree = process_tree(driver.pid)
        assert len(tree) > 3  # Ray's own and the worker
        driver.send_signal(signal.SIGINT)
        try:
            driver.wait(timeout=HANG_S)
        finally:
            driver.kill()
    for _ in range(100):
        if not tree & parents().keys():
            break
        time.sleep(0.1)
    assert not tree & parents().keys()


def test_without_ray_workers_ray_is_not_imported() -> None:
    code = "import sys; import tstitch_search.workers.inline; sys.exit('ray' in sys.modules)"
    assert run_python(code).returncode == 0

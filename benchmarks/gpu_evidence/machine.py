"""Which device, driver and versions the results are from, and what that device reaches by itself."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

from tstitch_search.members.device import device_name, resolve_device
from tstitch_search.study_run.folder import environment


def facts() -> dict[str, Any]:
    """Name, driver, CUDA and package versions."""
    device = resolve_device("auto")
    found: dict[str, Any] = {"device": device_name(device), **environment()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "multiprocessors": properties.multi_processor_count,
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def ceilings() -> dict[str, float]:
    """A large product, a copy on the device and one to it from pinned memory: what can be had at most here."""
    if not torch.cuda.is_available():
        return {}
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    big = torch.randn(2**28, device="cuda", dtype=torch.bfloat16)
    there = torch.empty_like(big)
    pinned = torch.empty(2**28, dtype=torch.bfloat16, pin_memory=True)
    return {
        "matmul_tflop_per_s": 2 * 8192**3 / _seconds(lambda: a @ a) / 1e12,
        "copy_gb_per_s": 2 * big.nbytes / _seconds(lambda: there.copy_(big)) / 1e9,
        "from_pinned_gb_per_s": pinned.nbytes / _seconds(lambda: there.copy_(pinned, non_blocking=True)) / 1e9,
    }


def launch_us() -> float | None:
    """Microseconds the host takes for one operator on a tensor of one number; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    one, n = torch.zeros(1, device="cuda"), 10_000
    return _seconds(lambda: [one.add_(1) for _ in range(n)], 3) / n * 1e6


def _seconds(work: Callable[[], object], n: int = 10) -> float:
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(n):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / n


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"

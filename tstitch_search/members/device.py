"""Which device the work is done on, what it is called, and how many CPU threads it may use."""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.machine import count_cores


def resolve_device(wanted: str) -> torch.device:
    """The device for `auto` (a GPU if there is one), `cpu` or `cuda`. Raises EnvironmentProblem for a GPU not there."""
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise EnvironmentProblem(
            "device cuda was asked for, but torch finds no CUDA device", hint="--device cpu, or check the GPU driver"
        )
    return torch.device("cuda" if has_cuda and wanted != "cpu" else "cpu")


def device_name(device: torch.device) -> str:
    """What to call the device where times are compared, for example `NVIDIA H200` or `AMD EPYC`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def is_gone(error: RuntimeError) -> bool:
    """Whether the error says that the GPU itself failed; nothing can be done on it any more by this process."""
    return any(sign in str(error) for sign in ("CUDA error", "CUDA driver error"))


def batch_size_that_fits(make: Callable[[int], object], batch_size: int) -> int | None:
    """`batch_size` halved until a batch of it can be made; None when not even one image can."""
    while batch_size > 1:
        batch_size //= 2
        torch.cuda.empty_cache()
        with suppress(torch.OutOfMemoryError):
            make(batch_size)
            return batch_size
    return None


def timing_threads(threads: int | None) -> int:
    """CPU threads while timing: as asked, or one per core that this process may use."""
    return threads or count_cores()


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Let torch use `n` CPU threads for a while, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""How much memory a batch needs, on each kind of device.

What a process or a device holds says little about one member: everything else the run has loaded is in it too. So the
weights are counted from the tensors, and of a batch only its rise is measured: the peak of tensors that live because
of it, over what was there before.
"""

import gc
import os
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tstitch_search.members.changes.twins import tensors_of

# torch's profiler reports its own comings and goings to stderr, in colours of its own.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


class MemoryMeter(Protocol):
    """Measures a batch's need for memory. The batch may take longer meanwhile, so it must not be a timed one."""

    def rise_mb(self, work: Callable[[], None]) -> float:
        """Do the work; the peak of memory it had in use, over what was in use before, in MB (10^6 bytes)."""
        ...


class CpuMemory:
    """Every allocation and release of a tensor, temporaries inside operators included, as torch's profiler sees them.

    The process's own peak would not do: it never falls, and memory kept for later reuse hides the rise. No garbage is
    collected meanwhile: tensors of the past that go during the work would be taken for its own.
    """

    def rise_mb(self, work: Callable[[], None]) -> float:
        gc.collect()
        gc.disable()
        try:
            return self._rise_mb(work)
        finally:
            gc.enable()

    def _rise_mb(self, work: Callable[[], None]) -> float:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            work()
        events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
        in_use, peak = 0, 0
        for event in sorted(events, key=lambda e: e.start_ns()):
            in_use += event.nbytes()
            peak = max(peak, in_use)
        return peak / 1e6


class CudaMemory:
    """The allocator's own peak, `torch.cuda.max_memory_allocated`, less what was allocated before.

    Like the figures built on it, it leaves out what is no tensor: the CUDA context and the libraries' workspaces, some
    hundred MB that nvidia-smi counts.
    """

    def rise_mb(self, work: Callable[[], None]) -> float:
        gc.collect()  # what the past left behind must not go during the work
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6


def memory_of(device: torch.device) -> MemoryMeter:
    """The meter for work on `device`."""
    return CudaMemory() if device.type == "cuda" else CpuMemory()


def tensors_mb(modules: Iterable[nn.Module]) -> float:
    """Parameters and buffers of the modules as they are in memory, in MB (10^6 bytes); what they share counts once."""
    return sum(_n_bytes(tensor) for tensor in tensors_of(modules)) / 1e6


def _n_bytes(tensor: torch.Tensor) -> int:
    """What it takes; one of quantised weights says the size of what it stands for, and holds smaller ones."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    return sum(_n_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])

"""Stopwatches that do not disturb what they time, one per kind of device."""

import resource
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Takes marks while a batch is made; says afterwards what lay between them, and the peak memory."""

    def mark(self) -> Any:
        """A mark at this point of the work, without waiting for the device."""
        ...

    def seconds_between(self, marks: Sequence[Any]) -> list[float]:
        """Seconds from each mark to the next, once the device has passed the last one."""
        ...

    def forget_peak_memory(self) -> None:
        """Start looking for the peak anew, where the device can."""
        ...

    def peak_memory_mb(self) -> float:
        """The peak since then, in MB (10^6 bytes)."""
        ...


class CpuClock:
    """Wall time and the process's peak resident memory since its start (the system keeps no other)."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds_between(self, marks: Sequence[float]) -> list[float]:
        return [b - a for a, b in pairwise(marks)]

    def forget_peak_memory(self) -> None:
        pass

    def peak_memory_mb(self) -> float:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class CudaClock:
    """CUDA events, recorded in the stream and read after the batch, and the allocator's peak."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds_between(self, marks: Sequence[torch.cuda.Event]) -> list[float]:
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1000 for a, b in pairwise(marks)]

    def forget_peak_memory(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    def peak_memory_mb(self) -> float:
        return torch.cuda.max_memory_allocated() / 1e6


def clock_of(device: torch.device) -> Clock:
    """The clock for work on `device`."""
    return CudaClock() if device.type == "cuda" else CpuClock()

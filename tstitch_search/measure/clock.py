"""Stopwatches that do not disturb what they time, one per kind of device."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Takes marks while a batch is made; says afterwards what lay between them."""

    def mark(self) -> Any:
        """A mark at this point of the work, without waiting for the device."""
        ...

    def seconds_between(self, marks: Sequence[Any]) -> list[float]:
        """Seconds from each mark to the next, once the device has passed the last one."""
        ...


class CpuClock:
    """Wall time."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds_between(self, marks: Sequence[float]) -> list[float]:
        return [b - a for a, b in pairwise(marks)]


class CudaClock:
    """CUDA events, recorded in the stream and read after the batch."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds_between(self, marks: Sequence[torch.cuda.Event]) -> list[float]:
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1000 for a, b in pairwise(marks)]


def clock_of(device: torch.device) -> Clock:
    """The clock for work on `device`."""
    return CudaClock() if device.type == "cuda" else CpuClock()

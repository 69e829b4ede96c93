"""Measurers without a model, for the pools' tests: small honest implementations of the protocol.

What becomes of a job is said by the first denoiser of its allocation: `Raise` raises, `Refuse` raises an error for
people, `Exit` ends its own process, `Slow` takes a second; any other just answers.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.measurement import Answer, Chunk, ChunkFeatures, Job, MakeChunk


def make_chunk(text: str, first: int = 0, n_images: int = 4) -> MakeChunk:
    return MakeChunk(Allocation.parse(text), Chunk("search", first, first + n_images))


def features_of(job: MakeChunk) -> np.ndarray:
    """(n_images, 1000) float32, each row from the image's own seed and the number of steps alone."""
    seeds = [[i, job.allocation.n_steps] for i in range(job.chunk.first, job.chunk.last)]
    return np.stack([np.random.default_rng(seed).normal(size=1000) for seed in seeds]).astype(np.float32)


class ArithmeticMeasurer:
    """Answers with features from seeds; `seconds` is how often it has loaded, its device describes the process."""

    def __init__(self) -> None:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.device = f"pid {os.getpid()}, niceness {os.nice(0)}, visible GPUs {gpus!r}"
        self.n_loads = 0

    def load(self) -> dict[str, float]:
        self.n_loads += 1
        return {"S": 0.25, "XL": 0.5}

    def do(self, job: Job) -> Answer:
        if not isinstance(job, MakeChunk):
            raise MeasurementError(f"this measurer makes chunks, got {job}")
        match job.allocation.segments[0].denoiser:
            case "Raise":
                raise ValueError("the arithmetic went wrong")
            case "Refuse":
                raise MeasurementError("the latents are not finite", hint="float32")
            case "Exit":
                print("goodbye", flush=True)
                print("goodbye", file=sys.stderr, flush=True)
                os._exit(1)
            case "Slow":
                time.sleep(1)
        return ChunkFeatures({"features": features_of(job)}, seconds=self.n_loads)


class HangingOnce(ArithmeticMeasurer):
    """Never answers its first job; `flag` is a file that says this has happened, in whichever process."""

    def __init__(self, flag: Path) -> None:
        super().__init__()
        self._flag = flag

    def do(self, job: Job) -> Answer:
        if not self._flag.exists():
            self._flag.touch()
            time.sleep(3600)
        return super().do(job)


class FailingOnce(ArithmeticMeasurer):
    """Its device fails at the first job; `flag` is a file that says this has happened, in whichever process."""

    def __init__(self, flag: Path) -> None:
        super().__init__()
        self._flag = flag

    def do(self, job: Job) -> Answer:
        if not self._flag.exists():
            self._flag.touch()
            raise EnvironmentProblem("the device has failed", hint="nvidia-smi")
        return super().do(job)


class Unloadable(ArithmeticMeasurer):
    """Cannot have its members: raises `error` instead."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def load(self) -> dict[str, float]:
        raise self._error


MISSING_WEIGHTS = EnvironmentProblem("weights of XL are missing: looked in zoo/xl", hint="download them")

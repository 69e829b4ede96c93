"""Denoiser calls that allocations share are made once.

Two allocations that begin alike put the same questions to the same denoisers, up to where they part. A `TrajectoryMemo`
keeps the answers. Later trajectories from the same noise are given copies of them, still through the pipeline's own
solver, so that the solver's history and its draws of noise are what they would be: the images are the same bits as
without. Knows neither torch nor a pipeline: an output is whatever holds things with `clone()` and `nbytes`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from tstitch_search.allocation import Allocation
from tstitch_search.measurement import Calls, Chunk

# Who answered so far, call by call, the present one last. Guidance and some solvers call a denoiser twice per step.
Path: TypeAlias = tuple[str, ...]
# Answers a call: given the path, and how to put the present question to a denoiser.
Answerer: TypeAlias = Callable[[Path, Callable[[str], Any]], Any]


@dataclass(frozen=True)
class Start:
    """All that a trajectory follows from, beside its members: images of one device batch, steps, guidance, profile."""

    images: Chunk
    n_steps: int
    guidance_scale: float
    profile: str = ""


class TrajectoryMemo:
    """Outputs of denoiser calls by all that led to them, up to `limit_bytes`; 0 keeps none.

    Least recently used trajectories go first, and of one trajectory its end: the beginning is what others share.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.n_bytes = 0
        self._kept: OrderedDict[tuple[Start, Path], Any] = OrderedDict()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.n_bytes = 0

    @contextmanager
    def trajectory(self, start: Start, calls: Calls, share: float = 1.0) -> Iterator[Answerer]:
        """Who answers the calls of one trajectory from `start`; `calls` is counted up.

        The trajectory keeps at most this share of all memory: with that of its images among those that will be asked
        for again together, none of them pushes out another.
        """
        used: list[tuple[Start, Path]] = []
        room = int(share * self.limit_bytes)

        def answer(path: Path, forward: Callable[[str], Any]) -> Any:
            nonlocal room
            key, name = (start, path), path[-1]
            used.append(key)
            if key in self._kept:
                calls.reused[name] += 1
                self._kept.move_to_end(key)
                room -= size_of(self._kept[key])
                return copied(self._kept[key])
            calls.made[name] += 1
            output = forward(name)
            if size_of(output) <= room:
                room -= size_of(output)
                self._keep(key, copied(output))
            return output

        yield answer
        for key in reversed(used):
            if key in self._kept:
                self._kept.move_to_end(key)

    def _keep(self, key: tuple[Start, Path], output: Any) -> None:
        """Keep the output; what is oldest makes room, which is none of its own trajectory."""
        while self.n_bytes + size_of(output) > self.limit_bytes:
            self.n_bytes -= size_of(self._kept.popitem(last=False)[1])
        self._kept[key] = output
        self.n_bytes += size_of(output)


def copied(output: Any) -> Any:
    """A copy that nobody else can change: of a tensor, a tuple, or one of diffusers' output classes."""
    if isinstance(output, tuple):
        return tuple(map(copied, output))
    if isinstance(output, Mapping):
        return type(output)(**{name: copied(value) for name, value in output.items()})
    return output.clone()


def size_of(output: Any) -> int:
    """Bytes of the tensors in an output."""
    if isinstance(output, tuple | Mapping):
        return sum(map(size_of, output.values() if isinstance(output, Mapping) else output))
    return int(output.nbytes)


def calls_of(jobs: Iterable[tuple[Allocation, Chunk]], limit_calls: int) -> Calls:
    """The calls that making the jobs in this order takes, one per step, where `limit_calls` outputs can be kept.

    Every chunk counts as one device batch.
    """
    memo, calls = TrajectoryMemo(limit_calls), Calls()
    for allocation, chunk in jobs:
        with memo.trajectory(Start(chunk, allocation.n_steps, 1, allocation.profile), calls) as answer:
            for i in range(allocation.n_steps):
                answer(allocation.by_step[: i + 1], lambda name: _ONE)
    return calls


@dataclass(frozen=True)
class _Output:
    """Stands for the output of a call where calls are only counted."""

    nbytes: int = 1

    def clone(self) -> "_Output":
        return self


_ONE = _Output()

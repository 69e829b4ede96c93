"""What this machine offers, and who else uses it, asked without loading torch."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Neighbours are named from this part of a core on, and looked for so long.
NOTABLE_CORES, GLANCE_S = 0.2, 0.3
CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def count_cores() -> int:
    """CPU cores this process may use: what its affinity and its control group (a container's limit) allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # not on macOS
    with suppress(OSError, ValueError):  # no control groups of version 2, or no limit ("max")
        quota, period = map(int, CGROUP_CPU.read_text().split())
        cores = min(cores, max(1, quota // period))
    return cores


def count_gpus() -> int:
    """NVIDIA GPUs this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([d for d in visible.split(",") if d.strip() not in ("", "-1")])
    return len([p for p in Path("/dev").glob("nvidia*") if p.name.removeprefix("nvidia").isdigit()])


@dataclass(frozen=True)
class Neighbours:
    """How many cores processes that are not ours took over a while (0: not known), and the busiest of them."""

    cores: float
    busiest: str = ""

    def __str__(self) -> str:
        return f"another process takes {self.cores:.1f} of a core ({self.busiest})"


@dataclass(frozen=True)
class CpuTimes:
    """Seconds of CPU that each process has taken up to the time `at`, those of this process and its children left out.

    `of`: by process id, with its name. Empty where there is no /proc.
    """

    at: float
    of: Mapping[int, tuple[str, float]]

    @classmethod
    def now(cls) -> "CpuTimes":
        """As it is now."""
        seen = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, ValueError):  # it has ended meanwhile
                name, fields = path.read_text().split(" (", 1)[1].rsplit(") ", 1)
                values = fields.split()
                seen[int(path.parent.name)] = (name, int(values[1]), sum(map(int, values[11:13])))
        ours = _descendants({pid: parent for pid, (_, parent, _) in seen.items()}, os.getpid())
        ticks = os.sysconf("SC_CLK_TCK") if seen else 1
        return cls(
            time.monotonic(), {pid: (name, used / ticks) for pid, (name, _, used) in seen.items() if pid not in ours}
        )

    def neighbours(self) -> Neighbours:
        """Who else has worked since then; a process that began or ended in between counts from or up to now."""
        now = CpuTimes.now()
        used = {pid: s - self.of.get(pid, ("", 0.0))[1] for pid, (_, s) in now.of.items()}
        if not used or now.at <= self.at:
            return Neighbours(0.0)
        busiest = max(used, key=lambda pid: used[pid])
        return Neighbours(sum(used.values()) / (now.at - self.at), f"{now.of[busiest][0]}, process {busiest}")


def share_cores() -> None:
    """Beside a busy neighbour, have threads of this process and its children sleep while they wait for each other.

    Threads of GNU's OpenMP, which torch brings, spin for a while at each barrier. Two processes that do so on the same
    cores hold each other up several times over. Only before torch is loaded; what a user has set stays.
    """
    if os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        return
    began = CpuTimes.now()
    time.sleep(GLANCE_S)
    if began.neighbours().cores >= NOTABLE_CORES:
        os.environ["GOMP_SPINCOUNT"] = "1000"  # a few microseconds, as libgomp itself where threads outnumber cores


def _descendants(parents: Mapping[int, int], root: int) -> set[int]:
    """`root` and all that it started, directly or not."""
    found: set[int] = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found

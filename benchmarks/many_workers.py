"""Do workers wait for the driver? 64 simulated workers, 30 seconds a chunk, features as long as Inception's.

    uv run python benchmarks/many_workers.py [short] [long]

Two searches: a short one of two rounds, which is mostly beginning and end, and a long one. The real race, bench,
ledger, estimates and decisions; only the workers are simulated: one answers 30 seconds after it was given a job, with
random features. A worker is idle while it has no job, from the first allocation that the search chose to the last one.
Writes results/many_workers.json. With CHUNK_S=0.1 in the environment it shows what the driver costs by itself.
"""

import json
import os
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from study_run.synthetic import SyntheticMeasurer  # noqa: E402

from tstitch_search.config import load_study  # noqa: E402
from tstitch_search.measurement import Finished, Job, Loaded, MakeChunk  # noqa: E402
from tstitch_search.progress import Silent  # noqa: E402
from tstitch_search.quality.reference import Reference  # noqa: E402
from tstitch_search.study_run import run_study  # noqa: E402
from tstitch_search.study_run.folder import environment  # noqa: E402

N_WORKERS, CHUNK_S, D = 64, float(os.environ.get("CHUNK_S", "30")), 2048
# Images of an allocation at most, and when to stop.
SEARCHES = {"short": (750, "0.0001%"), "long": (2000, "0.000001%")}
RESULT = ROOT / "benchmarks" / "results" / "many_workers.json"


@dataclass
class SimulatedWorkers:
    """A pool whose workers take `CHUNK_S` for every chunk, and no time for anything else."""

    measurer: SyntheticMeasurer
    n_workers: int = N_WORKERS
    queue: deque[Job] = field(default_factory=deque)
    running: dict[int, tuple[float, Job]] = field(default_factory=dict)
    spans: list[tuple[float, float, str]] = field(default_factory=list)

    def start(self) -> list[Loaded]:
        return []

    def submit(self, job: Job) -> None:
        self.queue.append(job)
        self._assign()

    @property
    def n_in_flight(self) -> int:
        return len(self.queue) + len(self.running)

    def withdraw(self) -> None:
        self.queue.clear()

    def wait(self, timeout_s: float) -> list[Finished]:
        """What is finished by now, or within the time."""
        until = time.monotonic() + timeout_s
        while not (done := [i for i, (end, _) in self.running.items() if end <= time.monotonic()]):
            if time.monotonic() >= until:
                return []
            time.sleep(0.002)
        finished = [
            Finished(job, f"simulated-{i}", self.measurer.do(job)) for i in done for _, job in [self.running[i]]
        ]
        for i in done:
            del self.running[i]
        self._assign()
        return finished

    def _assign(self) -> None:
        for i in set(range(self.n_workers)) - self.running.keys():
            if not self.queue:
                return
            job, now = self.queue.popleft(), time.monotonic()
            seconds = CHUNK_S if isinstance(job, MakeChunk) else 0.0
            self.running[i] = (now + seconds, job)
            if isinstance(job, MakeChunk):
                self.spans.append((now, now + seconds, job.chunk.set_name))

    def reloads(self) -> list[Loaded]:
        return []

    def close(self) -> None: ...


def study(folder: Path, n_images: int, tolerance: str) -> Path:
    """231 allocations of three members in 20 single steps; `n_images` of one in chunks of 250."""
    space = yaml.safe_load((ROOT / "search_spaces" / "fashion_dit_s_b_xl.yaml").read_text())
    given = {
        "name": "many_workers",
        "search_space": {**space, "grid": 1, "fewer_steps": []},
        "guidance_scale": 1,
        "proxy_set": {"labels": "balanced", "seed": 0, "chunk_size": 250},
        "quality": {
            "extractor": "benchmarks.gpu_evidence.extractor:RandomInception",
            "reference": "real.npz",
            "n_images": n_images,
            "control_images": 2 * n_images,
        },
        "search": {"n_trials": 231, "tolerance": tolerance, "look_ahead": 2 * N_WORKERS},
        "confirm": {"n_images": 250, "max_entries": 1},
        "latency": {"n_repeats": 3, "batch_size": 2},
        "workers": {"pool": "inline"},
    }
    images = np.random.default_rng(0).integers(0, 256, (2500, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "real.npz", arr_0=images)
    (folder / "study.yaml").write_text(yaml.safe_dump(given))
    return folder / "study.yaml"


def idle_share(spans: list[tuple[float, float, str]], n_controls: int) -> dict[str, float]:
    """Of the workers' time from the first chosen chunk to the last."""
    chosen = [span for span in spans if span[2] == "search"][n_controls:]
    first, last = min(begin for begin, _, _ in chosen), max(begin for begin, _, _ in chosen)
    busy_s = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end, _ in spans)
    share = 1 - busy_s / (N_WORKERS * (last - first))
    return {"idle_share": share, "n_chunks": len(chosen), "seconds": last - first}


def search(n_images: int, tolerance: str) -> dict[str, float]:
    """One search from beginning to end, in this process."""
    measurer = SyntheticMeasurer(
        Reference(np.full(D, 127.0), np.eye(D) * 74.0**2, None, None, sha256=""), own_noise=0.3
    )
    pool, before = SimulatedWorkers(measurer), process_time()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch  # nothing of earlier runs is found
        path = study(Path(scratch), n_images, tolerance)
        run_study(load_study(path), Path(scratch) / "run", lambda _: pool, Silent())
    n_controls = 5 * 2 * n_images // 250
    return {"n_images": n_images, **idle_share(pool.spans, n_controls), "driver_processor_s": process_time() - before}


def main() -> None:
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found |= {"n_workers": N_WORKERS, "chunk_s": CHUNK_S, "n_features": D, "goal_idle_share": 0.05}
    for name in sys.argv[1:] or SEARCHES:
        found[name] = search(*SEARCHES[name])
        print(name, json.dumps(found[name], indent=1), flush=True)
    if CHUNK_S == 30:
        RESULT.write_text(json.dumps(found | {"environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Do workers wait for the driver? 64 simulated workers, 30 seconds a chunk.

    uv run python benchmarks/many_workers.py [inception] [small]

Two searches, each of two rounds, so mostly beginning and end: one with features as long as Inception's, one with
shorter ones, so that two cores keep up with the estimates. The real race, bench, ledger,
estimates and decisions; only the workers are simulated: one answers 30 seconds after it was given a job, with random
features. A worker is idle while it has no job, from the first allocation that the search chose to the last one. Writes
results/many_workers.json. With CHUNK_S=0.1 in the environment it shows what the driver costs by itself.
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

N_WORKERS, CHUNK_S = 64, float(os.environ.get("CHUNK_S", "30"))
# Images of an allocation at most, when to stop, and values of a feature.
SEARCHES = {"inception": (750, "0.0001%", 2048), "small": (1000, "0.000001%", 256)}
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
        ended = [(i, self.running.pop(i)[1]) for i in done]
        self._assign()  # a real worker makes its answer itself and does not wait for the others'
        finished = [Finished(job, f"simulated-{i}", self.measurer.do(job)) for i, job in ended]
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
        "search": {"tolerance": tolerance, "look_ahead": 2 * N_WORKERS},
        "confirm": {"n_images": 250, "max_entries": 1},
        "latency": {"n_repeats": 3, "batch_size": 2},
        "workers": {"pool": "inline"},
    }
    images = np.random.default_rng(0).integers(0, 256, (2500, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "real.npz", arr_0=images)
    (folder / "study.yaml").write_text(yaml.safe_dump(given))
    return folder / "study.yaml"


def idle_share(spans: list[tuple[float, float, str]], first: float, last: float) -> float:
    """Of the workers' time from `first` to `last`."""
    busy_s = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end, _ in spans)
    return 1 - busy_s / (N_WORKERS * (last - first))


def search(n_images: int, tolerance: str, d: int) -> dict[str, float]:
    """One search from beginning to end, in this process."""
    measurer = SyntheticMeasurer(
        Reference(np.full(d, 127.0), np.eye(d) * 74.0**2, None, None, sha256=""), own_noise=0.3
    )
    pool, before = SimulatedWorkers(measurer), process_time()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch  # nothing of earlier runs is found
        path = study(Path(scratch), n_images, tolerance)
        run_study(load_study(path), Path(scratch) / "run", lambda _: pool, Silent())
    chosen = [span for span in pool.spans if span[2] == "search"][5 * 2 * n_images // 250 :]  # after the controls
    first, last = chosen[0][0], chosen[-1][0]
    return {
        "n_images": n_images,
        "n_features": d,
        "n_chunks": len(chosen),
        "seconds": last - first,
        "seconds_until_all_work": chosen[N_WORKERS - 1][0] - first,
        "idle_share": idle_share(pool.spans, first, last),
        "idle_share_before_the_last_round": idle_share(pool.spans, first, last - CHUNK_S),
        "driver_processor_s": process_time() - before,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found |= {"n_workers": N_WORKERS, "chunk_s": CHUNK_S, "goal_idle_share": 0.05}
    for name in sys.argv[1:] or SEARCHES:
        found[name] = search(*SEARCHES[name])
        print(name, json.dumps(found[name], indent=1), flush=True)
    if CHUNK_S == 30:
        RESULT.write_text(json.dumps(found | {"environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()

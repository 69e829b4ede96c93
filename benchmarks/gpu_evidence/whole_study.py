"""Part 5: a whole study of the zoo's members, `run` to table and report, with features as long as Inception's.

How much of the search is the device's? Goal: busy 90 % of the time. Then a small study with one calibration file on the
CPU and on this device: are the decisions the same?
"""

import os
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from benchmarks.gpu_evidence.record import Part
from benchmarks.gpu_evidence.roofline import PEAK_FLOPS
from tstitch_search.config import Study, load_study
from tstitch_search.ledger import read_events
from tstitch_search.measurement import Finished, Job, Loaded
from tstitch_search.members.device import resolve_device
from tstitch_search.progress import Silent
from tstitch_search.study_run import run_study
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.study_run.times.calibrations import calibrate_study
from tstitch_search.workers.protocol import WorkerPool

ROOT = Path(__file__).parents[2]
BUSY_GOAL = 0.9
# Inception at 299 x 299 takes 5.7 G multiplications an image, in TF32, of which an H100 does half as many as bfloat16.
INCEPTION_FLOPS, TF32_FLOPS = 2 * 5.7e9, PEAK_FLOPS / 2


def space(reduced: bool) -> dict[str, Any]:
    """The quickstart's; reduced, with fewer steps."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "search_spaces" / "fashion_dit_s_b_xl.yaml").read_text())
    return {**found, "n_steps": 4, "grid": 1, "fewer_steps": []} if reduced else found


def study_with_long_features(reduced: bool) -> dict[str, Any]:
    """The quickstart's space, FID with 2,048 random features."""
    extractor = "RandomSmall" if reduced else "RandomInception"
    n = {"chunk": 10, "search": 20, "control": 40, "trials": 8, "confirm": 40, "entries": 3, "real": 200}
    if not reduced:
        n = {"chunk": 250, "search": 750, "control": 1500, "trials": 12, "confirm": 1500, "entries": 3, "real": 2500}
    return {
        "name": "long_features",
        "search_space": space(reduced),
        "guidance_scale": 1,
        "proxy_set": {"labels": "balanced", "seed": 0, "chunk_size": n["chunk"]},
        "quality": {
            "extractor": f"benchmarks.gpu_evidence.extractor:{extractor}",
            "reference": "real.npz",
            "n_images": n["search"],
            "control_images": n["control"],
        },
        "search": {"n_trials": n["trials"], "tolerance": "0.1%"},
        "confirm": {"n_images": n["confirm"], "max_entries": n["entries"]},
        "latency": {"batch_size": 2 if reduced else 16, "n_repeats": 3},
        "workers": {"pool": "inline", "device": "auto", "device_batch_size": n["chunk"]},
    }


def study_of_decisions(reduced: bool) -> dict[str, Any]:
    """The same space with the zoo's own features, small enough for a CPU."""
    n = {"chunk": 10, "search": 20, "control": 40, "trials": 8, "confirm": 40, "entries": 3}
    if not reduced:
        n = {"chunk": 50, "search": 100, "control": 150, "trials": 14, "confirm": 150, "entries": 4}
    return {
        "name": "decisions",
        "search_space": space(reduced),
        "guidance_scale": 1,
        "proxy_set": {"labels": "balanced", "seed": 0, "chunk_size": n["chunk"]},
        "quality": {
            "extractor": "fashion-cnn",
            "reference": "zoo:fashion",
            "n_images": n["search"],
            "control_images": n["control"],
        },
        "search": {"n_trials": n["trials"], "tolerance": "0.1%"},
        "confirm": {"n_images": n["confirm"], "max_entries": n["entries"]},
        "latency": {"batch_size": 2 if reduced else 16, "n_repeats": 3},
        "workers": {"pool": "inline", "device": "cpu", "device_batch_size": 50},
    }


def estimate(reduced: bool) -> dict[str, Any]:
    """Images times Inception; the zoo's members are small beside it. The rest is the host's."""
    given = study_with_long_features(reduced)
    quality, n_trials = given["quality"], given["search"]["n_trials"]
    n_controls = 5  # three members alone and two halves
    n_images = n_controls * quality["control_images"] + n_trials * quality["n_images"]
    n_images += given["confirm"]["max_entries"] * given["confirm"]["n_images"] + 2500
    floor_s = n_images * INCEPTION_FLOPS / TF32_FLOPS
    how = (
        f"at most {n_images} images through Inception, at a tenth of the peak as usual for small convolutions; "
        "60 s for the driver's 2,048 x 2,048 matrices and the small study on the CPU"
    )
    return {"floor_s": round(floor_s, 2), "expected_s": round(10 * floor_s + 60, 1), "how": how}


def run(part: Part, reduced: bool) -> None:
    """The long features first, then the decisions."""
    part.facts(busy_goal=BUSY_GOAL)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # nothing of earlier runs is found
        with_long_features(part, folder, reduced)
        if part.has(2 if reduced else 25, "the decisions of the CPU and of the device"):
            decisions(part, folder, reduced)


def with_long_features(part: Part, folder: Path, reduced: bool) -> None:
    """Where the time of each stage went."""
    given = study_with_long_features(reduced)
    n_real = 200 if reduced else 2500
    real = np.random.default_rng(0).integers(0, 256, (n_real, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "real.npz", arr_0=real)
    study = written(folder, given)
    stages, pools = Stages(), list[WatchedPool]()

    def open_watched(study: Study) -> WorkerPool:
        pools.append(WatchedPool(open_pool(study), stages))
        return pools[-1]

    with utilisation(stages):
        outcome = run_study(study, folder / "run", open_watched, stages)
        stages.stage("over")
    events = list(read_events(outcome.folder / "ledger.jsonl"))
    for name, wall_s in stages.seconds.items():
        part.row("stage", **_stage(name, wall_s, stages))
    search_s = stages.seconds["search"]
    n_chunks = sum(e["event"] == "chunk" and e["set"] == "search" for e in events)
    n_images = sum(e["last"] - e["first"] for e in events if e["event"] == "chunk" and e["set"] == "search")
    part.facts(
        chunks_per_second=n_chunks / search_s,
        images_per_second=n_images / search_s,
        n_chunks=n_chunks,
        search_s=search_s,
        driver_share=1 - stages.worker_s["search"] / search_s,
        busy_share=stages.busy_share("search"),
        n_entries=len(outcome.table.entries),
        report_kb=round(outcome.report.stat().st_size / 1000),
    )


def _stage(name: str, wall_s: float, stages: "Stages") -> dict[str, Any]:
    worker_s = stages.worker_s[name]
    share = worker_s / wall_s if wall_s else 0.0
    return {"stage": name, "seconds": wall_s, "worker_share": share, "busy_share": stages.busy_share(name)}


def decisions(part: Part, folder: Path, reduced: bool) -> None:
    """One calibration, of the CPU; the order of what was asked, and the front, on the CPU and on the device."""
    given = study_of_decisions(reduced)
    study = written(folder, given)
    calibrate_study(study, folder / "calibration.json", open_pool, Silent())
    given["latency"]["from"] = "calibration.json"
    devices = ["cpu", resolve_device("auto").type]
    found = [_decided(part, folder, given, device, f"decisions{i}") for i, device in enumerate(devices)]
    (asked, chosen, quality), (asked_there, chosen_there, quality_there) = found
    together = list(zip(asked, asked_there, strict=False))
    part.row(
        "agreement",
        devices=devices,
        same_decisions=asked == asked_there,
        n_same_from_the_start=next((i for i, (a, b) in enumerate(together) if a != b), len(together)),
        n_asked=[len(asked), len(asked_there)],
        same_front=chosen == chosen_there,
        fronts=[sorted(chosen), sorted(chosen_there)],
        largest_fid_difference=max(abs(quality[a] - quality_there[a]) for a in quality.keys() & quality_there.keys()),
    )


def _decided(
    part: Part, folder: Path, given: dict[str, Any], device: str, name: str
) -> tuple[list[str], set[str], dict[str, float]]:
    """The chunks asked for in order, the allocations chosen for confirmation, the confirmed qualities."""
    given["workers"]["device"] = device
    began = time.monotonic()
    outcome = run_study(written(folder, given), folder / name, open_pool, Silent())
    chunks = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "chunk"]
    asked = [f"{e['allocation']} {e['first']}" for e in chunks if e["set"] == "search"]
    part.row("decisions", device=device, n_asked=len(asked), seconds=time.monotonic() - began)
    chosen = {e["allocation"] for e in chunks if e["set"] == "confirm"}
    return asked, chosen, {str(entry.allocation): entry.quality for entry in outcome.table.entries}


def written(folder: Path, given: Mapping[str, Any]) -> Study:
    """The study as loaded from a file in the folder."""
    path = folder / f"{given['name']}.yaml"
    path.write_text(yaml.safe_dump(dict(given), sort_keys=False))
    return load_study(path)


class Stages(Silent):
    """Hears when stages begin; adds up what workers and device did in each."""

    def __init__(self) -> None:
        self.now = "start"
        self.seconds: dict[str, float] = defaultdict(float)
        self.worker_s: dict[str, float] = defaultdict(float)
        self.samples: dict[str, list[float]] = defaultdict(list)
        self._since = time.monotonic()

    def stage(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[self.now] += now - self._since
        print(f"  {self.now}: {self.seconds[self.now]:.1f} s", flush=True)
        self.now, self._since = name, now

    def busy_share(self, name: str) -> float | None:
        """The driver's own count of the time in which a kernel ran; None without a GPU."""
        return fmean(self.samples[name]) / 100 if self.samples[name] else None


class WatchedPool:
    """A pool in this process, and a stopwatch on its work."""

    def __init__(self, pool: WorkerPool, stages: Stages):
        self._pool, self._stages = pool, stages
        self.n_workers = pool.n_workers

    def start(self) -> list[Loaded]:
        return self._timed(self._pool.start)

    def submit(self, job: Job) -> None:
        self._pool.submit(job)

    @property
    def n_in_flight(self) -> int:
        return self._pool.n_in_flight

    def withdraw(self) -> None:
        self._pool.withdraw()

    def wait(self, timeout_s: float) -> list[Finished]:
        return self._timed(lambda: self._pool.wait(timeout_s))

    def reloads(self) -> list[Loaded]:
        return self._pool.reloads()

    def close(self) -> None:
        self._pool.close()

    def _timed(self, work: Callable[[], list[Any]]) -> list[Any]:
        began, stage = time.monotonic(), self._stages.now
        try:
            return work()
        finally:
            self._stages.worker_s[stage] += time.monotonic() - began


@contextmanager
def utilisation(stages: Stages) -> Iterator[None]:
    """Meanwhile nvidia-smi tells five times a second which share of the time the GPU was busy."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:  # no GPU here
        yield
        return

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().isdigit():
                stages.samples[stages.now].append(float(line))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait(5)
        thread.join(5)

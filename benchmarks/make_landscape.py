"""Every allocation of a space measured in full: the landscapes that estimators and samplers are judged on.

    uv run python benchmarks/make_landscape.py [--study studies/small_first.yaml] [--grid 0.1] [--n 5000]

Makes the features of all allocations on the same n images (66 for three denoisers on a grid of 0.1; 231 at single
steps, `--grid 1`) in a run folder under build/landscapes/, outside git. Go on after a stop with the same command: no
finished chunk is made again. Images come in rounds over all allocations, so a landscape that was stopped is complete
up to its last round. Then writes, for whoever reads recorded measurements:

    build/landscapes/NAME/recorded/ALLOCATION.npy, reference.npz    features (n, d) float32, same image order everywhere
    benchmarks/landscapes/NAME.csv, NAME.json                       time and FID of each; seeds, checksums, provenance

5,000 images of the zoo's 66 allocations take about 55 minutes of 2 idle cores.
"""

import argparse
import csv
import hashlib
import json
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.progress import Silent
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.metrics.fid import FID
from tstitch_search.quality.reference import save_reference
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.folder import RunFolder, environment
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.study_run.preparation.references import prepare_reference
from tstitch_search.study_run.stages import calibrate, search_chunks
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.tasks.stored import StoredRun

ROOT = Path(__file__).parent.parent
SETTINGS = (
    "proxy_set.chunk_size=250",
    "workers.device_batch_size=125",
    "quality.control_images=null",
    "space.fewer_steps=[]",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=ROOT / "studies" / "small_first.yaml")
    parser.add_argument("--grid", default="0.1")
    parser.add_argument("--n", type=int, default=5000, help="images per allocation")
    arguments = parser.parse_args()
    given = [f"space.grid={arguments.grid}", f"quality.n_images={arguments.n}", *SETTINGS]
    study = load_study(arguments.study, given)
    name = f"{study.space.name}_{len(SearchSpace.from_config(study.space))}"
    folder = ROOT / "build" / "landscapes" / name
    latency = make(study, folder)
    export(study, folder, latency, name)


def make(study: Study, path: Path) -> LatencyModel:
    """Have every allocation's features made, a round of chunks at a time; the step times they go with."""
    facts, space = resolve_facts(study), SearchSpace.from_config(study.space)
    folder = RunFolder.open(path, study, facts.key)
    store = FeatureStore(folder.features, facts.recipe)
    with folder.ledger, Workbench(open_pool(study), folder.ledger, store, Silent()) as bench:
        reference = prepare_reference(bench, study, facts)
        assert reference is not None
        save_reference(reference, folder.reference)
        latency = calibrate(bench, study, facts.key)
        for chunk in search_chunks(study):
            bench.make([(allocation, [chunk]) for allocation in space])
            print(f"images {chunk.first} to {chunk.last - 1} of {len(space)} allocations", flush=True)
    return latency


def export(study: Study, path: Path, latency: LatencyModel, name: str) -> None:
    """Write what readers of recorded measurements take, and what git keeps of it."""
    run = StoredRun.open(path)
    reference = run.reference()
    recorded = path / "recorded"
    recorded.mkdir(exist_ok=True)
    assert reference is not None
    save_reference(reference, recorded / "reference.npz")
    fid, rows, checksums = FID.bind(reference), [], {}
    chunks = run.common(list(run.space), "search")
    for allocation in run.space:
        features = run.read(allocation, chunks)
        file = recorded / f"{allocation.file_name}.npy"
        np.save(file, features)
        checksums[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(row(allocation, latency, features, jackknifed(fid, features).se, fid(features)))
    kept = ROOT / "benchmarks" / "landscapes"
    kept.mkdir(exist_ok=True)
    with (kept / f"{name}.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = {
        "study": study.config.name,
        "guidance_scale": study.config.guidance_scale,
        "seed": study.config.proxy_set.seed,
        "labels": study.config.proxy_set.labels,
        "n_images": chunks[-1].last,
        "device": latency.calibration.device,
        "batch_size": latency.calibration.batch_size,
        "step_s": latency.calibration.step_s,
        "fixed_s": latency.calibration.fixed_s,
        "environment": environment(),
        "sha256": checksums,
    }
    (kept / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")


def row(allocation: Allocation, latency: LatencyModel, features: np.ndarray, se: float, value: float) -> dict:
    """One line of the table, in the columns that `measure.recorded` reads."""
    return {
        "allocation": str(allocation),
        "latency_s": f"{latency.latency_s(allocation):.6f}",
        "fid": f"{value:.6f}",
        "fid_se": f"{se:.6f}",
        "n_images": len(features),
    }


if __name__ == "__main__":
    main()

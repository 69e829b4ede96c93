"""How good and how fast is each member of the embedded family alone? Writes the model card's tables and picture.

    uv run python benchmarks/zoo_quality.py [--guidance 1 1.5]

FID-5K with the family's own extractor, 20 DDIM steps; step time at batch 64 on all cores; a picture with the same seeds
for every member. Takes about 4 minutes on 2 cores without guidance (scale 1) and 8 with it. A scale that is not asked
for keeps its earlier result.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.measure.features import extract, load_extractor, to_uint8
from tstitch_search.measure.picture_files import save_grid
from tstitch_search.measurement import Calibrate, Chunk, MakeChunk, MakeImages, chunks_of
from tstitch_search.members.loading import load_model
from tstitch_search.progress import Silent
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.study_run.workbench import run_alone
from tstitch_search.zoo import FASHION_EXTRACTOR
from tstitch_search.zoo.data import load_fashion_mnist
from tstitch_search.zoo.train import as_tensor

ROOT = Path(__file__).parent.parent
CARD_FOLDER = ROOT / "tstitch_search" / "zoo" / "fashion"
RESULT = ROOT / "benchmarks" / "results" / "zoo_quality.json"
FLOOR = ROOT / "benchmarks" / "results" / "zoo_floor.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guidance", nargs="*", default=["1", "1.5"], help="guidance scales to measure")
    runs = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for guidance in parser.parse_args().guidance:  # on an idle machine: step times are taken too
        runs[guidance] = measure(guidance)
        RESULT.write_text(json.dumps(dict(sorted(runs.items())), indent=2) + "\n")
    FLOOR.write_text(json.dumps(measure_floor(), indent=2) + "\n")
    (CARD_FOLDER / "README.md").write_text(model_card(dict(sorted(runs.items()))))


def measure_floor(n_images: int = 5000) -> dict[str, float]:
    """FID of real test images and of the autoencoder's reconstructions of them: the lower end of the scale."""
    images = as_tensor(load_fashion_mnist("t10k", ROOT / "build" / "zoo")[0][:n_images])
    vae = load_model(CARD_FOLDER / "vae", torch.device("cpu"), torch.float32)
    extractor = load_extractor(FASHION_EXTRACTOR, None, torch.device("cpu"))
    distance = FrechetDistance(load_reference("zoo:fashion", ROOT))

    def fid(batches: Iterable[torch.Tensor]) -> float:
        features = [extract(extractor, to_uint8((b / 2 + 0.5).clamp(0, 1)))["features"] for b in batches]
        return distance(np.concatenate(features))

    batches = images.split(250)
    decoded = (vae.decode(vae.encode(b).latent_dist.mean).sample for b in batches)
    return {"n_images": n_images, "real": fid(batches), "reconstructed": fid(decoded)}


def measure(guidance: str) -> dict:
    """Step time, FID-5K and its standard error of every member at one guidance scale; the picture on the way."""
    study = load_study(ROOT / "studies" / "fashion_members.yaml", [f"guidance_scale={guidance}"])
    names, n_steps, n_images = study.space.names, study.space.n_steps, study.config.quality.n_images
    distance = FrechetDistance(load_reference(study.config.quality.reference, study.study_path.parent))
    singles = {name: Allocation.of([(name, n_steps)]) for name in names}
    pool = open_pool(study)
    try:
        pool.start()
        calibration = run_alone(pool, Calibrate(names, n_steps, study.config.latency.n_repeats), Silent())
        features = sample_features(pool, singles, n_images, study.config.proxy_set.chunk_size)
        rows = [(name, run_alone(pool, MakeImages(a, Chunk("search", 0, 20)), Silent())) for name, a in singles.items()]
    finally:
        pool.close()
    save_grid(dict(rows), CARD_FOLDER / "samples.png")
    fids = {name: jackknifed(distance, features[name]) for name in names}
    members = {
        name: {"step_ms": 1e3 * calibration.step_s[name], "fid_5k": fids[name].value, "fid_5k_se": fids[name].se}
        for name in names
    }
    for name, m in members.items():
        print(
            f"{name:8s} {m['step_ms']:8.1f} ms per step   FID-5K {m['fid_5k']:.3f} ± {m['fid_5k_se']:.3f}", flush=True
        )
    return {
        "n_images": n_images,
        "n_steps": n_steps,
        "batch_size": calibration.batch_size,
        "device": calibration.device,
        "fixed_ms": 1e3 * calibration.fixed_s,
        "members": members,
        "environment": environment(),
    }


def model_card(runs: dict[str, dict]) -> str:
    """The model card in Markdown, from the benchmark's results and the records the training left."""
    records = {p.stem: json.loads(p.read_text()) for p in sorted((CARD_FOLDER / "training").glob("*.json"))}
    quality = [
        f"| {guidance} | {name} | {m['step_ms']:.1f} ms | {m['step_ms'] / run['members']['S']['step_ms']:.1f} "
        f"| {m['fid_5k']:.3f} ± {m['fid_5k_se']:.3f} | {m['fid_5k'] / run['members']['XL']['fid_5k']:.2f} |"
        for guidance, run in runs.items()
        for name, m in run["members"].items()
    ]
    training = [
        f"| {name} | {r['n_parameters'] / 1e6:.2f} M | {r['n_steps']} x {r['batch_size']} | {r['learning_rate']:g} "
        f"| {r['losses_every_100'][0]:.3f} → {np.mean(r['losses_every_100'][-5:]):.3f} | {r['seconds'] / 60:.0f} min |"
        for name, r in records.items()
    ]
    last = list(runs.values())[-1]
    return (
        (ROOT / "benchmarks" / "model_card.md")
        .read_text()
        .format(
            quality="\n".join(quality),
            training="\n".join(training),
            accuracy=100 * records["features"]["test_accuracy"],
            torch=records["XL"]["torch"],
            floor=json.loads(FLOOR.read_text()),
            **last,
        )
    )


def sample_features(pool, singles, n_images, chunk_size) -> dict[str, np.ndarray]:
    """Features (n_images, d) of every single denoiser, chunks spread over the workers."""
    for allocation in singles.values():
        for chunk in chunks_of("search", n_images, chunk_size):
            pool.submit(MakeChunk(allocation, chunk))
    made = {}
    while pool.n_in_flight:
        for finished in pool.wait(1.0):
            assert finished.answer is not None, finished.error
            made[finished.job.allocation, finished.job.chunk] = finished.answer.arrays["features"]
            print(f"{finished.job.allocation}: images up to {finished.job.chunk.last}", flush=True)
    chunks = chunks_of("search", n_images, chunk_size)
    return {name: np.concatenate([made[a, chunk] for chunk in chunks]) for name, a in singles.items()}


if __name__ == "__main__":
    main()

"""Does a member get better where it is used, when it is trained on there? Writes results/finetune_interval.{json,md}.

    uv run python benchmarks/finetune_interval.py [--images 1000] [--threads 1]

The three arms of T-Stitch's table 6 (arXiv 2402.14167, appendix A.12) on the embedded family: S as it is, S trained
on with all timesteps, and S trained on with those that S*10-XL*10 leaves it, at equal iterations on the same images,
noise and labels. FID of that allocation, no guidance, over the same image seeds. What is done is kept in
build/finetune_interval, so that a second call goes on, or adds images.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy.special import stdtrit

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.measurement import ChunkFeatures, MakeChunk, chunks_of
from tstitch_search.probes.finetuning import Training, train
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Jackknifed, jackknifed
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.preparation.pool import build_measurer
from tstitch_search.tasks.finetune import Wanted, training_of

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "finetune_interval"
ALLOCATION = Allocation.parse("S*10-XL*10")
WANTED = Wanted("S", "zoo:fashion", n_iterations=2_000, batch_size=64, learning_rate=5e-4, seed=0)
N_TRAINING = 30_000
PRETRAINED, ALL, INTERVAL = "pretrained", "all timesteps", "its interval"
PAPER = {PRETRAINED: 16.49, ALL: 16.04, INTERVAL: 13.35}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="images of each arm")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    study = load_study(ROOT / "studies" / "small_first.yaml", ["workers.device=cpu", "proxy_set.chunk_size=100"])
    trainings = dict(arms(study))
    weights = {PRETRAINED: "zoo:fashion/S"}
    records = {}
    for name, training in trainings.items():
        weights[name], records[name] = trained(training, WORK / name.replace(" ", "_"))
    features = {name: sampled(study, name, weights[name], arguments) for name in (PRETRAINED, ALL, INTERVAL)}
    distance = FrechetDistance(load_reference("zoo:fashion", ROOT))
    document = {
        "allocation": str(ALLOCATION),
        "n_images": arguments.images,
        "n_training_images": N_TRAINING,
        "wanted": asdict(WANTED),
        "timesteps": {name: training.intervals for name, training in trainings.items()},
        "training": records,
        **compared({name: jackknifed(distance, values) for name, values in features.items()}),
        "environment": environment(),
    }
    (RESULTS / "finetune_interval.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "finetune_interval.md").write_text(page(document))


def arms(study: Study) -> Iterator[tuple[str, Training]]:
    """The two that are trained; they differ in their timesteps only."""
    own = training_of(study, ALLOCATION, WANTED)
    first = replace(own.images, images=replace(own.images.images, values=own.images.images.values[:N_TRAINING]))
    own = replace(own, images=replace(first, labels=first.labels[:N_TRAINING]))
    yield ALL, replace(own, intervals=((0, own.noise.num_train_timesteps - 1),))
    yield INTERVAL, own


def trained(training: Training, work: Path) -> tuple[str, dict]:
    """The folder of the trained member and the record of its training."""
    if not (work / "record.json").exists():
        work.mkdir(parents=True, exist_ok=True)
        shared = WORK / "latents.npy"  # the same images for both
        if shared.exists() and not (work / "latents.npy").exists():
            (work / "latents.npy").hardlink_to(shared)
        record = train(training, work, torch.device("cpu"), 500, lambda n: None, lambda *at: print(work.name, *at))
        (work / "record.json").write_text(json.dumps(record))
        if not shared.exists():
            shared.hardlink_to(work / "latents.npy")
    return str(work / "saved"), json.loads((work / "record.json").read_text())


def sampled(study: Study, name: str, weights: str, arguments: argparse.Namespace) -> np.ndarray:
    """Features (n, d) of the allocation's images with S from `weights`; finished chunks are not made again."""
    small, _, large = study.space.denoisers
    members = (small.model_copy(update={"weights": weights}), large)
    study = study.model_copy(update={"space": study.space.model_copy(update={"denoisers": members})})
    folder, measurer = WORK / "features" / name.replace(" ", "_"), None
    folder.mkdir(parents=True, exist_ok=True)
    chunks = chunks_of("confirm", arguments.images, 100)
    for chunk in chunks:
        if (path := folder / f"{chunk.first}.npy").exists():
            continue
        if measurer is None:
            measurer = build_measurer(study, arguments.threads)
            measurer.load()
        answer = measurer.do(MakeChunk(ALLOCATION, chunk))
        assert isinstance(answer, ChunkFeatures)
        np.save(path, answer.arrays["features"])
        print(name, chunk.last, flush=True)
    return np.concatenate([np.load(folder / f"{chunk.first}.npy") for chunk in chunks])


def compared(fids: dict[str, Jackknifed]) -> dict:
    """FID of each arm with its standard error, and the paired differences of each two with 90 % intervals."""
    pairs = []
    for first, second in combinations(fids, 2):
        difference = fids[second].minus(fids[first])
        half = -stdtrit(difference.df, 0.05) * difference.se
        interval = [difference.value - half, difference.value + half]
        pairs.append({"of": second, "to": first, "difference": difference.value, "interval_90": interval})
    return {"fid": {name: {"value": f.value, "se": f.se} for name, f in fids.items()}, "differences": pairs}


def page(document: dict) -> str:
    """The results as Markdown."""
    fids, n_images, wanted = document["fid"], document["n_images"], Wanted(**document["wanted"])
    n_training, (first, last) = document["n_training_images"], document["timesteps"][INTERVAL][0]
    training = f"{wanted.n_iterations:,} iterations of {wanted.batch_size}, learning rate {wanted.learning_rate:g}"
    lines = [
        "# Fine-tuning at the allocated interval",
        "",
        f"`uv run python benchmarks/finetune_interval.py --images {n_images}`. The embedded family's S (0.06 M),",
        f"trained on: {training}, one seed,",
        f"the first {n_training:,} of its training images, with all timesteps or with {first} to {last}, those of",
        f"its steps in {document['allocation']}. FID-{n_images} of that allocation, no guidance, 20 DDIM steps,",
        "the same image seeds; ± is one standard error (jackknife). The paper's column is S/B/XL at 50:30:20:",
        "other models, another scale (table 6).",
        "",
        f"| S | FID-{n_images} | the paper's FID |",
        "|---|---|---|",
        *(f"| {n} | {f['value']:.3f} ± {f['se']:.3f} | {PAPER[n]:.2f} |" for n, f in fids.items()),
        "",
        "| difference, paired | FID | 90 % interval | |",
        "|---|---|---|---|",
    ]
    for d in document["differences"]:
        low, high = d["interval_90"]
        verdict = "cannot tell apart" if low <= 0 <= high else "better" if high < 0 else "worse"
        names = f"{d['of']} less {d['to']}"
        lines.append(f"| {names} | {d['difference']:+.4f} | {low:+.4f} to {high:+.4f} | {verdict} |")
    return "\n".join([*lines, "", "The intervals cover the choice of images, not that of the training's seed."]) + "\n"


if __name__ == "__main__":
    main()

"""What do shared beginnings of trajectories save? Writes results/prefix_reuse.{json,md}.

    uv run python benchmarks/prefix_reuse.py --recorded FOLDER [--images 100]

Counted, without a device, each denoiser call weighed with the time of its step: the paper's grid (K = 3, DiT-S/B/XL,
100 steps, grid 0.1: 66 allocations), enumerated in the order in which one worker takes queued jobs, small first and
large first, with room for one, four or any number of trajectories; and runs on the zoo's 66 allocations, played on
recorded features (FOLDER: benchmarks/make_landscape.py). Timed, side by side in one process: the quickstart's
allocations on a coarse grid by the real members, with and without reuse.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.ledger import read_events
from tstitch_search.measurement import Chunk, ChunkFeatures, MakeChunk, chunks_of
from tstitch_search.progress import Silent
from tstitch_search.sampling.stitching.prefixes import calls_of
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run import run_study
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.preparation.pool import build_measurer, open_pool
from tstitch_search.workers.affinity import next_job

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LANDSCAPE = ROOT / "benchmarks" / "landscapes" / "fashion_dit_s_b_xl_66.csv"
# Seconds per 100 steps, batch of 8, RTX 3090: T-Stitch, arXiv 2402.14167, table 3.
PAPER_S = {"S": 1.6, "B": 4.0, "XL": 16.5}
NO_LIMIT = 10**9
RUNS = {
    "racing": ("search.racing=true", "quality.n_images=300", "quality.control_images=600", "proxy_set.chunk_size=50"),
    "known latency": ("quality.n_images=200", "quality.control_images=600"),
    "enumerate": ("search.sampler=enumerate", "quality.n_images=200", "quality.control_images=null"),
}
RECORDED_STUDY = """\
name: reuse
search_space: {{name: zoo, denoisers: [{{name: S}}, {{name: B}}, {{name: XL}}], n_steps: 20, grid: 0.1}}
measure: {{recorded: "{table}", features: "{features}"}}
proxy_set: {{chunk_size: 100}}
quality: {{n_images: 200}}
confirm: {{n_images: 800, max_entries: 8}}
workers: {{pool: inline}}
"""
Jobs = list[tuple[Allocation, Chunk]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", type=Path, required=True, help="features of the zoo's 66 allocations")
    parser.add_argument("--images", type=int, default=100, help="images of each allocation in the timed comparison")
    arguments = parser.parse_args()
    document = {
        "paper_grid": list(paper_grid()),
        "recorded": recorded(arguments.recorded),
        "timed": timed(arguments.images),
        "environment": environment(),
    }
    (RESULTS / "prefix_reuse.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "prefix_reuse.md").write_text(page(document))


def paper_grid() -> Iterator[dict]:
    """The share of denoiser time saved on the paper's grid, two chunks of each allocation."""
    names, chunks = tuple(PAPER_S), chunks_of("search", 200, 100)
    orders = {"small first": (names,), "large first": (names[::-1],)}
    for order, found in orders.items():
        space = SearchSpace(found[0], found, n_steps=100, grid_steps=10)
        drawn = [space.allocations[i] for i in np.random.default_rng(0).permutation(len(space))]
        asked = [(a, chunk) for a, chunk in product(drawn, chunks)]
        for room in (1, 4, None):
            limit = NO_LIMIT if room is None else 100 * room
            taken, as_asked = calls_of(as_taken(asked), limit), calls_of(asked, limit)
            yield {
                "order": order,
                "n_allocations": len(space),
                "room_trajectories": room,
                "saved": taken.share_saved(PAPER_S),
                "saved_in_the_order_asked": as_asked.share_saved(PAPER_S),
            }


def as_taken(queued: Jobs) -> Jobs:
    """The jobs in the order in which one worker takes them from its queue."""
    queue, last, order = [MakeChunk(*job) for job in queued], None, []
    while queue:
        last = queue.pop(next_job(queue, last))
        order.append((last.allocation, last.chunk))
    return order


def recorded(features: Path) -> list[dict]:
    """What reuse saves in runs of the zoo's grid on recorded features, one worker: search and confirmation."""
    rows = []
    for name, settings in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            study = recorded_study(Path(folder), features, settings)
            outcome = run_study(study, Path(folder) / "run", open_pool, Silent())
            events = list(read_events(outcome.folder / "ledger.jsonl"))
        step_s = next(e["step_s"] for e in events if e["event"] == "calibration")
        for stage in ("search", "confirm"):
            made = [e for e in events if e["event"] == "chunk" and e["set"] == stage]
            jobs = [(Allocation.parse(e["allocation"]), Chunk(stage, e["first"], e["last"])) for e in made]
            shares = {str(room): calls_of(jobs, room * 20).share_saved(step_s) for room in (4, 16, 10**6)}
            rows.append({"run": name, "stage": stage, "n_chunks": len(jobs), "saved": shares})
            print(rows[-1], flush=True)
    return rows


def recorded_study(folder: Path, features: Path, settings: Sequence[str]) -> Study:
    """The quickstart's question put to the recorded landscape."""
    (folder / "study.yaml").write_text(RECORDED_STUDY.format(table=LANDSCAPE, features=features.resolve()))
    return load_study(folder / "study.yaml", settings)


def timed(n_images: int) -> list[dict]:
    """Seconds of real members on 21 allocations with and without reuse, taking turns; images must be the same bits."""
    rows = []
    for order, names in (("small first", "S, B, XL"), ("large first", "XL, B, S")):
        given = ["space.grid=0.2", f"space.orders=[[{names}]]", "workers.pool=inline"]
        study = load_study(ROOT / "studies" / "small_first.yaml", given)
        space = SearchSpace.from_config(study.space)
        off = load_study(ROOT / "studies" / "small_first.yaml", [*given, "workers.reuse_mb=0"])
        measurers = [build_measurer(s, threads=1) for s in (study, off)]
        for measurer in measurers:
            measurer.load()
        pairs = []
        for allocation, chunk in as_taken([(a, Chunk("search", 0, n_images)) for a in space]):
            answers = [measurer.do(MakeChunk(allocation, chunk)) for measurer in measurers]
            assert all(isinstance(answer, ChunkFeatures) for answer in answers)
            sharing, alone = answers
            assert np.array_equal(sharing.arrays["features"], alone.arrays["features"])
            pairs.append((sharing.seconds, alone.seconds, sharing.calls.n_reused, sharing.calls.n_all))
        with_s, without_s, n_reused, n_all = map(sum, zip(*pairs, strict=True))
        rows.append(
            {
                "order": order,
                "n_allocations": len(pairs),
                "n_images": n_images,
                "seconds_with": with_s,
                "seconds_without": without_s,
                "ratio": with_s / without_s,
                "calls_saved": n_reused / n_all,
            }
        )
        print(rows[-1], flush=True)
    return rows


def page(document: dict) -> str:
    """The results as Markdown."""
    lines = [
        "# What shared beginnings of trajectories save",
        "",
        "`uv run python benchmarks/prefix_reuse.py --recorded FOLDER`. Shares of the denoisers' time, each call",
        "weighed with the time of its step; counted by the memo that the workers use, so without noise.",
        "",
        "The paper's 66 allocations (DiT-S/B/XL, 100 steps, grid 0.1; 1.6, 4.0, 16.5 s per 100 steps: table 3),",
        "enumerated by one worker, two chunks of each. Room: trajectories of a chunk whose outputs can be kept.",
        "",
        "| order | room | saved | if jobs were done in the (random) order asked |",
        "|---|---|---|---|",
    ]
    for r in document["paper_grid"]:
        room = r["room_trajectories"] or "all"
        lines.append(f"| {r['order']} | {room} | {r['saved']:.1%} | {r['saved_in_the_order_asked']:.1%} |")
    lines += [
        "",
        "Runs on the zoo's 66 allocations with recorded features (20 steps, one worker, one run each).",
        "",
        "| run | stage | chunks | room for 4 trajectories | 16 | all |",
        "|---|---|---|---|---|---|",
    ]
    for r in document["recorded"]:
        shares = " | ".join(f"{share:.1%}" for share in r["saved"].values())
        lines.append(f"| {r['run']} | {r['stage']} | {r['n_chunks']} | {shares} |")
    lines += [
        "",
        "Seconds of the real members (zoo, 20 steps, grid 0.2, one thread; decoding and features included), with and",
        "without reuse in turns, one pass; the features were the same bits.",
        "",
        "| order | allocations | images each | with / without reuse | calls saved |",
        "|---|---|---|---|---|",
    ]
    for r in document["timed"]:
        ratio = f"{r['seconds_with']:.1f} s / {r['seconds_without']:.1f} s = {r['ratio']:.2f}"
        lines.append(f"| {r['order']} | {r['n_allocations']} | {r['n_images']} | {ratio} | {r['calls_saved']:.1%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

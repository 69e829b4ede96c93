"""Pictures for the report: the same seeds for every entry, and with a metric per pair the worst ones."""

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.lookup import LookupTable
from tstitch_search.measure.picture_files import save_strip
from tstitch_search.measurement import Chunk, MakeImages
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.study_run.folder import RunFolder
from tstitch_search.study_run.stages import confirm_chunks
from tstitch_search.study_run.workbench import Workbench

# Images per row of the report's sample grid, and worst images per entry.
N_SAMPLES, N_WORST = 10, 5


def make_strips(bench: Workbench, folder: RunFolder, table: LookupTable) -> None:
    """One strip of sample images per entry, and of the anchor, the same seeds for all, for the report."""
    anchor = [table.anchor] if table.anchor else []
    for allocation in dict.fromkeys([*(e.allocation for e in table.entries), *anchor]):
        path = folder.images / f"{allocation.file_name}.png"
        if not path.exists():
            save_strip(_made(bench, allocation, Chunk("confirm", 0, N_SAMPLES)), path)


def make_worst(bench: Workbench, folder: RunFolder, table: LookupTable, evaluator: Evaluator, study: Study) -> None:
    """Of each entry the images that are worst by the objective, each after the anchor's, where it is one per pair.

    Appends the event `worst`: `at_least_as_bad`, the value that the worst twentieth of the images reach, the `images`
    by their number in the confirmation set, and their `values`, worst first.
    """
    metric, chunks = evaluator.objective, confirm_chunks(study)
    if metric.kind != "pair":
        return
    known = {(e["allocation"], e["metric"], e["n_images"]) for e in bench.ledger.of("worst")}
    for entry in table.entries:
        named = {"allocation": str(entry.allocation), "metric": metric.name, "n_images": chunks[-1].last}
        if entry.allocation == evaluator.anchor or tuple(named.values()) in known:
            continue
        values = bench.read(entry.allocation, chunks, metric.array)
        badness = -values if metric.higher_is_better else values
        worst = [int(i) for i in np.argsort(-badness, kind="stable")[:N_WORST]]
        pairs = [
            _made(bench, a, Chunk("confirm", i, i + 1))[0] for i in worst for a in (evaluator.anchor, entry.allocation)
        ]
        save_strip(pairs, folder.images / f"worst_{entry.allocation.file_name}.png")
        reached = table.objective.worst_5(entry.quantiles)
        told = {"at_least_as_bad": reached, "images": worst, "values": [float(values[i]) for i in worst]}
        bench.ledger.append("worst", **named, **told)


def _made(bench: Workbench, allocation: Allocation, chunk: Chunk) -> np.ndarray:
    return np.asarray(bench.alone(MakeImages(allocation, chunk)))

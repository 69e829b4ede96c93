"""The objective at growing numbers of images (T-Stitch, figure 13), from the features that a run has kept."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import read_events
from tstitch_search.measurement import Chunk
from tstitch_search.progress import Progress
from tstitch_search.quality.estimate import estimate
from tstitch_search.quality.jackknife import N_GROUPS
from tstitch_search.report.analysis_tables import Value
from tstitch_search.report.reading import calibration_in
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.tasks.analysis.rows import row_of
from tstitch_search.tasks.stored import StoredRun

# Numbers of images: all of them, half, a quarter, and so on.
N_HALVINGS = 4


def growing_n(path: Path, n_allocations: int, progress: Progress) -> list[tuple[Value, ...]]:
    """Rows of up to `n_allocations` confirmed allocations of the run folder at `path`, fastest to slowest.

    None, and a note, where nothing was confirmed yet.
    """
    calibration = calibration_in(list(read_events(path / "ledger.jsonl"))) if _has_run(path) else None
    run = StoredRun.open(path) if calibration else None
    chunks = run.common([run.space.anchor], "confirm") if run and run.space.anchor in run.chunks else []
    if run is None or calibration is None or not chunks:
        progress.note(f"growing-n is left out: it reads the images of a confirmed front, and {path} holds none yet")
        return []
    progress.stage("computing quality at growing numbers of images")
    latency = LatencyModel(calibration)
    confirmed = [a for a in run.chunks if run.common([a], "confirm") == chunks]
    shown = evenly(sorted(confirmed, key=latency.latency_s), n_allocations)
    evaluator, largest = Evaluator.of_study(run.study, run.reference()), run.space.denoisers[-1]
    rows = []
    for first in prefixes(chunks):
        anchor = evaluator.measured(run, run.space.anchor, first)
        for a in shown:
            found = estimate(evaluator.measured(run, a, first), anchor, evaluator.objective)
            rows.append(row_of(str(a), a, largest, latency.latency_s(a), evaluator.objective.name, found))
    return rows


def _has_run(path: Path) -> bool:
    return (path / "ledger.jsonl").exists()


def evenly(allocations: Sequence[Allocation], n_wanted: int) -> list[Allocation]:
    """So many of them at most, both ends included, at even places between."""
    last, n = len(allocations) - 1, min(n_wanted, len(allocations))
    return [allocations[round(i * last / max(n - 1, 1))] for i in range(n)]


def prefixes(chunks: Sequence[Chunk]) -> list[Sequence[Chunk]]:
    """The first chunks up to about a sixteenth, an eighth, ... of all images, as long as errors can be computed."""
    wanted = [chunks[-1].last / 2**k for k in range(N_HALVINGS + 1)]
    ends = [chunk.last for chunk in chunks if chunk.last >= N_GROUPS]
    nearest = {min(ends, key=partial(_distance, n)) for n in wanted if ends}
    return [[chunk for chunk in chunks if chunk.last <= end] for end in sorted(nearest)]


def _distance(a: float, b: float) -> float:
    return abs(a - b)

"""Did the machine stay as fast as it was? The chunks' own device seconds tell; where not, times are taken again.

A chunk's seconds are b_0 + sum over members of (calls made) b_k, fitted to all chunks of the search: the parts of a
batch at the size that images are made at, whose level is another than that of the timed batch. What is left, as a
ratio, has no trend on a steady machine. Its last third is held against its first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import exp, sqrt

import numpy as np
from scipy.optimize import nnls

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event, Ledger
from tstitch_search.measurement import Calibration
from tstitch_search.study_run.times.timing import batch_error, time_denoisers
from tstitch_search.study_run.workbench import Workbench

# Fewer chunks in a third say nothing; a drift of less than this share is not worth timing again.
MIN_CHUNKS, NOTABLE = 6, 0.05
# Members' parts and workers' levels are fitted in turns, so often.
ROUNDS = 10


@dataclass(frozen=True)
class Drift:
    """By which share the last chunks took longer than the first, for the same calls, with its 95 % band."""

    share: float
    low: float
    high: float

    @property
    def is_notable(self) -> bool:
        """Whether the band excludes none, and it is more than a trifle."""
        return abs(self.share) >= NOTABLE and not self.low <= 0 <= self.high

    def __str__(self) -> str:
        how = "slower" if self.share > 0 else "faster"
        low, high = sorted((abs(self.low), abs(self.high)))
        return f"the machine became {abs(self.share):.0%} {how} while searching (95 %: {low:.0%} to {high:.0%})"


def drift_of(chunks: Iterable[Event]) -> Drift | None:
    """The drift over the search's chunks, in their order; None where they are too few to tell."""
    events = [e for e in chunks if e["set"] == "search" and e["seconds"] > 0]
    n = len(events) // 3
    if n < MIN_CHUNKS:
        return None
    left = _unexplained(events)
    first, last = left[:n], left[-n:]
    shift = float(np.median(last) - np.median(first))
    se = 1.2533 * sqrt((_spread(first) ** 2 + _spread(last) ** 2) / n)
    return Drift(*(exp(shift + z * se) - 1 for z in (0, -1.96, 1.96)))


def settle_times(bench: Workbench, study: Study, latency: LatencyModel) -> LatencyModel:
    """The times to go on with after the search: those it decided by, or new ones where the machine has drifted.

    Also where the first were known to less than `latency.error`, and the new ones are known better. Once per run
    folder; times from a file stay. What was found is the event `drift`.
    """
    if bench.ledger.last("drift") is None and study.config.latency.from_file is None:
        _look(bench, study, latency)
    return newest_times(bench.ledger)


def _look(bench: Workbench, study: Study, latency: LatencyModel) -> None:
    drift, wanted = drift_of(bench.ledger.of("chunk")), study.config.latency.error
    error = batch_error(latency.calibration, study.space.n_steps)
    has_drifted = drift is not None and drift.is_notable
    if has_drifted or error > wanted:
        bench.progress.note(f"{drift}: the denoisers are timed again" if has_drifted else _rough(error))
        bench.progress.stage("calibrate")
        again = time_denoisers(study, bench.alone, bench.progress)
        bench.n_new += 1
        if has_drifted or batch_error(again, study.space.n_steps) < error:
            bench.ledger.append("calibration", **asdict(again))
    bench.ledger.append("drift", **(asdict(drift) if drift else {}), notable=has_drifted)


def _rough(error: float) -> str:
    return f"the search went by times known to {error:.1%}: the denoisers are timed again"


def times_decided_by(ledger: Ledger) -> LatencyModel:
    """The times that the search went by: the first of the run folder."""
    return LatencyModel(Calibration.of_event(ledger.of("calibration")[0]))


def newest_times(ledger: Ledger) -> LatencyModel:
    """The times that table, plots and messages are in: the last of the run folder."""
    return LatencyModel(Calibration.of_event(ledger.of("calibration")[-1]))


def _unexplained(events: Sequence[Event]) -> np.ndarray:
    """Logarithm (n,) of each chunk's seconds over what the fit says: members' parts, times the level of its worker."""
    calls = [_calls(e) for e in events]
    names = sorted({name for of_chunk in calls for name in of_chunk})
    parts = np.array([[1.0, *(of_chunk.get(name, 0) for name in names)] for of_chunk in calls])
    seconds, level = np.array([e["seconds"] for e in events]), np.zeros(len(events))
    workers = np.array([e.get("worker", "") for e in events])
    for _ in range(ROUNDS):
        at_one_level = seconds / np.exp(level)
        of_part, _ = nnls(parts / at_one_level[:, None], np.ones(len(events)))
        left: np.ndarray = np.log(seconds / np.clip(parts @ of_part, 1e-12, None))
        level = np.array([np.median(left[workers == worker]) for worker in workers])
    return left - level


def _calls(event: Event) -> dict[str, float]:
    """Denoiser calls that were made for the chunk; as its allocation says where they were not counted."""
    made = event.get("calls", {}).get("made")
    return dict(made) if made is not None else dict(Allocation.parse(event["allocation"]).steps)


def _spread(values: np.ndarray) -> float:
    """Standard deviation of normal values, from the median distance to their median."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))

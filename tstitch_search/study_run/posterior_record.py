"""What the search's model thinks of allocations that nobody measured, kept in the ledger for the report."""

from collections.abc import Collection

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.study_run.evaluation import Estimates

MOST = 1000  # allocations to keep, evenly over time: more could not be told apart in a plot


def record_posterior(
    ledger: Ledger, posterior: Estimates, measured: Collection[Allocation], latency: LatencyModel
) -> None:
    """Append the event `posterior` unless the newest one says the same; nothing when every estimate was measured.

    `rows`: allocation, predicted seconds, mean and standard deviation, in six digits, at `n_images`.
    """
    unmeasured = sorted((a for a in posterior if a not in measured), key=lambda a: (latency.latency_s(a), a))
    kept = unmeasured[:: -(-len(unmeasured) // MOST)] if unmeasured else []
    rows = [[str(a), *map(_short, (latency.latency_s(a), posterior[a].value, posterior[a].se))] for a in kept]
    before = ledger.last("posterior")
    if rows and (before is None or before["rows"] != rows):
        ledger.append("posterior", n_images=posterior[kept[0]].n_images, rows=rows)


def _short(value: float) -> float:
    return float(f"{value:.6g}")

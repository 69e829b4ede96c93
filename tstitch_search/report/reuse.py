"""What trajectory reuse has saved in a run, from its ledger (`sampling/prefixes.py`)."""

from collections.abc import Iterable

from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event
from tstitch_search.report.reading import calls_in


def reuse_in_words(chunks: Iterable[Event], latency: LatencyModel) -> str | None:
    """A sentence on what reuse saved, or None when it saved nothing."""
    calls = calls_in(chunks)
    if not calls.n_reused:
        return None
    share = calls.share_saved(latency.calibration.step_s)
    return (
        f"shared beginnings: {calls.n_reused:,} of {calls.n_all:,} denoiser calls were not made again, "
        f"{share:.0%} of the denoisers' time"
    )

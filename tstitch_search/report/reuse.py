"""What a run saved by making nothing twice: denoiser calls and prompts, from its ledger."""

from collections.abc import Iterable

from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event
from tstitch_search.measurement import EncodedOnce
from tstitch_search.report.reading import calls_in
from tstitch_search.report.wording import duration


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


def prompts_in_words(prompts: EncodedOnce | None) -> str | None:
    """A sentence on what encoding prompts once saved, or None when it saved nothing."""
    if prompts is None or prompts.saved_s <= 0:
        return None
    return (
        f"prompts were encoded once: {duration(prompts.saved_s)} of the text encoders' time were saved, and "
        f"{prompts.freed_mb / 1e3:.2g} GB of memory while images are made"
    )

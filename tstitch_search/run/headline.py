"""One sentence a person can act on. "Lossless" is said only where it was shown."""

from tstitch_search.lookup import LookupEntry, LookupTable


def headline(table: LookupTable) -> str:
    """Which allocation to deploy, how much faster it is, and what is known about its loss."""
    largest, margin = table.provenance["largest"], table.provenance["lossless_margin"]
    n = table.entries[0].n_images
    gains = [e for e in table.entries if len(e.allocation.segments) > 1 or largest not in e.allocation.steps]
    lossless = [e for e in gains if e.lossless]
    if lossless:
        best = lossless[0]
        return (
            f"Deploy {best.allocation}: {speed_up(table, best):.2f} times as fast as {largest} alone, and a loss of "
            f"more than {margin:.0%} of its FID is ruled out (one-sided 95 %, n = {n})."
        )
    if not gains:
        return f"No allocation on the front is faster than {largest} alone; deploy {largest}."
    best = min(gains, key=lambda e: (e.fid_difference or 0.0) + (e.fid_difference_se or 0.0))
    return (
        f"No speed-up is shown to be lossless at n = {n} (margin {margin:.0%}); the closest is {best.allocation}, "
        f"{speed_up(table, best):.2f} times as fast as {largest} alone with an FID difference of "
        f"{best.fid_difference or 0:+.3g} ± {best.fid_difference_se or 0:.2g}. More images (confirm.n_images) may tell."
    )


def speed_up(table: LookupTable, entry: LookupEntry) -> float:
    """How many times as fast as the largest denoiser alone."""
    return float(table.provenance["largest_latency_s"]) / entry.latency_s

"""What to do, in one or two sentences. "Lossless" is said only where it was shown."""

from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.pareto import knee
from tstitch_search.report.notes import speed_up


def headline(table: LookupTable) -> str:
    """Which allocation to deploy, how much faster it is, what is known about its loss, and where the front bends."""
    recorded, said = table.provenance.get("recorded"), _on_front(table)
    if not recorded:
        return said
    simulated = recorded["images"].startswith("simulated") and any(e.quality_se > 0 for e in table.entries)
    noise = " and simulated noise" if simulated else ""
    return f"From recorded numbers{noise}, not measured now: {said}"


def _on_front(table: LookupTable) -> str:
    largest = table.provenance["largest"]
    others = [e for e in table.entries if e.allocation != table.anchor]
    faster = [e for e in others if speed_up(table, e) > 1 and not e.guard_lost]
    if others and all(e.guard_lost for e in others):
        return f"Every allocation on the front but {largest} alone loses the guard metric; deploy {largest}."
    if not faster:
        return f"No allocation on the front is faster than {largest} alone; deploy {largest}."
    return f"{_on_loss(table, faster)} {_on_bend(table)}".strip()


def _on_loss(table: LookupTable, faster: list[LookupEntry]) -> str:
    largest, margin, n = table.provenance["largest"], table.provenance["lossless_margin"], table.entries[0].n_images
    label, lossless = table.objective.label, [e for e in faster if e.lossless]
    if lossless:
        return (
            f"Deploy {lossless[0].allocation}: {speed_up(table, lossless[0]):.2f} times as fast as {largest} alone, "
            f"and a loss of more than {margin:.0%} of its {label} is ruled out (one-sided 95 %, n = {n})."
        )
    closest = min(
        faster, key=lambda e: table.objective.loss(e.quality_difference or 0.0) + (e.quality_difference_se or 0.0)
    )
    more = "" if table.provenance.get("recorded") else " More images (confirm.n_images) may tell."
    return (
        f"No speed-up is shown to be lossless at n = {n} (margin {margin:.0%}); the closest is {closest.allocation}, "
        f"{_trade(table, closest)}.{more}"
    )


def _on_bend(table: LookupTable) -> str:
    """The entry with the best trade, if the front has a bend."""
    bend = knee([(e.latency_s, table.objective.loss(e.quality)) for e in table.entries])
    if bend is None or table.entries[bend].guard_lost:
        return ""
    return f"The front bends at {table.entries[bend].allocation}, {_trade(table, table.entries[bend])}."


def _trade(table: LookupTable, entry: LookupEntry) -> str:
    return (
        f"{speed_up(table, entry):.2f} times as fast as {table.provenance['largest']} alone with a difference in "
        f"{table.objective.label} of {entry.quality_difference or 0:+.2g} ± {entry.quality_difference_se or 0:.2g}"
    )

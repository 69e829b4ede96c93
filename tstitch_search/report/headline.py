"""How much faster, at what loss, and is that certain. "Lossless" is said only where it was shown."""

from tstitch_search.lookup import LookupEntry, LookupTable, promising
from tstitch_search.pareto import knee
from tstitch_search.report.notes import anchor_in_words, speed_up, speed_up_error

# From this share on the standard error of a speed-up is said.
ROUGH = 0.1


def headline(table: LookupTable) -> str:
    """How much faster the best trades of the front are than the anchor, at what loss."""
    recorded, said = table.provenance.get("recorded"), _on_front(table)
    if not recorded:
        return said
    simulated = recorded["images"].startswith("simulated") and any(e.quality_se > 0 for e in table.entries)
    noise = " and simulated noise" if simulated else ""
    return f"From recorded numbers{noise}, not measured now: {said}"


def _on_front(table: LookupTable) -> str:
    others = [e for e in table.entries if e.allocation != table.anchor]
    faster = [e for e in others if speed_up(table, e) > 1 and not e.guard_lost]
    name, alone = table.anchor_name, anchor_in_words(table)
    if others and all(e.guard_lost for e in others):
        return f"Every allocation on the front but {alone} loses the guard metric; deploy {name}."
    if not faster:
        return f"No allocation on the front is faster than {alone}; deploy {name}."
    return _trades(table, faster)


def _trades(table: LookupTable, faster: list[LookupEntry]) -> str:
    """The fastest entry without loss, if one was shown; the entry where the front bends; otherwise the closest one."""
    margin, n = margin_in_words(table), table.entries[0].n_images
    lossless = next((e for e in faster if e.lossless), None)
    said = []
    if lossless:
        ruled_out = f"a loss of {_margin_of(table)} is ruled out, one-sided 95 %, {_shown_on(table, n)}"
        said.append(f"{_faster(table, lossless)} faster at no loss: {lossless.allocation} ({ruled_out}).")
    shown = [e for e in (bend(table), None if lossless else _closest(table, faster)) if e not in (None, lossless)]
    for entry in dict.fromkeys(e.allocation for e in shown if e):
        said.append(_trade(table, next(e for e in faster if e.allocation == entry), is_first=not said))
    if not lossless:
        said.append(f"None is shown to be lossless (margin {margin}, {n:,} images).{_what_could(table)}")
    return " ".join(said)


def _shown_on(table: LookupTable, n: int) -> str:
    """The images that showed it: of the confirmation, or made to show it."""
    about = table.provenance.get("until_lossless")
    shown = [c["seen"][-1] for c in about["candidates"] if c["outcome"] == "shown"] if isinstance(about, dict) else []
    return f"{shown[0]['n_images']:,} further images" if shown else f"{n:,} images"


def margin_in_words(table: LookupTable) -> str:
    """`2%`, of the anchor's value, or in the objective's own unit."""
    margin = table.provenance.get("margin")
    return f"{table.provenance['lossless_margin']:.0%}" if margin is None else f"{margin:.3g}"


def _margin_of(table: LookupTable) -> str:
    label, margin = table.objective.label, margin_in_words(table)
    return f"more than {margin} of {label}" if margin.endswith("%") else f"{margin} in {label}"


def _what_could(table: LookupTable) -> str:
    """What more images were asked in vain, or could show."""
    about = table.provenance.get("until_lossless")
    if isinstance(about, dict):
        tried = [f"{c['allocation']} ({c['seen'][-1]['n_images']:,} more)" for c in about["candidates"] if c["seen"]]
        return f" More images did not show it either: {', '.join(tried)}." if tried else " No entry could be."
    found = promising(table)
    said = str(found)
    return f" {said[0].upper()}{said[1:]}." if found else ""


def bend(table: LookupTable) -> LookupEntry | None:
    """The entry with the best trade of time for quality, if the front has a bend and it loses no guard metric."""
    if "largest_latency_s" not in table.provenance:
        return None
    at = knee([(e.latency_s, table.objective.loss(e.quality)) for e in table.entries])
    found = None if at is None else table.entries[at]
    is_trade = found is not None and not found.guard_lost and found.allocation != table.anchor
    return found if is_trade and found and speed_up(table, found) > 1 else None


def _closest(table: LookupTable, faster: list[LookupEntry]) -> LookupEntry:
    """The faster entry that loses least, by the upper end of its standard error."""

    def loss(entry: LookupEntry) -> float:
        return table.objective.loss(entry.quality_difference or 0.0) + (entry.quality_difference_se or 0.0)

    return min(faster, key=loss)


def _trade(table: LookupTable, entry: LookupEntry, is_first: bool) -> str:
    """`5.3x faster: B*20, FID 0.404 to 0.605 (+50%).`; the word comes once."""
    anchor = entry.quality - (entry.quality_difference or 0.0)
    word = " faster" if is_first else ""
    quality = f"{table.objective.label} {anchor:.3g} to {entry.quality:.3g}"
    if anchor > 0 and table.provenance.get("margin") is None:
        quality += f" ({entry.quality / anchor - 1:+.0%})"
    return f"{_faster(table, entry)}{word}: {entry.allocation}, {quality}."


def _faster(table: LookupTable, entry: LookupEntry) -> str:
    """`5.3x`, or `about 5x` where its standard error is above `ROUGH` of it."""
    times = speed_up(table, entry)
    if speed_up_error(table, entry) <= ROUGH:
        return f"{times:.1f}x"
    return f"about {times:.0f}x" if times >= 3 else f"about {times:.1f}x"

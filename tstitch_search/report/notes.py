"""What a table says beside its numbers, for the page and for the terminal: names of further metrics, who is alike, who
loses the guard metric.
"""

from collections.abc import Mapping
from math import hypot

from tstitch_search.allocation import Allocation
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable
from tstitch_search.quality.metrics import METRICS
from tstitch_search.report.wording import percent

GUARD = "guard"  # the guard's key among an entry's metrics


def further_metrics(table: LookupTable) -> dict[str, str]:
    """What the further metrics of the front are called, by key, the guard last.

    A guard against the study's reference that is among the metrics anyway is not repeated.
    """
    keys = dict.fromkeys(key for entry in table.entries for key in entry.metrics)
    names = {key: metric_name(key) for key in keys if key != GUARD}
    return names | {GUARD: guard_name(table)} if GUARD in keys and guard_key(table) == GUARD else names


def guard_key(table: LookupTable) -> str:
    """Under which key an entry's guard is shown: the metric's own if it is among the metrics anyway."""
    guard = _guard(table)
    metric = str(guard.get("metric"))
    is_there = any(metric in entry.metrics for entry in table.entries)
    return metric if is_there and guard.get("reference") == "study" else GUARD


def metric_name(key: str) -> str:
    """What people call the metric `key`; one that we do not know goes by its key."""
    return METRICS[key].label if key in METRICS else key.replace("_", " ")


def guard_name(table: LookupTable) -> str:
    """What the guard metric is called: `IS`, or `FID to images of XL` when it compares with the anchor's."""
    guard = _guard(table)
    if "metric" not in guard:
        return "guard metric"
    name = metric_name(str(guard["metric"]))
    return f"{name} to images of {table.anchor_name}" if guard.get("reference") == "anchor" else name


def anchor_in_words(table: LookupTable) -> str:
    """The anchor within a sentence: `XL alone`, or `S*4-XL*16`."""
    name = table.anchor_name
    return name if "*" in name or name.startswith("the ") else f"{name} alone"


def alike(table: LookupTable) -> dict[int, list[LookupEntry]]:
    """The groups of more than one entry that cannot be told apart, by number, each fastest first."""
    groups: dict[int, list[LookupEntry]] = {}
    for entry in table.entries:
        if entry.group is not None:
            groups.setdefault(entry.group, []).append(entry)
    return {number: entries for number, entries in groups.items() if len(entries) > 1}


def baseline_names(table: LookupTable) -> dict[str, str]:
    """Names of the rules that need no search (`40 % rule`, `XL, 10 steps`), by allocation; an older table has none."""
    named = table.provenance.get("baselines")
    return {str(text): str(name) for text, name in named.items()} if isinstance(named, dict) else {}


def baseline_name(table: LookupTable, allocation: Allocation) -> str | None:
    """What the allocation is called if it is a rule that needs no search."""
    return baseline_names(table).get(str(allocation))


def front_notes(table: LookupTable) -> list[str]:
    """What the front's columns cannot say: who cannot be told apart, and who loses the guard metric."""
    notes = []
    for number, entries in alike(table).items():
        n = entries[0].n_images
        notes.append(f"Tie {number}, cannot be told apart at n = {n}: {_listed(entries)}.{_advice(table, entries)}")
    lost = [c for c in (*table.entries, *table.candidates) if c.guard_lost]
    tolerance = _guard(table).get("tolerance")
    allowed = f" ({percent(tolerance)})" if isinstance(tolerance, int | float) else ""
    if lost:
        notes.append(f"Lose more of the {guard_name(table)} than the study tolerates{allowed}: {_listed(lost)}.")
    return notes


def speed_up(table: LookupTable, entry: LookupEntry) -> float:
    """How many times as fast as the anchor, of a table that says how fast that is."""
    return float(table.provenance["largest_latency_s"]) / entry.latency_s


def speed_up_error(table: LookupTable, entry: Candidate) -> float:
    """The standard error of that, as a share of it, from those of both times; the anchor's where the table has it."""
    anchor = next((c for c in (*table.entries, *table.candidates) if c.allocation == table.anchor), None)
    if entry.allocation == table.anchor or not entry.latency_s:
        return 0.0
    times = [(c.latency_s, c.latency_s_se) for c in (entry, anchor) if c is not None]
    return hypot(*(se / seconds for seconds, se in times if seconds and se))


def _advice(table: LookupTable, group: list[LookupEntry]) -> str:
    """Which of the group to deploy; nothing when all lose the guard metric."""
    kept = [entry for entry in group if not entry.guard_lost]
    if not kept:
        return ""
    which = "the fastest" if kept[0] == group[0] else f"the fastest that keeps the {guard_name(table)}"
    return f" Deploy {which}, {kept[0].allocation}."


def _guard(table: LookupTable) -> Mapping[str, object]:
    guard = table.provenance.get("guard")
    return guard if isinstance(guard, dict) else {}


def _listed(entries: list[LookupEntry] | list[Candidate]) -> str:
    return ", ".join(str(e.allocation) for e in entries)

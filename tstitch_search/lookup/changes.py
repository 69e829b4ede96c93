"""What changed between two tables: the front, its times and qualities, and what the numbers depend on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import hypot
from typing import Any

from tstitch_search.lookup.entry import LookupEntry
from tstitch_search.lookup.table import LookupTable

# What differs between any two tables, or follows from what is compared anyway.
LEFT_OUT = ("created_at", "headline", "study", "spread", "first_batch_s", "largest_latency_s", "environment.platform")


@dataclass(frozen=True)
class Kept:
    """An allocation that is on both fronts; `slowdown` 0.1 means a tenth slower than before.

    `quality_change` is None where the qualities are at another n or of another metric, and do not compare. With
    `same_images` a difference in quality is exact, and so is that of a time with itself; other errors take the two
    measurements as independent.
    """

    before: LookupEntry
    after: LookupEntry
    quality_change: float | None
    same_images: bool = False

    @property
    def slowdown(self) -> float:
        """Relative change of the time; 0 when it took no time before."""
        return self.after.latency_s / self.before.latency_s - 1 if self.before.latency_s else 0.0

    @property
    def slowdown_se(self) -> float:
        """Standard error of `slowdown`."""
        before, after = self.before, self.after
        if not (before.latency_s and after.latency_s):
            return 0.0
        if (before.latency_s, before.latency_s_se) == (after.latency_s, after.latency_s_se):
            return 0.0
        relative = hypot(before.latency_s_se / before.latency_s, after.latency_s_se / after.latency_s)
        return relative * after.latency_s / before.latency_s

    @property
    def quality_change_se(self) -> float:
        """Standard error of `quality_change`."""
        return 0.0 if self.same_images else hypot(self.before.quality_se, self.after.quality_se)


@dataclass(frozen=True)
class Changes:
    """`added` and `removed` from the front; `kept` on it; `settings`: what differs by name, (before, after)."""

    added: tuple[LookupEntry, ...]
    removed: tuple[LookupEntry, ...]
    kept: tuple[Kept, ...]
    settings: Mapping[str, tuple[Any, Any]]


def changes(before: LookupTable, after: LookupTable) -> Changes:
    """What became of the table `before` in the table `after`."""
    old = {entry.allocation: entry for entry in before.entries}
    new = {entry.allocation: entry for entry in after.entries}
    comparable = before.objective == after.objective and before.entries[0].n_images == after.entries[0].n_images
    same_images = comparable and bool(key := before.provenance.get("key")) and key == after.provenance.get("key")
    kept = [
        Kept(e, new[a], new[a].quality - e.quality if comparable else None, same_images)
        for a, e in old.items()
        if a in new
    ]
    return Changes(
        added=tuple(e for a, e in new.items() if a not in old),
        removed=tuple(e for a, e in old.items() if a not in new),
        kept=tuple(kept),
        settings=_differing(_settings(before), _settings(after)),
    )


def _settings(table: LookupTable) -> dict[str, Any]:
    """What the numbers depend on, flat: `operating point`, `dtype`, `key.weights.S`, ..."""
    points = {f"operating point {p.id}": f"{p.device}, batches of {p.batch_size}" for p in table.operating_points}
    about = {"study": table.study, "objective": table.objective.label, "n_images": table.entries[0].n_images}
    return {**about, **points, **dict(_flat(table.provenance))}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if (place := prefix + name) in LEFT_OUT:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{place}.")
        else:
            yield place, value


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*before, *after])
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

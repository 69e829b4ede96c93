"""Two tables of one key made into one: what either measured, with errors as if one run had measured all of it.

Images. Of the same seeds an image is the same image in both, and tells nothing twice: an allocation that both have
keeps the value of more images. Of other seeds the images are independent: the value is the mean, weighted by numbers of
images, and errors add as squares. FID depends on the number of images, so only values at the same one are averaged.

Seconds. Machines drift, so the second table's times are brought to the first one's pace, which what both timed tells:
exp of the weighted mean of log(time there / time here). Its error becomes part of every time that is brought over; it
is widened by the Birge ratio where the shared times disagree by more than their errors. Of two times of one allocation
the weighted mean counts.

Verdicts. The confirmation's of all entries hold together, anew. Those of `run --until-lossless` have images of their
own and spent their half of the error on them: they are kept, and the confirmation has the other half. Of two tables
with such looks the first one's are kept, for three halves are too much.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from math import exp, hypot, log, sqrt
from pathlib import Path
from typing import Any, TypeVar

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable, build_table
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.joint import shown_together
from tstitch_search.report.headline import headline
from tstitch_search.study_run.evaluation import LEVEL

C = TypeVar("C", bound=Candidate)
Value = tuple[float, float]
# Facts that decide neither the images nor what a step is.
MAY_DIFFER = ("search.", "latency.error", "latency.seconds")
# Recorded times have no errors; this share keeps weights finite.
LEAST = 1e-9


def merge(first: Path, second: Path) -> LookupTable:
    """The table of everything that either holds; the verdicts are those of all entries together.

    Raises ConfigError naming what differs, when the tables are about different things.
    """
    a, b = LookupTable.read(first), LookupTable.read(second)
    _require_alike(first, a, second, b)
    pace = _pace(_timed(a), _timed(b))
    independent = _seed(a) != _seed(b)
    confirmed = _united(_timed(a), {k: _at_pace(e, pace) for k, e in _timed(b).items()}, independent)
    others = {**_untimed(b, 1 / pace[0]), **_untimed(a, 1.0)}
    looks = _looks(a, b)
    shown = _lossless(a, confirmed, LEVEL / 2 if looks else LEVEL) | _shown_later(looks)
    entries = [replace(e, group=None, lossless=e.allocation == a.anchor or e.allocation in shown) for e in confirmed]
    rest = [c for k, c in others.items() if k not in {e.allocation for e in entries}]
    about = _provenance(a, b, entries, pace) | ({"until_lossless": looks} if looks else {})
    made = build_table(a.study, a.operating_points[:1], entries, rest, about, a.objective)
    return replace(made, provenance={**made.provenance, "headline": headline(made)})


def combined(values: Sequence[Value]) -> Value:
    """The mean of independent values, each (value, standard error), weighted by 1 / error^2, and its standard error.

    Where they disagree by more than their errors, the error is widened by the Birge ratio (Birge 1932).
    """
    weights = [1 / max(se, LEAST * abs(value), 1e-300) ** 2 for value, se in values]
    mean = sum(w * value for w, (value, _) in zip(weights, values, strict=True)) / sum(weights)
    apart = sum(w * (value - mean) ** 2 for w, (value, _) in zip(weights, values, strict=True))
    birge = max(1.0, sqrt(apart / max(len(values) - 1, 1)))
    return mean, birge / sqrt(sum(weights))


def _require_alike(first: Path, a: LookupTable, second: Path, b: LookupTable) -> None:
    there, here = _facts(a), _facts(b)
    if not there or not here:
        raise ConfigError(f"{second if there else first} does not say what it was measured with")
    names = [n for n in sorted({*there, *here}) if not n.startswith(MAY_DIFFER) and there.get(n) != here.get(n)]
    if names:
        lines = [f"  {n}: {there.get(n, 'absent')} and {here.get(n, 'absent')}" for n in names]
        raise ConfigError(
            f"{first} and {second} are about different things; these facts differ:\n" + "\n".join(lines),
            hint="`diff` compares such tables; another device's times come with `recalibrate`",
        )


def _facts(table: LookupTable) -> dict[str, Any]:
    """What two tables must have in common; of the images their seed does not matter."""
    key, point = table.provenance.get("key"), table.operating_points[0]
    if not isinstance(key, dict):
        return {}
    images = re.sub(r"seed \d+ ", "", str(key.get("proxy_set", "")))
    measured = {"objective": table.objective.name, "device": point.device, "batch size": point.batch_size}
    return {**key, "proxy_set": images, "resolution": table.provenance.get("resolution"), **measured}


def _seed(table: LookupTable) -> Any:
    return table.provenance.get("seed")


def _timed(table: LookupTable) -> dict[Allocation, LookupEntry]:
    """Everything that was confirmed and timed, on the front or not."""
    timed = [c for c in table.candidates if c.confirmed and c.latency_s is not None and c.latency_s_se is not None]
    beaten = (LookupEntry(**{f.name: getattr(c, f.name) for f in fields(Candidate)}) for c in timed)
    return {c.allocation: c for c in (*beaten, *table.entries)}


def _untimed(table: LookupTable, factor: float) -> dict[Allocation, Candidate]:
    """What was only searched, its predicted time at another pace."""
    return {
        c.allocation: replace(c, latency_s_predicted=c.latency_s_predicted * factor, latency_by_point={})
        for c in table.candidates
        if not c.confirmed
    }


def _pace(a: Mapping[Allocation, LookupEntry], b: Mapping[Allocation, LookupEntry]) -> Value:
    """How many times as long the second table's batches took, and the relative error of that."""
    shared = [k for k in a if k in b]
    if not shared:
        raise ConfigError("the tables have no timed allocation in common, not even the largest denoiser alone")
    logs = [
        (log(b[k].latency_s / a[k].latency_s), max(hypot(_relative_se(a[k]), _relative_se(b[k])), LEAST))
        for k in shared
    ]
    mean, se = combined(logs)
    return exp(mean), se


def _relative_se(entry: LookupEntry) -> float:
    return entry.latency_s_se / entry.latency_s


def _at_pace(entry: LookupEntry, pace: Value) -> LookupEntry:
    """The entry with its times at the first table's pace."""
    factor, se = pace
    seconds = entry.latency_s / factor
    return replace(
        entry,
        latency_s=seconds,
        latency_s_se=seconds * hypot(_relative_se(entry), se),
        latency_s_predicted=entry.latency_s_predicted / factor,
        latency_by_point={},
    )


def _united(
    a: Mapping[Allocation, LookupEntry], b: Mapping[Allocation, LookupEntry], independent: bool
) -> list[LookupEntry]:
    """Each allocation once."""
    united = []
    for allocation in dict.fromkeys([*a, *b]):
        found = [replace(t[allocation], latency_by_point={}) for t in (a, b) if allocation in t]
        united.append(found[0] if len(found) == 1 else _both(found[0], found[1], independent))
    return united


def _both(a: LookupEntry, b: LookupEntry, independent: bool) -> LookupEntry:
    """What two tables say of one allocation."""
    seconds, seconds_se = combined([(a.latency_s, a.latency_s_se), (b.latency_s, b.latency_s_se)])
    more = b if b.n_images > a.n_images else a
    if independent and a.n_images == b.n_images:
        more = _averaged(a, b)
    return replace(more, latency_s=seconds, latency_s_se=seconds_se)


def _averaged(a: LookupEntry, b: LookupEntry) -> LookupEntry:
    """The mean of two values at the same number of independent images; a metric that only one has stays as it is."""
    metrics = {
        name: replace(
            value,
            value=(value.value + b.metrics[name].value) / 2,
            se=_half(value.se, b.metrics[name].se),
            difference=_mean(value.difference, b.metrics[name].difference),
            difference_se=_half(value.difference_se, b.metrics[name].difference_se),
            quantiles={},
        )
        if name in b.metrics
        else value
        for name, value in a.metrics.items()
    }
    return replace(
        a,
        quality=(a.quality + b.quality) / 2,
        quality_se=hypot(a.quality_se, b.quality_se) / 2,
        quality_difference=_mean(a.quality_difference, b.quality_difference),
        quality_difference_se=_half(a.quality_difference_se, b.quality_difference_se),
        metrics=metrics,
        quantiles={},
        by_group={},
        guard_lost=a.guard_lost or b.guard_lost,
    )


def _mean(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else (a + b) / 2


def _half(a: float | None, b: float | None) -> float | None:
    """The standard error of the mean of two independent values."""
    return None if a is None or b is None else hypot(a, b) / 2


def _looks(a: LookupTable, b: LookupTable) -> Mapping[str, Any] | None:
    """What `run --until-lossless` saw for the first table that has it, against the first table's margin."""
    margins = [[t.provenance.get(name) for name in ("margin", "lossless_margin", "anchor")] for t in (a, b)]
    tables = (a, b) if margins[0] == margins[1] else (a,)
    return next((about for t in tables if (about := t.provenance.get("until_lossless"))), None)


def _shown_later(looks: Mapping[str, Any] | None) -> set[Allocation]:
    found = looks["candidates"] if looks else []
    return {Allocation.parse(c["allocation"]) for c in found if c["outcome"] == "shown"}


def _lossless(table: LookupTable, entries: Sequence[LookupEntry], level: float) -> set[Allocation]:
    """Whose loss is shown to be below the first table's margin, all verdicts together erring at `level`."""
    margin, share = table.provenance.get("margin"), table.provenance.get("lossless_margin", 0.0)
    p_values = {}
    for e in entries:
        if e.quality_difference is not None and e.quality_difference_se:
            found = QualityEstimate(
                e.quality,
                e.quality_se,
                e.n_images,
                e.quality_difference,
                e.quality_difference_se,
                table.objective.higher_is_better,
            )
            p_values[e.allocation] = found.p_of_loss(found.in_units(share) if margin is None else margin)
    return shown_together(p_values, level)


def _provenance(a: LookupTable, b: LookupTable, entries: Sequence[LookupEntry], pace: Value) -> dict[str, Any]:
    largest = next((e.latency_s for e in entries if e.allocation == a.anchor), None)
    said = [{k: t.provenance.get(k) for k in ("created_at", "seed", "n_images_confirm")} for t in (a, b)]
    about = {key: value for key, value in a.provenance.items() if key not in ("groups", "until_lossless")}
    return {
        **about,
        "created_at": max(str(t.provenance.get("created_at", "")) for t in (a, b)),
        "largest_latency_s": largest,
        "merged": {"tables": said, "pace": pace[0], "pace_se": pace[1]},
    }

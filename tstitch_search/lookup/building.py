"""From everything that was measured to a table: the front becomes its entries."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from tstitch_search.lookup.entry import Candidate, LookupEntry
from tstitch_search.lookup.objective import Objective, OperatingPoint
from tstitch_search.lookup.table import FID, LookupTable
from tstitch_search.pareto import pareto_front


def build_table(
    study: str,
    operating_points: Sequence[OperatingPoint],
    confirmed: Sequence[LookupEntry],
    others: Sequence[Candidate],
    provenance: Mapping[str, Any],
    objective: Objective = FID,
) -> LookupTable:
    """The table whose entries are the front of `confirmed` in time and quality; all else becomes a candidate.

    Qualities compare at equal n only, so an entry has the largest n among `confirmed`. Candidates are sorted by
    predicted time. Raises ConfigError when nothing was confirmed.
    """
    n_images = max((e.n_images for e in confirmed), default=0)
    comparable = [e for e in confirmed if e.n_images == n_images]
    front = [comparable[i] for i in pareto_front([(e.latency_s, objective.loss(e.quality)) for e in comparable])]
    beaten = [as_candidate(e) for e in confirmed if e not in front]
    candidates = sorted([*beaten, *others], key=lambda c: (c.latency_s_predicted, str(c.allocation), c.n_images))
    return LookupTable(study, tuple(operating_points), tuple(front), tuple(candidates), provenance, objective)


def as_candidate(entry: LookupEntry) -> Candidate:
    """A confirmed entry that is not on the front."""
    return Candidate(**{f.name: getattr(entry, f.name) for f in fields(Candidate)})

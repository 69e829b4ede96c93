"""The values of groups of images (a category of prompts, a class), and the front that each of them has."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

from tstitch_search.errors import ConfigError, QualityGateError
from tstitch_search.json_fields import check_count, check_flag, get, get_mapping
from tstitch_search.lookup.objective import MetricValue, Objective
from tstitch_search.pareto import pareto_front

if TYPE_CHECKING:
    from tstitch_search.lookup.entry import Candidate, LookupEntry
    from tstitch_search.lookup.table import LookupTable


@dataclass(frozen=True, kw_only=True)
class GroupValue:
    """What the `n_images` of one group tell of an allocation: the objective and further metrics, each by its name.

    A metric that they are too few for is not there. `lossless`: shown, of this group, to lose less than the study's
    margin, with 95 % confidence for all groups and allocations together.
    """

    n_images: int
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    lossless: bool = False

    def __post_init__(self) -> None:
        check_count("n_images", self.n_images)
        check_flag("lossless", self.lossless)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The values written in `data`. Raises ConfigError naming the field."""
        metrics = get_mapping({"metrics": get(data, "metrics")}, "metrics", MetricValue.from_json)
        return cls(n_images=get(data, "n_images"), metrics=metrics, lossless=data.get("lossless", False))

    def to_json(self) -> dict[str, Any]:
        """The fields in the order of the file."""
        metrics = {name: value.to_json() for name, value in self.metrics.items()}
        return {"n_images": self.n_images, "metrics": metrics, "lossless": self.lossless}


def table_of_group(table: "LookupTable", name: str, as_entry: type["LookupEntry"]) -> "LookupTable":
    """The table by the values of the group's images: its own front, and what was confirmed beside it.

    Raises ConfigError for an unknown group, QualityGateError for one whose images are too few.
    """
    n_images, objective = table.entries[0].n_images, table.objective
    measured = [*table.entries, *(c for c in table.candidates if c.confirmed and c.n_images == n_images)]
    known = list(dict.fromkeys(group for c in measured for group in c.by_group))
    if name not in known:
        raise _unknown(name, known)
    theirs = [c for c in measured if name in c.by_group and c.latency_s is not None]
    found = [_as_entry(c, c.by_group[name], objective, as_entry) for c in theirs if _tells(c, name, objective)]
    if not found:
        n = theirs[0].by_group[name].n_images
        raise QualityGateError(f"the {n} images of {name!r} are too few to say anything about {objective.label}")
    front = tuple(found[i] for i in pareto_front([(e.latency_s, objective.loss(e.quality)) for e in found]))
    about = {k: v for k, v in table.provenance.items() if k not in ("headline", "groups")} | {"group": name}
    return replace(table, entries=front, candidates=tuple(e for e in found if e not in front), provenance=about)


def _unknown(name: str, known: list[str]) -> ConfigError:
    if not known:
        return ConfigError("the table has no values of groups", hint="a study with proxy_set.groups makes them")
    near = get_close_matches(name, known, n=1)
    expected = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    return ConfigError(f"unknown group {name!r:.60}, {expected}")


def _tells(measured: "Candidate", name: str, objective: Objective) -> bool:
    """Whether the group's images are enough for the objective."""
    return objective.name in measured.by_group[name].metrics


def _as_entry(
    measured: "Candidate", of_group: GroupValue, objective: Objective, as_entry: type["LookupEntry"]
) -> "LookupEntry":
    """What was measured, with the group's values in the place of those of all images."""
    value = of_group.metrics[objective.name]
    theirs = {
        "quality": value.value,
        "quality_se": value.se or 0.0,
        "quality_difference": value.difference,
        "quality_difference_se": value.difference_se,
        "quantiles": value.quantiles,
        "n_images": of_group.n_images,
        "lossless": of_group.lossless,
        "metrics": {name: m for name, m in of_group.metrics.items() if name != objective.name},
        "group": None,
        "by_group": {},
    }
    return as_entry(**{f.name: getattr(measured, f.name) for f in fields(measured)} | theirs)

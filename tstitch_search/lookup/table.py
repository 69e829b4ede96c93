"""The table as a whole: build it, write it, read it, pick from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from tstitch_search.errors import ConfigError, QualityGateError
from tstitch_search.files import write_whole
from tstitch_search.json_fields import check_count, check_text, get, get_list, read_json, refuse
from tstitch_search.lookup.entry import Candidate, LookupEntry
from tstitch_search.lookup.objective import Objective, OperatingPoint
from tstitch_search.pareto import pareto_front

SCHEMA_VERSION = 1
FID = Objective()


@dataclass(frozen=True)
class LookupTable:
    """The confirmed front of one study, sorted by time: each entry is slower than the one before, and better.

    All entries are at one number of images. `candidates`: everything else that was measured. `operating_points`: the
    first one is that of `latency_s`, the others those of `latency_by_point`.
    """

    study: str
    operating_points: tuple[OperatingPoint, ...]
    entries: tuple[LookupEntry, ...]
    candidates: tuple[Candidate, ...]
    provenance: Mapping[str, Any]
    objective: Objective = FID

    def __post_init__(self) -> None:
        check_text("study", self.study)
        for name in ("operating_points", "entries"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected at least one, got none")
        for i, (a, b) in enumerate(pairwise(self.entries), start=1):
            if not (a.latency_s < b.latency_s and self._loss(a) > self._loss(b)):
                better = "a higher" if self.objective.higher_is_better else "a lower"
                raise ConfigError(
                    f"entries[{i}]: expected slower than the one before and {better} {self.objective.label}: "
                    f"{self.describe(b)} after {self.describe(a)}"
                )
            if a.n_images != b.n_images:
                raise ConfigError(f"entries[{i}].n_images: expected {a.n_images} as before, got {b.n_images}")

    def _loss(self, candidate: Candidate) -> float:
        return self.objective.loss(candidate.quality)

    def describe(self, entry: LookupEntry) -> str:
        """The entry in words."""
        return (
            f"{entry.allocation} with {entry.latency_s:.4g} s and {self.objective.label} {entry.quality:.4g} "
            f"at n = {entry.n_images}"
        )

    def pick(
        self, budget_s: float | None = None, max_fid: float | None = None, limit: float | None = None
    ) -> LookupEntry:
        """The best entry within `budget_s` seconds, or with a limit alone the fastest that is as good.

        `max_fid`: the FID not to exceed; `limit`: the same for any objective, the worst value to accept. With both
        limits, the best entry within both. An entry is a measured allocation; nothing is interpolated. Raises
        QualityGateError saying what is possible when no entry fits, ConfigError for `max_fid` of a table without FID.
        """
        worst = limit if max_fid is None else self._fid_limit(max_fid)
        in_time = [e for e in self.entries if budget_s is None or e.latency_s <= budget_s]
        good = [e for e in self.entries if worst is None or self._loss(e) <= self.objective.loss(worst)]
        fitting = [e for e in in_time if e in good]
        if fitting:
            return fitting[0] if budget_s is None and worst is not None else fitting[-1]
        raise self._nothing_fits(budget_s, worst, in_time, good)

    def _fid_limit(self, max_fid: float) -> float:
        if self.objective.name != "fid":
            raise ConfigError(
                f"this table is about {self.objective.label}, not FID", hint="give the limit as --limit instead"
            )
        return max_fid

    def _nothing_fits(
        self, budget_s: float | None, worst: float | None, in_time: list[LookupEntry], good: list[LookupEntry]
    ) -> QualityGateError:
        """Why no entry fits, and what would."""
        bound = "at least" if self.objective.higher_is_better else "at most"
        asked = f"{self.objective.label} {bound} {worst:g}" if worst is not None else ""
        if not in_time:
            return QualityGateError(
                f"no entry takes at most {budget_s:g} s; the fastest is {self.describe(self.entries[0])}",
                f"a budget of at least {_rounded(self.entries[0].latency_s, ROUND_CEILING)} s",
            )
        if not good:
            rounding = ROUND_FLOOR if self.objective.higher_is_better else ROUND_CEILING
            opposite = "at most" if self.objective.higher_is_better else "at least"
            return QualityGateError(
                f"no entry has {asked}; the best is {self.describe(self.entries[-1])}",
                f"a limit of {opposite} {_rounded(self.entries[-1].quality, rounding)}",
            )
        return QualityGateError(
            f"no entry takes at most {budget_s:g} s and has {asked}: "
            f"the best in that time is {self.describe(in_time[-1])}, "
            f"the fastest that is as good is {self.describe(good[0])}",
            "the limits of one of the two",
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """The table written at `path`. Raises ConfigError naming the file and the field when it is not a valid one."""
        try:
            return cls.from_json(read_json(path))
        except ConfigError as error:
            hint = error.hint or "give the lookup.json that a finished run wrote"
            raise ConfigError(f"{path}: {error.message}", hint) from error

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The table written in `data`. Raises ConfigError naming the field."""
        _check_version(get(data, "schema_version"))
        if not isinstance(get(data, "provenance"), dict):
            refuse("provenance", "an object", data["provenance"])
        objective = Objective.from_json(data["objective"]) if "objective" in data else FID
        return cls(
            study=get(data, "study"),
            operating_points=get_list(data, "operating_points", OperatingPoint.from_json),
            entries=get_list(data, "entries", lambda item: LookupEntry.from_json(item, objective)),
            candidates=get_list(data, "candidates", lambda item: Candidate.from_json(item, objective)),
            provenance=data["provenance"],
            objective=objective,
        )

    def to_json(self) -> dict[str, Any]:
        """The table as the file holds it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "objective": asdict(self.objective),
            "operating_points": [asdict(point) for point in self.operating_points],
            "entries": [entry.to_json(self.objective) for entry in self.entries],
            "candidates": [candidate.to_json(self.objective) for candidate in self.candidates],
            "provenance": dict(self.provenance),
        }

    def write(self, path: Path) -> None:
        """Write the table; a crash leaves the old file or the new one. Raises EnvironmentProblem when it cannot."""
        write_whole(path, json.dumps(self.to_json(), indent=2, allow_nan=False).encode() + b"\n")


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


def _rounded(value: float, rounding: str) -> str:
    """`value` in four digits, rounded away from the limit, so that asking for what is printed succeeds."""
    return format(Context(prec=4, rounding=rounding).create_decimal(str(value)), "f")


def _check_version(version: Any) -> None:
    check_count("schema_version", version)
    if version > SCHEMA_VERSION:
        problem = f"schema_version: expected at most {SCHEMA_VERSION}, got {version}"
        raise ConfigError(problem, "upgrade to read this newer table: pip install -U tstitch-search")

"""The table as a whole: build it, write it, read it, pick from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, Self

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.files import write_whole
from tstitch_search.json_fields import check_count, check_text, get, get_list, read_json, refuse
from tstitch_search.lookup.anchor import anchor_of, name_of_anchor, quality_of_anchor, value_at_loss
from tstitch_search.lookup.entry import Candidate, LookupEntry
from tstitch_search.lookup.groups import table_of_group
from tstitch_search.lookup.notebook import html_of
from tstitch_search.lookup.objective import Objective, OperatingPoint
from tstitch_search.lookup.picking import Deployed, Limits, Option, Shelf, choose, fastest_lossless
from tstitch_search.lookup.rows import rows_of

SCHEMA_VERSION = 1
FID = Objective()
# How many memory limits and operating points a table stays prepared for.
KEPT_SHELVES = 16


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
        loss = self.objective.loss
        for i, (a, b) in enumerate(pairwise(self.entries), start=1):
            if not (a.latency_s < b.latency_s and loss(a.quality) > loss(b.quality)):
                better = "a higher" if self.objective.higher_is_better else "a lower"
                raise ConfigError(
                    f"entries[{i}]: expected slower than the one before and {better} {self.objective.label}: "
                    f"{b.allocation} after {a.allocation}"
                )
            if a.n_images != b.n_images:
                raise ConfigError(f"entries[{i}].n_images: expected {a.n_images} as before, got {b.n_images}")

    @cached_property
    def anchor(self) -> Allocation | None:
        """What all are held against; of an older table the largest denoiser alone. None where it does not say which."""
        return anchor_of(self)

    @cached_property
    def anchor_name(self) -> str:
        """What the anchor is called beside a number: `XL`, or `S*4-XL*16`."""
        return name_of_anchor(self)

    anchor_quality = cached_property(quality_of_anchor)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of images that have values of their own."""
        return tuple(dict.fromkeys(name for entry in self.entries for name in entry.by_group))

    def pick(
        self,
        budget_s: float | None = None,
        max_fid: float | None = None,
        limit: float | None = None,
        max_fid_loss: float | None = None,
        max_memory_mb: float | None = None,
        at: str | None = None,
        at_batch: int | None = None,
        lossless: bool = False,
        group: str | None = None,
    ) -> Candidate:
        """The best allocation within `budget_s` seconds, or without a budget the fastest that is good enough.

        `max_fid`: the FID not to exceed; `limit`: the same for any objective, the worst value to accept;
        `max_fid_loss`: the share by which it may be worse than the anchor; `max_memory_mb`: peak memory.
        `at`: another operating point of the table, whose front may hold confirmed candidates too; `at_batch`: the same,
        by its batch size. `lossless`: the fastest whose loss is shown to be below the study's margin, and that loses no
        guard metric; the anchor counts as such. `group`: by that group's values, which what is picked then has.
        What is picked was measured as it stands; nothing is interpolated. Raises QualityGateError saying what is
        possible when nothing fits or the group is too small, ConfigError for an unknown operating point or group, or
        `max_fid` of a table without FID.
        """
        if group is not None:
            return self.of_group(group).pick(
                budget_s, max_fid, limit, max_fid_loss, max_memory_mb, at, at_batch, lossless
            )
        if max_fid is not None and self.objective.name != "fid":
            raise ConfigError(f"this table is about {self.objective.label}, not FID", hint="give it as --limit instead")
        given = [value for value in (max_fid, limit) if value is not None]
        if max_fid_loss is not None:
            given.append(value_at_loss(self, max_fid_loss))
        limits = Limits(budget_s, min(given, key=self.objective.loss, default=None), max_memory_mb)
        point = self._point(at, at_batch)
        shelf, every = self._shelf(point, max_memory_mb), self._shelf(point).options
        return fastest_lossless(shelf, limits) if lossless else choose(shelf, limits, every)

    def of_group(self, name: str) -> "LookupTable":
        """The table by the values of one group's images: its own front of everything that was confirmed.

        Raises ConfigError for an unknown group, QualityGateError for one whose images are too few.
        """
        if name not in self._of_groups:
            self._of_groups[name] = table_of_group(self, name, LookupEntry)
        return self._of_groups[name]

    @cached_property
    def _of_groups(self) -> dict[str, "LookupTable"]:
        return {}

    def front(self, at: str | None = None, at_batch: int | None = None) -> tuple[Candidate, ...]:
        """What `pick` may answer with at an operating point, fastest first; `entries` at the first one."""
        return tuple(option.candidate for option in self._shelf(self._point(at, at_batch)).front)

    def option_of(self, picked: Candidate, at: str | None = None, at_batch: int | None = None) -> Option:
        """What was picked, with its time and memory at that operating point."""
        return next(o for o in self._shelf(self._point(at, at_batch)).options if o.candidate == picked)

    def describe(self, picked: Candidate, at: str | None = None, at_batch: int | None = None) -> "Deployed":
        """What deploying `picked` means at that operating point: batch, device, steps, time, speed-up, quality."""
        option, point_id = self.option_of(picked, at, at_batch), self._point(at, at_batch)
        point = next(p for p in self.operating_points if p.id == point_id)
        others = self._shelf(point_id).options
        anchor = next((o.latency_s for o in others if o.candidate.allocation == self.anchor), None)
        if anchor is None and point_id == self.operating_points[0].id:
            anchor = self.provenance.get("largest_latency_s")
        return Deployed(option, point, None if anchor is None else anchor / option.latency_s, self.anchor)

    def _point(self, at: str | None, at_batch: int | None) -> str:
        """The id of the operating point that is meant. Raises ConfigError unless it is exactly one."""
        if at_batch is None:
            return self.operating_points[0].id if at is None else at
        found = [p.id for p in self.operating_points if p.batch_size == at_batch and at in (None, p.id)]
        if len(found) != 1:
            known = ", ".join(f"{p.id} with batches of {p.batch_size}" for p in self.operating_points)
            number = "more than one operating point" if found else "no operating point"
            hint = "name one by its id" if found else "latency.points of the study add one"
            raise ConfigError(f"{number} with batches of {at_batch}, found {known}", hint)
        return found[0]

    @cached_property
    def _shelves(self) -> dict[tuple[str, float | None], Shelf]:
        return {}

    def _shelf(self, point: str, max_memory_mb: float | None = None) -> Shelf:
        """The options at a point within a memory limit; those asked for last are kept, for servers ask again."""
        if (kept := self._shelves.get((point, max_memory_mb))) is not None:
            return kept
        every = Shelf(tuple(self.options(point)))
        shelf = every if max_memory_mb is None else every.within(max_memory_mb)
        if len(self._shelves) >= KEPT_SHELVES:
            self._shelves.clear()
        self._shelves[point, max_memory_mb] = shelf
        return shelf

    def options(self, at: str | None = None) -> list[Option]:
        """What may be deployed at the operating point `at`, the first one if None.

        At the first that is the front; elsewhere every confirmed allocation, since its front may be another.
        """
        if at is None or at == self.operating_points[0].id:
            return [self._option(e, e.latency_s, e.peak_memory_mb) for e in self.entries]
        if at not in (known := [point.id for point in self.operating_points]):
            raise ConfigError(f"unknown operating point {at!r}, expected one of {', '.join(known)}")
        n_images = self.entries[0].n_images
        others = [c for c in self.candidates if c.confirmed and c.n_images == n_images]
        times = [(c, c.latency_by_point[at]) for c in (*self.entries, *others) if at in c.latency_by_point]
        if not times:
            raise ConfigError(f"no allocation of the table has a time at the operating point {at!r}")
        return [self._option(c, time.latency_s, time.peak_memory_mb) for c, time in times]

    def _option(self, candidate: Candidate, latency_s: float, memory_mb: float | None) -> Option:
        return Option(candidate, latency_s, inf if memory_mb is None else memory_mb, self.objective)

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """The table written at `path`. Raises ConfigError naming the file and the field when it is not a valid one."""
        try:
            return cls.from_json(read_json(Path(path)))
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

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return html_of(self)

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

    def to_dicts(self, *, candidates: bool = False) -> list[dict[str, Any]]:
        """A flat row for each entry, all with the same keys, for `pandas.DataFrame(...)` or `polars.DataFrame(...)`.

        With `candidates` also whatever else was measured; `on_front` tells them apart. `steps_NAME`: sampling steps of
        a denoiser; `METRIC`, `METRIC_se`, `METRIC_difference`: the objective and further metrics; `latency_s_POINT`:
        seconds at another operating point. None stands for what was not measured.
        """
        return rows_of(self.entries, self.candidates if candidates else (), self.objective)

    def write(self, path: Path) -> None:
        """Write the table; a crash leaves the old file or the new one. Raises EnvironmentProblem when it cannot."""
        write_whole(path, json.dumps(self.to_json(), indent=2, allow_nan=False).encode() + b"\n")


def _check_version(version: Any) -> None:
    check_count("schema_version", version)
    if version > SCHEMA_VERSION:
        problem = f"schema_version: expected at most {SCHEMA_VERSION}, got {version}"
        raise ConfigError(problem, "upgrade to read this newer table: pip install -U tstitch-search")

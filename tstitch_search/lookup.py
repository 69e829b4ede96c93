"""The deployable result: for any time budget, the allocation to use and how good it was measured to be.

Readers of `lookup.json`: any server (this file imports only the standard library and our own values), `pick`, the
report. `entries` is the confirmed Pareto front sorted by time, all at one number of images; `candidates` is everything
else that was measured. A reader ignores fields it does not know; a change it must not ignore raises SCHEMA_VERSION.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from decimal import ROUND_CEILING, Context
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Self

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError, QualityGateError
from tstitch_search.files import write_whole
from tstitch_search.json_fields import check_count, check_number, check_text, get, get_list, read_json, refuse
from tstitch_search.pareto import pareto_front

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class OperatingPoint:
    """Where and how the times were taken: seconds are for one batch of `batch_size` images on `device`."""

    id: str
    device: str
    batch_size: int

    def __post_init__(self) -> None:
        check_text("id", self.id)
        check_text("device", self.device)
        check_count("batch_size", self.batch_size)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The operating point written in `data`. Raises ConfigError naming the field."""
        return cls(get(data, "id"), get(data, "device"), get(data, "batch_size"))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What was measured of one allocation; None stands for what was not measured.

    `latency_s*`: seconds of one batch, measured with its standard error, and as the calibration predicts it. `fid*`:
    FID of `n_images` images with its standard error. `fid_difference*`: FID minus that of the largest denoiser alone,
    paired over the same images. `lossless`: shown, with 95 % confidence, to lose less than the study's margin.
    """

    allocation: Allocation
    latency_s: float | None
    latency_s_predicted: float
    latency_s_se: float | None
    fid: float
    fid_se: float
    n_images: int
    peak_memory_mb: float | None
    fid_difference: float | None = None
    fid_difference_se: float | None = None
    lossless: bool = False

    SIGNED: ClassVar[set[str]] = {"fid", "fid_difference"}
    OPTIONAL: ClassVar[set[str]] = {
        "latency_s",
        "latency_s_se",
        "peak_memory_mb",
        "fid_difference",
        "fid_difference_se",
    }

    def __post_init__(self) -> None:
        check_count("n_images", self.n_images)
        if not isinstance(self.lossless, bool):
            refuse("lossless", "true or false", self.lossless)
        for name in [f.name for f in fields(self) if f.name not in {"allocation", "n_images", "lossless"}]:
            value = getattr(self, name)
            if not (value is None and name in self.OPTIONAL):
                check_number(name, value, lowest=-inf if name in self.SIGNED else 0)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The measurement written in `data`. Raises ConfigError naming the field."""
        named = [f for f in fields(cls) if f.name != "allocation"]
        values = {f.name: get(data, f.name) if f.default is MISSING else data.get(f.name, f.default) for f in named}
        return cls(allocation=_allocation(data), **values)

    def to_json(self) -> dict[str, Any]:
        """The fields in the order of the file, with `steps` and `fractions` spelt out for other readers."""
        steps = {"steps": self.allocation.steps, "fractions": self.allocation.fractions}
        return {"allocation": str(self.allocation), **steps, **_measured(self)}


@dataclass(frozen=True, kw_only=True)
class LookupEntry(Candidate):
    """A confirmed and timed allocation: something to deploy."""

    latency_s: float
    latency_s_se: float

    OPTIONAL: ClassVar[set[str]] = {"peak_memory_mb", "fid_difference", "fid_difference_se"}

    def __str__(self) -> str:
        return f"{self.allocation} with {self.latency_s:.4g} s and FID {self.fid:.4g} at n = {self.n_images}"


@dataclass(frozen=True)
class LookupTable:
    """The confirmed front of one study, sorted by time: each entry is slower than the one before, with a lower FID."""

    study: str
    operating_points: tuple[OperatingPoint, ...]
    entries: tuple[LookupEntry, ...]
    candidates: tuple[Candidate, ...]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_text("study", self.study)
        for name in ("operating_points", "entries"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected at least one, got none")
        for i, (a, b) in enumerate(pairwise(self.entries), start=1):
            if not (a.latency_s < b.latency_s and a.fid > b.fid):
                raise ConfigError(f"entries[{i}]: expected slower than the one before and a lower FID: {b} after {a}")
            if a.n_images != b.n_images:
                raise ConfigError(f"entries[{i}].n_images: expected {a.n_images} as before, got {b.n_images}")

    def pick(self, budget_s: float | None = None, max_fid: float | None = None) -> LookupEntry:
        """The entry with the lowest FID within `budget_s` seconds, or with `max_fid` alone the fastest that is as good.

        With both limits, the lowest FID within both. An entry is a measured allocation; nothing is interpolated.
        Raises QualityGateError saying what is possible when no entry fits.
        """
        in_time = [e for e in self.entries if budget_s is None or e.latency_s <= budget_s]
        good = [e for e in self.entries if max_fid is None or e.fid <= max_fid]
        fitting = [e for e in in_time if e in good]
        if fitting:
            return fitting[0] if budget_s is None and max_fid is not None else fitting[-1]
        if not in_time:
            enough = f"a budget of at least {_round_up(self.entries[0].latency_s)} s"
            raise QualityGateError(f"no entry takes at most {budget_s:g} s; the fastest is {self.entries[0]}", enough)
        if not good:
            enough = f"a limit of at least {_round_up(self.entries[-1].fid)}"
            raise QualityGateError(
                f"no entry has an FID of at most {max_fid:g}; the best is {self.entries[-1]}", enough
            )
        raise QualityGateError(
            f"no entry takes at most {budget_s:g} s and has an FID of at most {max_fid:g}: "
            f"the best in that time is {in_time[-1]}, the fastest that is as good is {good[0]}",
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
        return cls(
            study=get(data, "study"),
            operating_points=get_list(data, "operating_points", OperatingPoint.from_json),
            entries=get_list(data, "entries", LookupEntry.from_json),
            candidates=get_list(data, "candidates", Candidate.from_json),
            provenance=data["provenance"],
        )

    def to_json(self) -> dict[str, Any]:
        """The table as the file holds it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "operating_points": [asdict(point) for point in self.operating_points],
            "entries": [entry.to_json() for entry in self.entries],
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "provenance": dict(self.provenance),
        }

    def write(self, path: Path) -> None:
        """Write the table; a crash leaves the old file or the new one. Raises EnvironmentProblem when it cannot."""
        write_whole(path, json.dumps(self.to_json(), indent=2, allow_nan=False).encode() + b"\n")


def build_table(
    study: str,
    operating_point: OperatingPoint,
    confirmed: Sequence[LookupEntry],
    others: Sequence[Candidate],
    provenance: Mapping[str, Any],
) -> LookupTable:
    """The table whose entries are the front of `confirmed` in time and FID; all else becomes a candidate.

    FIDs compare at equal n only, so an entry has the largest n among `confirmed`. Candidates are sorted by predicted
    time. Raises ConfigError when nothing was confirmed.
    """
    n_images = max((e.n_images for e in confirmed), default=0)
    comparable = [e for e in confirmed if e.n_images == n_images]
    front = [comparable[i] for i in pareto_front([(e.latency_s, e.fid) for e in comparable])]
    beaten = [Candidate(allocation=e.allocation, **_measured(e)) for e in confirmed if e not in front]
    candidates = sorted([*beaten, *others], key=lambda c: (c.latency_s_predicted, str(c.allocation), c.n_images))
    return LookupTable(study, (operating_point,), tuple(front), tuple(candidates), provenance)


def _measured(candidate: Candidate) -> dict[str, Any]:
    return {f.name: getattr(candidate, f.name) for f in fields(candidate) if f.name != "allocation"}


def _round_up(value: float) -> str:
    """`value` in four digits, never below it, so that asking for what is printed succeeds."""
    return format(Context(prec=4, rounding=ROUND_CEILING).create_decimal(str(value)), "f")


def _check_version(version: Any) -> None:
    check_count("schema_version", version)
    if version > SCHEMA_VERSION:
        problem = f"schema_version: expected at most {SCHEMA_VERSION}, got {version}"
        raise ConfigError(problem, "upgrade to read this newer table: pip install -U tstitch-search")


def _allocation(data: Any) -> Allocation:
    """The allocation of `data`, after checking that `steps` and `fractions` say the same."""
    text = get(data, "allocation")
    check_text("allocation", text)
    try:
        allocation = Allocation.parse(text)
    except ConfigError as error:
        raise ConfigError(f"allocation: {error.message}", error.hint) from error
    except ValueError as error:  # more digits than int() reads
        raise ConfigError(f"allocation: {error}") from error
    derived = {"allocation": str(allocation), "steps": allocation.steps, "fractions": allocation.fractions}
    for field, expected in derived.items():
        if get(data, field) != expected:
            refuse(field, f"{expected} for {allocation}", data[field])
    return allocation

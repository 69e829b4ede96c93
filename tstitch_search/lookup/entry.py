"""What was measured of one allocation, as the table holds it."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from math import inf
from typing import Any, ClassVar, Self

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.json_fields import (
    check_count,
    check_flag,
    check_number,
    check_text,
    get,
    get_list,
    get_mapping,
    refuse,
)
from tstitch_search.lookup.groups import GroupValue
from tstitch_search.lookup.objective import MetricValue, Objective, Quantiles, number

# The lists that have one number for each step.
_BY_STEP = ("timesteps", "sigmas")


@dataclass(frozen=True, kw_only=True)
class PointTime:
    """Seconds of one batch at another operating point, as its calibration predicts them, and the peak memory there."""

    latency_s: float
    latency_s_se: float
    peak_memory_mb: float | None = None

    def __post_init__(self) -> None:
        check_number("latency_s", self.latency_s, lowest=0)
        check_number("latency_s_se", self.latency_s_se, lowest=0)
        if self.peak_memory_mb is not None:
            check_number("peak_memory_mb", self.peak_memory_mb, lowest=0)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The time written in `data`. Raises ConfigError naming the field."""
        return cls(
            latency_s=get(data, "latency_s"),
            latency_s_se=get(data, "latency_s_se"),
            peak_memory_mb=data.get("peak_memory_mb"),
        )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What was measured of one allocation; None stands for what was not measured.

    `latency_s*`: seconds of one batch, measured with its standard error, and as the calibration predicts it.
    `latency_by_point`: the same at the study's other operating points, by id.
    `quality*`: the table's objective on `n_images` images with its standard error, and the difference to the
    anchor's, paired over the same images; in the file these four carry the objective's name (`fid`, `fid_se`,
    ...). `metrics`: further metrics by name. `lossless`: shown, with 95 % confidence, to lose less than the study's
    margin. `guard_lost`: the study's guard metric is worse by more than its tolerance. `confirmed`: measured on
    images that the search never saw. `group`: neighbours on the front with the same number cannot be told apart.
    `by_group`: the same metrics of the images of one group (a category of prompts, a class) alone, by its name.
    `quantiles`: of the objective's values of single images, where it has them, by the share that is no larger.
    `peak_memory_mb`: of the device while a batch is made; `extra_weights_mb`: its members' weights less the
    anchor's. `timesteps`, `sigmas`: where each step begins, as the scheduler had it while it was timed.
    """

    allocation: Allocation
    latency_s: float | None
    latency_s_predicted: float
    latency_s_se: float | None
    quality: float
    quality_se: float
    n_images: int
    peak_memory_mb: float | None
    extra_weights_mb: float | None = None
    quality_difference: float | None = None
    quality_difference_se: float | None = None
    lossless: bool = False
    guard_lost: bool = False
    confirmed: bool = False
    group: int | None = None
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    latency_by_point: Mapping[str, PointTime] = field(default_factory=dict)
    by_group: Mapping[str, GroupValue] = field(default_factory=dict)
    quantiles: Quantiles = field(default_factory=dict)
    timesteps: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()

    SIGNED: ClassVar[set[str]] = {"quality", "quality_difference", "extra_weights_mb"}
    OPTIONAL: ClassVar[set[str]] = {
        "latency_s",
        "latency_s_se",
        "peak_memory_mb",
        "extra_weights_mb",
        "quality_difference",
        "quality_difference_se",
    }

    def __post_init__(self) -> None:
        check_count("n_images", self.n_images)
        if self.group is not None:
            check_count("group", self.group)
        for name in _BY_STEP:
            if (n := len(getattr(self, name))) not in (0, self.allocation.n_steps):
                raise ConfigError(f"{name}: expected one for each of {self.allocation.n_steps} steps, got {n}")
        for name in ("lossless", "guard_lost", "confirmed"):
            check_flag(name, getattr(self, name))
        for name in ("latency_s_predicted", "quality", "quality_se", *sorted(Candidate.OPTIONAL)):
            value = getattr(self, name)
            if not (value is None and name in self.OPTIONAL):
                check_number(name, value, lowest=-inf if name in self.SIGNED else 0)

    @classmethod
    def from_json(cls, data: Any, objective: Objective) -> Self:
        """The measurement written in `data`. Raises ConfigError naming the field."""
        allocation = _allocation(data)
        values = {
            f.name: get(data, key) if f.default is MISSING else data.get(key, f.default)
            for f, key in _plain_fields(cls, objective)
        }
        try:
            return cls(
                allocation=allocation,
                metrics=get_mapping(data, "metrics", MetricValue.from_json),
                latency_by_point=get_mapping(data, "latency_by_point", PointTime.from_json),
                by_group=get_mapping(data, "by_group", GroupValue.from_json),
                quantiles=get_mapping(data, "quantiles", number),
                timesteps=_by_step(data, "timesteps"),
                sigmas=_by_step(data, "sigmas"),
                **values,
            )
        except ConfigError as error:
            if error.message.startswith("quality"):
                raise ConfigError(error.message.replace("quality", objective.name, 1), error.hint) from error
            raise

    def to_json(self, objective: Objective) -> dict[str, Any]:
        """The fields in the order of the file, with `steps` and `fractions` spelt out for other readers."""
        return {
            "allocation": str(self.allocation),
            "steps": self.allocation.steps,
            "fractions": self.allocation.fractions,
            **({"profile": self.allocation.profile} if self.allocation.profile else {}),
            **{key: getattr(self, f.name) for f, key in _plain_fields(type(self), objective)},
            **({"quantiles": dict(self.quantiles)} if self.quantiles else {}),
            "metrics": {name: value.to_json() for name, value in self.metrics.items()},
            "latency_by_point": {point: asdict(time) for point, time in self.latency_by_point.items()},
            **({"by_group": {n: v.to_json() for n, v in self.by_group.items()}} if self.by_group else {}),
            **{name: list(values) for name in _BY_STEP if (values := getattr(self, name))},
        }


@dataclass(frozen=True, kw_only=True)
class LookupEntry(Candidate):
    """A confirmed and timed allocation: something to deploy."""

    latency_s: float
    latency_s_se: float

    OPTIONAL: ClassVar[set[str]] = Candidate.OPTIONAL - {"latency_s", "latency_s_se"}


def _plain_fields(kind: type[Candidate], objective: Objective) -> list[tuple[Any, str]]:
    """The fields that hold one value, each with its key in the file."""
    nested = ("allocation", "metrics", "latency_by_point", "by_group", "quantiles", *_BY_STEP)
    plain = [f for f in fields(kind) if f.name not in nested]
    return [(f, f.name.replace("quality", objective.name, 1)) for f in plain]


def _by_step(data: Any, name: str) -> tuple[float, ...]:
    return get_list(data, name, _number) if name in data else ()


def _number(value: Any) -> float:
    check_number("value", value, lowest=0)
    return float(value)


def _allocation(data: Any) -> Allocation:
    """The allocation of `data`, after checking that `steps`, `fractions` and `profile` say the same."""
    text = get(data, "allocation")
    check_text("allocation", text)
    try:
        allocation = Allocation.parse(text)
    except ConfigError as error:
        raise ConfigError(f"allocation: {error.message}", error.hint) from error
    except ValueError as error:  # more digits than int() reads
        raise ConfigError(f"allocation: {error}") from error
    derived = {"allocation": str(allocation), "steps": allocation.steps, "fractions": allocation.fractions}
    for name, expected in derived.items():
        if get(data, name) != expected:
            refuse(name, f"{expected} for {allocation}", data[name])
    if data.get("profile", allocation.profile) != allocation.profile:
        refuse("profile", f"{allocation.profile or 'none'} for {allocation}", data["profile"])
    return allocation

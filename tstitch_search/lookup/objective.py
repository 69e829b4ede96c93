"""What the numbers of a table are about: the metric that is traded against time, and where the times were taken."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, Self

from tstitch_search.json_fields import check_count, check_flag, check_number, check_text, get, get_mapping

# Of the values of single images: share of them that is no larger, as the file has it, and the value.
Quantiles = Mapping[str, float]
SHARES = ("0.05", "0.5", "0.95")


@dataclass(frozen=True)
class Objective:
    """The metric M of Eq. 6 that the front trades against time; `name` is its key in the file."""

    name: str = "fid"
    label: str = "FID"
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        check_text("name", self.name)
        check_text("label", self.label)
        check_flag("higher_is_better", self.higher_is_better)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The objective written in `data`. Raises ConfigError naming the field."""
        return cls(get(data, "name"), get(data, "label"), get(data, "higher_is_better"))

    def loss(self, quality: float) -> float:
        """The value as something to minimise."""
        return -quality if self.higher_is_better else quality

    def worst_5(self, quantiles: Quantiles) -> float | None:
        """The value that the worst 5 % of the images reach; None where there are no values of single images."""
        return quantiles.get(SHARES[0] if self.higher_is_better else SHARES[-1])


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """A further metric of the same images: its value, and the paired difference to the anchor's.

    `quantiles`: of the values of single images, where the metric has them.
    """

    value: float
    se: float | None = None
    difference: float | None = None
    difference_se: float | None = None
    quantiles: Quantiles = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_number("value", self.value)
        for name in ("se", "difference", "difference_se"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), lowest=0 if name.endswith("se") else -inf)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The value written in `data`. Raises ConfigError naming the field."""
        value = get(data, "value")
        numbers = {key: data.get(key) for key in ("se", "difference", "difference_se")}
        return cls(value=value, **numbers, quantiles=get_mapping(data, "quantiles", number))

    def to_json(self) -> dict[str, Any]:
        """The fields in the order of the file; quantiles only where there are some."""
        written = asdict(self)
        return written if self.quantiles else {k: v for k, v in written.items() if k != "quantiles"}


def number(value: Any) -> float:
    """A finite number. Raises ConfigError for anything else."""
    check_number("value", value)
    return float(value)


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

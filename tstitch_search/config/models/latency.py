"""How time is measured, and at which operating points."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import FileName, Fraction, Seconds, Text, Whole

# The operating point that drives the search.
DEFAULT_POINT = "default"


class PointConfig(Model):
    """Another operating point: the times of the same allocations at another batch size or on another device."""

    id: FileName = Field(description="Its name, for `pick --at`: letters, digits, _ . -")
    batch_size: Whole | None = Field(None, description="Images per timed batch; default: as latency.batch_size.", ge=1)
    device: Literal["cpu", "cuda"] | None = Field(None, description="Another device of this machine.")
    from_file: Text | None = Field(
        None, alias="from", description="File of `tstitch-search calibrate`, made at that point on any machine."
    )


class LatencyConfig(Model):
    """How time is measured: for one batch of stated size, from noise to decoded images."""

    removed: ClassVar[frozenset[str]] = frozenset({"max_spread"})
    batch_size: Whole = Field(8, description="Images per timed batch, as at deploy time.", ge=1)
    n_repeats: Whole = Field(
        5, description="Timed repeats at least, interleaved over denoisers; the median counts.", ge=3
    )
    error: Fraction = Field(
        0.02, description="Timing goes on after n_repeats until the time of a batch is known to this standard error."
    )
    seconds: Seconds | None = Field(
        None,
        description="Timing the denoisers begins no more repeats after this, nor does timing the front, with a wider "
        "error; default: four times what n_repeats of the fastest repeat take.",
    )
    threads: Whole | None = Field(None, description="CPU threads while timing on CPU; default: all cores.", ge=1)
    from_file: Text | None = Field(
        None,
        alias="from",
        description="File written by `tstitch-search calibrate` (relative to this one) to take step times from.",
    )
    points: tuple[PointConfig, ...] = Field(
        (), description="Further operating points of the same table. The search goes by latency.batch_size."
    )

    @field_validator("points")
    @classmethod
    def _ids_differ(cls, points: tuple[PointConfig, ...]) -> tuple[PointConfig, ...]:
        ids = [DEFAULT_POINT, *(point.id for point in points)]
        if len(set(ids)) < len(ids):
            raise ValueError(f"got the ids {', '.join(ids)}, expected each only once; {DEFAULT_POINT} is the first's")
        return points

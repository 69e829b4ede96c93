"""The kinds of value a study may hold: whole numbers, shares such as `5%`, times such as `2h`, names of files."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AllowInfNan, BeforeValidator, Field, Strict


def _with_unit(units: Mapping[str, float], expected: str) -> Callable[[Any], Any]:
    """A function turning text such as `5%` or `2h` into a number, `units` to one; it lets everything but text pass."""

    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        number = value.strip().rstrip("%abcdefghijklmnopqrstuvwxyz")
        try:
            return float(number) / units[value.strip()[len(number) :]]
        except (ValueError, KeyError):
            raise ValueError(f"got {value!r:.60}, expected {expected}") from None

    return parse


_percent = _with_unit({"": 1, "%": 100}, "a share such as 0.05 or 5%")
_seconds = _with_unit(
    {"": 1, "ms": 1000, "s": 1, "m": 1 / 60, "h": 1 / 3600}, "seconds, such as 90, 250ms, 90s, 15m or 2h"
)


def _grid(value: Any) -> Any:
    """`10%` -> 0.1; numbers pass. 100 % and more would read as a number of steps and is refused."""
    share = _percent(value)
    if isinstance(value, str) and "%" in value and share >= 1:
        raise ValueError(f"got {value!r:.60}, expected a share of the steps below 100%, or a number of steps such as 5")
    return share


def _loss(value: Any) -> Any:
    """As a share; more than all of it without a `%` is refused, since it may be meant as per cent."""
    share = _percent(value)
    if "%" not in str(value) and type(share) in (int, float) and share > 1:
        raise ValueError(f"got {value!r:.60}, which is {100 * share:g}%: write {share:g}% or {100 * share:g}%")
    return share


# What editors may accept for a number with a unit.
_WithPercent = Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=r"^\s*[0-9.]+\s*%?\s*$")]
_WithSeconds = Annotated[float, Field(gt=0)] | Annotated[str, Field(pattern=r"^\s*[0-9.]+\s*(ms|s|m|h)?\s*$")]

# Strict: yes/no, text and 50.0 are not whole numbers; up to the bound every JSON reader has them exactly.
Whole = Annotated[int, Strict(), Field(le=2**53)]
Steps = Annotated[int, Strict(), Field(ge=1, le=1000)]
Images = Annotated[int, Strict(), Field(ge=20, le=1_000_000)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Fraction = Annotated[Number, Field(ge=0), BeforeValidator(_percent, json_schema_input_type=_WithPercent)]
Loss = Annotated[Number, Field(ge=0), BeforeValidator(_loss, json_schema_input_type=_WithPercent)]
Seconds = Annotated[Number, Field(gt=0), BeforeValidator(_seconds, json_schema_input_type=_WithSeconds)]
Grid = Annotated[Number, Field(gt=0), BeforeValidator(_grid, json_schema_input_type=_WithPercent)]
Text = Annotated[str, Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]

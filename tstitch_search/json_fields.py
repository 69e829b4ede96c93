"""JSON read with care: every refusal is a ConfigError that names the field. Standard library only."""

import json
import sys
from collections.abc import Callable
from math import inf, isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tstitch_search.errors import ConfigError
from tstitch_search.files import what_instead

T = TypeVar("T")


def read_json(path: Path) -> Any:
    """What the file at `path` says. Raises ConfigError, without the path, when that is not JSON or has a NaN."""
    try:
        content = path.read_bytes()
        if instead := what_instead(content):
            raise ConfigError(*instead)
        return json.loads(content, parse_constant=_finite, parse_float=_finite)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected JSON, {_what_is_wrong(error)}") from error


def _what_is_wrong(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"got something else at line {error.lineno}"
    return "got a file that is no text" if isinstance(error, UnicodeDecodeError) else f"got {error or 'too deep lists'}"


def get(data: Any, field: str) -> Any:
    """The value of `field` in the object `data`."""
    if not isinstance(data, dict):
        raise ConfigError(f"expected an object with the field {field}, got {str(data)[:60]!r}")
    if field not in data:
        raise ConfigError(f"{field}: expected this field, found {', '.join(data) or 'none'}")
    return data[field]


def get_list(data: Any, field: str, parse: Callable[[Any], T]) -> tuple[T, ...]:
    """The parsed items of the list `field`; a refusal of one names its place, as in `entries[3].fid`."""
    if not isinstance(items := get(data, field), list):
        refuse(field, "a list", items)
    parsed = []
    for i, item in enumerate(items):
        try:
            parsed.append(parse(item))
        except ConfigError as error:
            raise ConfigError(f"{field}[{i}].{error.message}", error.hint) from error
    return tuple(parsed)


def get_mapping(data: Any, field: str, parse: Callable[[Any], T]) -> dict[str, T]:
    """The parsed values of the object `field`, none when it is absent; a refusal of one names it."""
    if not isinstance(items := data.get(field, {}), dict):
        refuse(field, "an object", items)
    parsed = {}
    for key, item in items.items():
        try:
            parsed[key] = parse(item)
        except ConfigError as error:
            raise ConfigError(f"{field}.{key:.60}.{error.message}", error.hint) from error
    return parsed


def check_flag(field: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        refuse(field, "true or false", value)


def check_text(field: str, value: Any) -> None:
    """Refuse what is not text."""
    if not isinstance(value, str):
        refuse(field, "text", value)


def check_count(field: str, value: Any) -> None:
    """Refuse what is not a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        refuse(field, "a whole number of at least 1", value)


def check_number(field: str, value: Any, lowest: float = -inf) -> None:
    """Refuse what is not a finite number of at least `lowest`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        refuse(field, "a finite number", value)
    if value < lowest:
        refuse(field, f"a number of at least {lowest:g}", value)


def refuse(field: str, expected: str, got: Any) -> NoReturn:
    """Raise the ConfigError that says what was expected of `field` and what it was."""
    raise ConfigError(f"{field}: expected {expected}, got {str(got)[:60]!r}")


def _finite(text: str) -> float:
    """A number as float; `NaN`, `Infinity` and what is beyond float's range are not numbers to us."""
    if not isfinite(value := float(text)):
        raise ValueError(f"{text[:60]} is not a finite number")
    return value

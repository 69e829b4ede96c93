"""Rows of a CSV with a header, checked so that every complaint names the line."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TypeVar

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.files import what_instead

Parsed = TypeVar("Parsed")


def read_rows(
    path: Path, key: str, needed: Sequence[str], further: Sequence[str], parse: Callable[[Mapping[str, str]], Parsed]
) -> list[Parsed]:
    """Each row of the CSV at `path` through `parse`; `key` is the setting that names the file.

    Raises EnvironmentProblem when it cannot be read, ConfigError naming file and line for another header than `needed`
    and any of `further`, for a row of another length, for no rows, and for what `parse` refuses.
    """
    try:
        content = path.read_bytes()
        if instead := what_instead(content):
            raise ConfigError(*instead)
        return _parsed(content.decode("utf-8-sig"), needed, further, parse)
    except OSError as error:
        raise EnvironmentProblem(
            f"{key}: cannot read {path}: {error.strerror}", hint="it is relative to the study file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key}: {path} is not UTF-8 text", hint="save the file as UTF-8") from error
    except (ConfigError, csv.Error) as error:
        hint = error.hint if isinstance(error, ConfigError) else ""
        raise ConfigError(f"{key}: {path}: {error.args[0]}", hint or "correct the file") from error


def _parsed(
    text: str, needed: Sequence[str], further: Sequence[str], parse: Callable[[Mapping[str, str]], Parsed]
) -> list[Parsed]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns = list(reader.fieldnames or ())
    _check_columns(columns, needed, further)
    rows = []
    for fields in reader:
        try:
            if None in fields or None in fields.values():
                raise ConfigError(f"expected {len(columns)} fields, as the first line has")
            rows.append(parse(fields))
        except ConfigError as error:
            raise ConfigError(f"line {reader.line_num}: {error.message}", error.hint) from error
    if not rows:
        raise ConfigError("line 2: expected a row, the file holds none")
    return rows


def _check_columns(columns: Sequence[str], needed: Sequence[str], further: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in columns]:
        raise ConfigError(f"line 1: the column {missing[0]} is missing, found {', '.join(columns)[:100] or 'none'}")
    unknown = [name for name in columns if name not in (*needed, *further)]
    if unknown or len(set(columns)) < len(columns):
        problem = f"unknown column {unknown[0]!r:.60}" if unknown else "a column is there twice"
        raise ConfigError(f"line 1: {problem}, expected {', '.join((*needed, *further))}")


def number(fields: Mapping[str, str], column: str, lowest: float | None = None) -> float:
    """The number in the column: at least `lowest`, or positive if that is None. Raises ConfigError for any other."""
    try:
        value = float(fields[column])
    except ValueError:
        value = float("nan")
    if not isfinite(value) or (value <= 0 if lowest is None else value < lowest):
        expected = "a number above 0" if lowest is None else f"a number from {lowest:g}"
        raise ConfigError(f"{column} is {fields[column]!r:.60}, expected {expected}")
    return value

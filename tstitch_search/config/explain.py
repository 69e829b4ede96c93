"""From pydantic's complaints to what a person can act on: where, which key, what was given, what was expected."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from difflib import get_close_matches
from functools import reduce
from operator import getitem
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tstitch_search.config.document import Document, Key
from tstitch_search.errors import ConfigError

_AT_MOST = 20  # problems listed
_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text (quote it if it looks like a number, a date or yes/no)",
    "string_too_short": "some text",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "too_short": "at least {min_length}",
    "too_long": "exactly {max_length}",
    "model_type": "a mapping (`key: value`)",
    "tuple_type": "a list",
}
AnyModel = TypeVar("AnyModel", bound=BaseModel)


def validated(model: type[AnyModel], document: Document, overrides: Sequence[str], schema: str) -> AnyModel:
    """`document` as a `model`. Raises one ConfigError listing every problem in the order of the file.

    `overrides` are those already in `document`; `schema` is what `tstitch-search schema` calls the model.
    """
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        problems = _without_echoes(model, _by_key(error, document.value), document.value)
        keys = sorted(problems, key=lambda key: document.place(key).order)
    lines = [f"{document.place(key).label}: {_problem(model, document, key, problems[key])}" for key in keys[:_AT_MOST]]
    if len(keys) > _AT_MOST:
        lines.append(f"and {len(keys) - _AT_MOST} more")
    if overrides and not all(line.startswith("--set ") for line in lines):
        lines.append(f"(with {' '.join(f'--set {text}' for text in overrides)})")
    raise ConfigError("\n".join(lines), hint=f"`tstitch-search schema {schema}` prints every key and what it means")


def _by_key(error: ValidationError, value: Any) -> dict[Key, list[ErrorDetails]]:
    """The complaints by the key they are about; of one about a value and one about a part of it, the latter."""
    found: dict[Key, list[ErrorDetails]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        found[_key(detail, value)].append(detail)
    around = {key[:i] for key in found for i in range(len(key))}
    return {key: details for key, details in found.items() if key not in around}


def _without_echoes(
    model: type[BaseModel], problems: dict[Key, list[ErrorDetails]], value: Any
) -> dict[Key, list[ErrorDetails]]:
    """The problems that stay once mistyped keys are mended: the others would be the same mistake told twice."""
    unknown = [key for key, details in problems.items() if details[0]["type"] == "extra_forbidden"]
    mended = deepcopy(value)
    for *above, last in unknown:
        section = reduce(getitem, above, mended)
        for meant in _nearest(model, (*above, last)):
            if meant not in section:
                section[meant] = section.pop(last)
    try:
        model.model_validate(mended)
        left = set[tuple[Key, str]]()
    except ValidationError as error:
        left = {(key, details[0]["type"]) for key, details in _by_key(error, mended).items()}
    return {k: details for k, details in problems.items() if k in unknown or (k, details[0]["type"]) in left}


def _key(detail: ErrorDetails, value: Any) -> Key:
    """`loc` without the names pydantic gives to the branches of a union."""
    key: list[str | int] = []
    for part in detail["loc"]:
        parts = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        if part in parts:
            value = parts[part]
            key.append(part)
    return (*key, detail["loc"][-1]) if detail["type"] == "missing" else tuple(key)


def _problem(model: type[BaseModel], document: Document, key: Key, details: list[ErrorDetails]) -> str:
    name = ".".join(_word(part) for part in key)
    kind = details[0]["type"]
    if kind == "extra_forbidden":
        return f"unknown key {name}, {_suggestion(model, key)}"
    if kind == "missing":
        return f"{name} is missing{_meaning(model, key)}"
    if kind == "value_error":
        return f"{name}: {details[0]['msg'].removeprefix('Value error, ')}{_meaning(model, key)}"
    expected = " or ".join(_expected(detail) for detail in details)
    given = _short(json.dumps(document.at(key), ensure_ascii=False))
    return f"{name}: got {given}, expected {expected}{_meaning(model, key)}"


def _expected(detail: ErrorDetails) -> str:
    text = _EXPECTED.get(detail["type"])
    return text.format_map(detail.get("ctx", {})) if text else detail["msg"]


def _suggestion(model: type[BaseModel], key: Key) -> str:
    *above, last = key
    siblings = list(_fields(_model_at(model, tuple(above))))
    elsewhere = [dotted for dotted in _dotted_keys(model) if dotted.rpartition(".")[2] == last]
    nearest = _nearest(model, key) or elsewhere
    return f"did you mean {' or '.join(nearest)}?" if nearest else f"expected one of {', '.join(siblings)}"


def _nearest(model: type[BaseModel], key: Key) -> list[str]:
    """The sibling that an unknown key most likely meant, or none."""
    return get_close_matches(str(key[-1])[:100], list(_fields(_model_at(model, key[:-1]))), n=1)


def _meaning(model: type[BaseModel], key: Key) -> str:
    """What the key stands for, in parentheses."""
    words = [part for part in key if isinstance(part, str)]
    if not words:
        return ""
    field = _fields(_model_at(model, tuple(words[:-1]))).get(words[-1])
    text = field and (field.description or getattr(_model_in(field), "__doc__", None))
    return f" ({text.rstrip('.')})" if text else ""


def _model_at(model: type[BaseModel], key: Key) -> type[BaseModel]:
    """The model that holds what is at `key`; names that a person gives (of a profile) lead nowhere."""
    for part in key:
        if isinstance(part, str) and (field := _fields(model).get(part)):
            model = _model_in(field) or model
    return model


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by the name they have in a file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(field: FieldInfo) -> type[BaseModel] | None:
    """The model a field holds, alone, in a tuple or by name."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in _fields(model).items():
        yield prefix + name
        if inner := _model_in(field):
            yield from _dotted_keys(inner, f"{prefix}{name}.")


def _word(part: str | int) -> str:
    return str(part) if isinstance(part, int) or part.isidentifier() else _short(repr(part))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."

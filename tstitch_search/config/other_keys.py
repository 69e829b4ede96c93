"""What may be set beside what a file sets, as comments to keep below it: `init` writes them."""

import json
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

WIDTH = 118


def other_keys(model: type[BaseModel], document: Mapping[str, Any]) -> str:
    """Commented lines with every key that `document` does not set: its default, what it means and when to change it."""
    lines = ["", "# Keys that are not set above, with their defaults. To set one, take away the `# ` before it:"]
    return "\n".join([*lines, *_lines(model, document, "")]) + "\n"


def _lines(model: type[BaseModel], document: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key, inner = field.alias or name, _section(field)
        if inner is not None:
            below = document.get(key)
            if below is None or isinstance(below, Mapping):
                nested = list(_lines(inner, below or {}, indent + "  "))
                yield from [f"# {indent}{key}:", *nested] if nested else []
        elif key not in document:
            yield from _described(field, indent)
            yield f"# {indent}{key}: {_default(field)}".rstrip()


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a section of the file; None of a single value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _described(field: FieldInfo, indent: str) -> list[str]:
    return [f"# {indent}# {line}" for line in wrap(field.description or "", WIDTH - len(indent))]


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "null"
    return json.dumps(default, default=str) if isinstance(default, list | tuple | dict | bool) else str(default)

"""YAML text in, plain values out, with the place where each key was written.

What a study never needs is refused: anchors and aliases (which can grow without bound), tags, keys given twice, deep
nesting, large files and very many values. Dates and other YAML specialities stay text.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.parser import ParserError
from yaml.reader import ReaderError
from yaml.scanner import ScannerError

from tstitch_search.errors import ConfigError
from tstitch_search.files import what_instead

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_VALUES = 10_000
_LAYOUT = "check indentation (spaces, no tabs), brackets, quotes and `key: value` here and one line above"
_PLAIN = "write one document of plain `key: value` lines, each key once"
_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null")}

# The keys and list positions leading to a value, for example ("denoisers", 0, "name").
Key = tuple[str | int, ...]


class Place(NamedTuple):
    """Where something was written: `order` sorts by position, `label` is for people (`studies/x.yaml:7`)."""

    order: int
    label: str


@dataclass(frozen=True)
class Document:
    """A YAML document: dicts, lists and scalars in `value`, and the place of every key."""

    value: Any
    places: dict[Key, Place]

    def place(self, key: Key) -> Place:
        """Where `key` was written, or the nearest mapping or list around it when it was not."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places[key]

    def at(self, key: Key) -> Any:
        """The value under an existing `key`."""
        value = self.value
        for part in key:
            value = value[part]
        return value


def read_document(path: Path) -> Document:
    """The mapping in the file at `path`. Raises ConfigError naming the file and, where known, the line."""
    file = printable(os.path.normpath(path))
    document = parse_document(_read_text(path, file), lambda line: Place(line, f"{file}:{line}"))
    if not isinstance(document.value, dict):
        given = "nothing" if document.value is None else "a list" if isinstance(document.value, list) else "plain text"
        raise ConfigError(
            f"{document.place(()).label}: the file holds {given}, expected `key: value` lines",
            hint="start from a copy of studies/quickstart.yaml or of a file in search_spaces/",
        )
    return document


def parse_document(text: str, place_of_line: Callable[[int], Place]) -> Document:
    """The document in `text`; lines count from 1. Raises ConfigError on anything but one plain YAML document."""
    places: dict[Key, Place] = {(): place_of_line(1)}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = _Builder(loader, place_of_line, places).build(node, (), node) if node else None
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{place_of_line(_line_of(error, text)).label}: cannot be read as YAML: {_reason(error)}",
            hint=_LAYOUT if isinstance(error, ScannerError | ParserError) else _PLAIN,
        ) from error
    return Document(value, places)


def printable(text: str) -> str:
    """The text with bytes that no terminal can show written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _read_text(path: Path, file: str) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{file}: is not a file", hint="give the path of a YAML file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{file}: cannot be read: {reason}", hint="give the path of a YAML file") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{file}: is larger than {MAX_BYTES} bytes", hint="give the path of a study or space file")
    if data and (instead := what_instead(data)):
        raise ConfigError(f"{file}: {instead[0]}", instead[1])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: is not UTF-8 text", hint="save the file as UTF-8") from error


class _Loader(yaml.SafeLoader):
    """Composes nodes from plain YAML only."""

    depth = n_values = 0

    def get_single_node(self) -> yaml.Node | None:
        try:
            return super().get_single_node()
        except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF"
            raise _refusal("no such character", self.get_mark()) from error

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise _refusal("anchors (&) and aliases (*) are not supported: write out or quote", event.start_mark)
        if event.tag:
            raise _refusal("tags (!) are not supported: quote the text", event.start_mark)
        if isinstance(event, yaml.ScalarEvent) and printable(event.value) != event.value:
            raise _refusal("no such character", event.start_mark)  # half of a pair: "\ud800"
        if self.depth == MAX_DEPTH:
            raise _refusal(f"more than {MAX_DEPTH} levels inside each other", event.start_mark)
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise _refusal(f"more than {MAX_VALUES} keys and values", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@dataclass(frozen=True)
class _Builder:
    """Turns nodes into values and notes the place of each key in `places`."""

    loader: _Loader
    place_of_line: Callable[[int], Place]
    places: dict[Key, Place]

    def build(self, node: yaml.Node, key: Key, label: yaml.Node) -> Any:
        """The value of `node`, whose `key` begins where `label` does."""
        self.places[key] = self.place_of_line(label.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*key, i), item) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for label, inner in node.value:
            if not isinstance(label, yaml.ScalarNode):
                raise _refusal("a key must be a word", label.start_mark)
            if label.value in value:
                earlier = self.places[(*key, label.value)].label
                raise _refusal(f"the key {label.value!r:.60} is given twice, first at {earlier}", label.start_mark)
            value[label.value] = self.build(inner, (*key, label.value), label)
        return value

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag not in _SCALARS:
            return node.value
        try:
            value = self.loader.construct_object(node)
        except ValueError:  # looks like a number and is none: "0b_"
            return node.value
        return value if not isinstance(value, int) or abs(value) < 2**64 else node.value


def _refusal(reason: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=mark)


def _line_of(error: yaml.YAMLError, text: str) -> int:
    if isinstance(error, ReaderError):
        return text.count("\n", 0, error.position) + 1
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return mark.line + 1 if mark else 1


def _reason(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return "a control character" if isinstance(error, ReaderError) else str(error)
    began = f" (begun on line {error.context_mark.line + 1})" if error.context_mark else ""
    return f"{error.context}{began}, {error.problem}" if error.context else str(error.problem)

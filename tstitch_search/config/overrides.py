"""`--set key=value`: the command line's last word on a study, checked by the same rules as the file."""

from collections.abc import Sequence
from typing import Any

from tstitch_search.config.document import MAX_DEPTH, Document, Key, Place, parse_document, printable
from tstitch_search.errors import ConfigError

_AFTER_EVERY_LINE = 10**9


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of the study, and those of the search space with their leading `space.` still on."""
    of_space = [text for text in overrides if text.startswith("space.")]
    return [text for text in overrides if not text.startswith("space.")], of_space


def override(document: Document, overrides: Sequence[str], prefix: Key = ()) -> Document:
    """`document` with each `key=value` put in place, later ones winning; `prefix` is cut off every key.

    Values are YAML (`50`, `[0.5, 1.2]`, `{pool: inline}`). Raises ConfigError naming `--set key=value`.
    """
    for number, text in enumerate(overrides):
        place = Place(_AFTER_EVERY_LINE + number, printable(f"--set {text}"))
        key, given = _parse(text, place)
        document = _put(document, key[len(prefix) :], given, place)
    return document


def _parse(text: str, place: Place) -> tuple[Key, Document]:
    dotted, equals, value = text.partition("=")
    key = tuple(dotted.strip().split("."))
    if not equals or len(key) > MAX_DEPTH:
        raise ConfigError(f"{place.label}: expected key=value", hint="for example --set quality.n_images=50")
    return key, parse_document(value, lambda _: place)


def _put(document: Document, key: Key, given: Document, place: Place) -> Document:
    around = {key[:i]: place for i in range(1, len(key)) if not _is_mapping(document.value, key[:i])}
    kept = {k: p for k, p in document.places.items() if k[: len(key)] != key}
    inside = {(*key, *k): p for k, p in given.places.items()}
    return Document(_with(document.value, key, given.value), kept | around | inside)


def _is_mapping(value: Any, key: Key) -> bool:
    for part in key:
        value = value.get(part) if isinstance(value, dict) else None
    return isinstance(value, dict)


def _with(value: Any, key: Key, given: Any) -> Any:
    if not key:
        return given
    around = value if isinstance(value, dict) else {}
    return {**around, key[0]: _with(around.get(key[0]), key[1:], given)}

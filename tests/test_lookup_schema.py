"""The published schema says what the reader takes: no more is refused, and what is missing is missed by both."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tstitch_search.config.models.quality import NAMES
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable, lookup_schema
from tstitch_search.lookup.schema import OBJECTIVES

ROOT = Path(__file__).parent.parent
GOLDEN = json.loads((ROOT / "tests" / "golden" / "lookup_v1.json").read_bytes())
SCHEMA = Draft202012Validator(lookup_schema())
TABLES = [
    *sorted((ROOT / "tests" / "golden").glob("lookup_v*.json")),
    *sorted((ROOT / "reports").glob("*/lookup.json")),
]
WRONG = [None, "text", -1, 0, 0.5, True, [], {}, 1e9]

Place = tuple[str | int, ...]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where every value of a document is; what lies in the provenance is free."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*place, key)
        if (*place, key) != ("provenance",):
            yield from places(item, (*place, key))


def changed(place: Place, *, to: Any = None, gone: bool = False) -> Any:
    data = copy.deepcopy(GOLDEN)
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    if gone:
        del inner[place[-1]]
    else:
        inner[place[-1]] = to
    return data


def reads(data: Any) -> bool:
    try:
        LookupTable.from_json(data)
    except ConfigError:
        return False
    return True


def test_the_schema_is_one_and_the_published_copy_is_the_same() -> None:
    Draft202012Validator.check_schema(lookup_schema())
    assert json.loads((ROOT / "docs" / "lookup.schema.json").read_bytes()) == lookup_schema()


def test_every_objective_of_a_study_has_its_fields() -> None:
    assert set(OBJECTIVES) == set(NAMES)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_tables_of_every_version_are_valid(path: Path) -> None:
    assert [error.message for error in SCHEMA.iter_errors(json.loads(path.read_bytes()))] == []


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "fid"])
def test_a_table_about_another_metric_needs_that_metrics_fields(name: str) -> None:
    data = changed(("objective", "name"), to=name)
    assert not SCHEMA.is_valid(data)
    renamed = json.loads(json.dumps(data).replace('"fid', f'"{name}'))
    assert SCHEMA.is_valid(renamed)
    assert reads(renamed)


# Another field of the same allocation says the same, or the list may be as long as it likes: only the reader can tell.
BETWEEN_FIELDS = ("steps", "fractions")


def test_what_may_not_be_left_out_is_the_same_for_both() -> None:
    for place in places(GOLDEN):
        if place[0] != "provenance" and not (len(place) > 3 and place[2] in BETWEEN_FIELDS):
            data = changed(place, gone=True)
            assert SCHEMA.is_valid(data) == reads(data), place


def test_what_the_reader_takes_the_schema_accepts() -> None:
    n_taken = 0
    for place in places(GOLDEN):
        for wrong in WRONG:
            data = changed(place, to=wrong)
            is_python_only = wrong is True and len(place) > 3 and place[2] in BETWEEN_FIELDS  # True == 1
            if reads(data) and not is_python_only:
                n_taken += 1
                assert SCHEMA.is_valid(data), (place, wrong)
    assert n_taken > 100


@pytest.mark.parametrize("field", ["fid", "fid_se", "latency_s", "n_images", "lossless", "steps", "metrics"])
def test_text_in_the_place_of_a_value_is_refused_by_both(field: str) -> None:
    data = changed(("entries", 0, field), to="text")
    assert not SCHEMA.is_valid(data)
    assert not reads(data)

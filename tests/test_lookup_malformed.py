"""A file that is no lookup table is refused, by file and field and without a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest

from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable

GOLDEN = Path(__file__).parent / "golden" / "lookup_v1.json"


def changed(*place: str | int, to: Any) -> str:
    """The golden file with the value at `place` replaced."""
    data = json.loads(GOLDEN.read_bytes())
    *way, last = place
    inner = data
    for key in way:
        inner = inner[key]
    inner[last] = to
    return json.dumps(data)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("[" * 100_000, "expected JSON"),
        ("[]", "expected an object"),
        ('{"schema_version": 1}', "provenance: expected this field"),
        (changed("schema_version", to=2), "schema_version: expected at most 1, got 2"),
        (changed("schema_version", to="1"), "schema_version: expected a whole number"),
        (changed("study", to=3), "study: expected text"),
        (changed("provenance", to=[]), "provenance: expected an object"),
        (changed("provenance", "guidance_scale", to=float("inf")), "Infinity is not a finite number"),
        (changed("operating_points", to=[]), "operating_points: expected at least one"),
        (
            changed("operating_points", 0, "batch_size", to=0),
            r"operating_points\[0\].batch_size: expected a whole number",
        ),
        (changed("entries", to={}), "entries: expected a list"),
        (changed("entries", to=[]), "entries: expected at least one"),
        (changed("entries", 1, to="S*20"), r"entries\[1\].expected an object"),
        (changed("entries", 1, "allocation", to="S8XL12"), r"entries\[1\].allocation: 'S8XL12' is not an allocation"),
        (changed("entries", 1, "allocation", to="S*4-S*4-XL*12"), r"entries\[1\].allocation: expected S\*8-XL\*12"),
        (changed("entries", 1, "allocation", to="S*" + "9" * 5000), r"entries\[1\].allocation: "),
        (changed("entries", 1, "allocation", to=None), r"entries\[1\].allocation: expected text"),
        (changed("entries", 1, "steps", to={"S": 9, "XL": 11}), r"entries\[1\].steps: expected {'S': 8, 'XL': 12}"),
        (changed("entries", 1, "fractions", "S", to=0.5), r"entries\[1\].fractions: expected"),
        (changed("entries", 1, "fid", to="7"), r"entries\[1\].fid: expected a finite number, got '7'"),
        (changed("entries", 1, "fid", to=True), r"entries\[1\].fid: expected a finite number"),
        (changed("entries", 1, "fid", to=float("nan")), "NaN is not a finite number"),
        (changed("entries", 1, "fid", to=10**400), r"entries\[1\].fid: expected a finite number"),
        (changed("entries", 1, "fid_se", to=-1), r"entries\[1\].fid_se: expected a number of at least 0"),
        (changed("entries", 1, "latency_s", to=None), r"entries\[1\].latency_s: expected a finite number"),
        (changed("entries", 1, "lossless", to="yes"), r"entries\[1\].lossless: expected true or false"),
        (changed("entries", 1, "n_images", to=100), r"entries\[1\].n_images: expected 500"),
        (changed("entries", 1, "latency_s", to=9), r"entries\[2\]: expected slower than the one before"),
        (changed("candidates", 0, "n_images", to=2.5), r"candidates\[0\].n_images: expected a whole number"),
    ],
)
def test_a_malformed_file_is_refused_by_file_and_field(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "lookup.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=complaint) as refused:
        LookupTable.read(path)
    assert refused.value.message.startswith(f"{path}: ")


def test_a_newer_table_asks_to_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "lookup.json"
    path.write_text(changed("schema_version", to=2))
    with pytest.raises(ConfigError) as refused:
        LookupTable.read(path)
    assert "upgrade" in refused.value.hint

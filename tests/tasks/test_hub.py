"""Tables on the hub: what is pushed is what is loaded, with a card, over real HTTP to a stand-in for the hub."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import HANG_S
from hub_server import TOKEN, Hub, running_hub

from tstitch_search import LookupTable

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "reports" / "quickstart-sample" / "lookup.json"


STORY = """
import json, os
from dataclasses import replace

def failed(call):
    try:
        call()
    except ts.errors.TStitchError as error:
        return str(error)

said = {"address": ts.push_to_hub(TABLE, "me/fashion", private=True)}
table, again = ts.load_table(TABLE), ts.load_table("hub:me/fashion")
said["same"] = again == table
for name in ("first", "second"):
    ts.push_to_hub(replace(table, study=name), "me/again")
said["last"] = ts.load_table("hub:me/again@main").study
said["nothing"] = failed(lambda: ts.load_table("hub:me/nothing"))
said["no name"] = failed(lambda: ts.load_table("hub:nothing"))
said["no id"] = failed(lambda: ts.push_to_hub(TABLE, "a/b/c"))
os.environ["HF_TOKEN"] = "hf_wrong"
said["no token"] = failed(lambda: ts.push_to_hub(TABLE, "me/x"))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def said(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program hears that pushes and loads."""
    return json.loads(run(hub.url, tmp_path_factory.mktemp("home"), STORY))


def run(hub_url: str, home: Path, script: str) -> str:
    """What a Python of its own prints, for which that is the hub."""
    environment = {**os.environ, "HF_ENDPOINT": hub_url, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    script = f"import tstitch_search as ts\nTABLE = {str(TABLE)!r}\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_pushed_is_loaded_again(said: dict[str, Any], hub: Hub) -> None:
    assert said["address"] == f"{hub.url}/datasets/me/fashion"
    assert said["same"] is True
    asked = hub.created["me/fashion"]
    assert asked["type"] == "dataset"
    assert asked.get("visibility", "private" if asked.get("private") else "public") == "private"


def test_a_second_push_replaces_the_first(said: dict[str, Any]) -> None:
    assert said["last"] == "second"


def test_the_card_says_the_answer_where_it_was_measured_and_the_key(said: dict[str, Any], hub: Hub) -> None:
    table, card = LookupTable.read(TABLE), hub.files["me/fashion/README.md"].decode()
    assert card.startswith("---\ntags: [tstitch-search")
    for text in (
        table.provenance["headline"],
        "![Time against FID](front.svg)",
        "| device | AMD EPYC, 2 threads |",
        "800, not seen by the search",
        f"| weights.XL | {table.provenance['key']['weights.XL']} |",
        'ts.load_table("hub:me/fashion")',
        *(f"| `{entry.allocation}` |" for entry in table.entries),
    ):
        assert text in card


def test_the_picture_has_a_dot_for_each_entry(said: dict[str, Any], hub: Hub) -> None:
    drawn = ET.fromstring(hub.files["me/fashion/front.svg"])
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    n_entries = len(LookupTable.read(TABLE).entries)
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == n_entries


def test_the_python_of_the_card_picks(said: dict[str, Any], hub: Hub) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", hub.files["me/fashion/README.md"].decode(), re.S)
    names: dict[str, Any] = {}
    exec(code.replace('"hub:me/fashion"', repr(str(TABLE))), names)
    assert names["table"] == LookupTable.read(TABLE)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("nothing", "hub:me/nothing: no lookup.json is to be had there"),
        ("no name", "'nothing' is no repository of the hub"),
        ("no id", "'a/b/c' is no repository of the hub"),
        ("no token", "the hub did not take the table as me/x: "),
        ("no token", "hf auth login"),
    ],
)
def test_what_goes_wrong_is_one_clear_error(case: str, text: str, said: dict[str, Any]) -> None:
    assert text in said[case]


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    script = "for call in (lambda: ts.load_table('hub:me/x'), lambda: ts.push_to_hub(TABLE, 'me/x')):\n"
    script += "    try:\n        call()\n    except ts.errors.EnvironmentProblem as error:\n        print(error)"
    assert run("http://127.0.0.1:9", tmp_path, script).count("  try: ") == 2

"""Prompts from files in the forms in which prompt sets are published, and what cannot be bound to images."""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tstitch_search.config.models import ProxySetConfig
from tstitch_search.config.prompt_sets import Prompt, parse_prompts
from tstitch_search.config.proxy_files import read_proxy_files

CAR, DOG = "A red colored car.", "a dog, and its bone"


def as_parquet(columns: Mapping[str, list[object]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return bytes(sink.getvalue())


def as_lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


PUBLISHED = {
    "DrawBench.csv": (f'Prompts,Category\n{CAR},Colors\n"{DOG}",Counting\n', ["Colors", "Counting"]),
    "PartiPrompts.tsv": (
        f"Prompt\tCategory\tChallenge\tNote\n{CAR}\tVehicles\tBasic\t\n{DOG}\tAnimals\tBasic\tDALL-E\n",
        ["Vehicles", "Animals"],
    ),
    "HPD_photo.json": (json.dumps([CAR, DOG]), [None, None]),
    "VBench_full_info.json": (
        json.dumps([{"prompt_en": CAR, "dimension": ["color"]}, {"prompt_en": DOG, "dimension": ["scene", "object"]}]),
        ["color", "scene, object"],
    ),
    "MJHQ_meta_data.json": (
        json.dumps({"1a": {"category": "logo", "prompt": CAR}, "2b": {"category": "animals", "prompt": DOG}}),
        ["logo", "animals"],
    ),
    "GenEval.jsonl": (
        as_lines({"tag": "colors", "include": [], "prompt": CAR}, {"tag": "two_object", "prompt": DOG}),
        ["colors", "two_object"],
    ),
    "strings.jsonl": (as_lines(CAR, DOG), [None, None]),
    "captions.json": (
        json.dumps({"annotations": [{"image_id": i, "id": i, "caption": c} for i, c in ((2, DOG), (1, CAR))]}),
        [None, None],
    ),
    "plain.txt": (f"{CAR}\n{DOG}\n\n", [None, None]),
    "set.parquet": (as_parquet({"Prompt": [CAR, DOG], "n": [1, 2], "Categories": ["a", None]}), ["a", None]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_prompts_and_categories_are_read_as_they_are_published(name: str) -> None:
    content, categories = PUBLISHED[name]
    found = parse_prompts(Path(name), content if isinstance(content, bytes) else content.encode())
    assert found == [Prompt(CAR, categories[0]), Prompt(DOG, categories[1])]


def test_a_study_keeps_the_categories_of_its_prompts(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(str(PUBLISHED["DrawBench.csv"][0]))
    found = read_proxy_files(ProxySetConfig(prompts="set.csv"), 10, 1, 1, tmp_path)
    assert (found.prompts, found.categories) == ((CAR, DOG), ("Colors", "Counting"))


@pytest.mark.parametrize(
    ("text", "column", "prompts"),
    [
        ('id,caption\n1,"a shoe, red"\n2,"the ""best""\nhat"\n', None, ["a shoe, red", 'the "best"\nhat']),
        ("caption,prompt\nno,yes\n", None, ["yes"]),
        ("Prompt,prompt\nno,yes\n", None, ["yes"]),
        (" CAPTIONS ,n\nyes,1\n", None, ["yes"]),
        ("prompt,text\nno,yes\n", "text", ["yes"]),
        ("prompt,Texts\nno,yes\n", "text", ["yes"]),
        ("prompt\na\n\nb\n' '\n", None, ["a", "b", "' '"]),  # the csv format itself skips empty lines
    ],
)
def test_the_column_is_found_without_regard_to_case_and_plural_unless_it_is_named(
    text: str, column: str | None, prompts: list[str]
) -> None:
    assert [prompt.text for prompt in parse_prompts(Path("x.csv"), text.encode(), column)] == prompts


def test_in_tab_separated_values_a_quote_is_part_of_the_prompt() -> None:
    text = 'Prompt\tCategory\n"Hello" on a sign\tx\n"open\ty\n'
    assert parse_prompts(Path("x.tsv"), text.encode()) == [Prompt('"Hello" on a sign', "x"), Prompt('"open', "y")]


def test_of_coco_captions_each_image_gives_its_first_in_the_order_of_the_images() -> None:
    captions = [(9, 4, "cat"), (2, 8, "second dog"), (2, 7, " dog\n"), (10, 1, "bird")]
    document = {"images": [], "annotations": [{"image_id": i, "id": j, "caption": c} for i, j, c in captions]}
    found = parse_prompts(Path("captions_val.json"), json.dumps(document).encode())
    assert found == [Prompt("dog"), Prompt("cat"), Prompt("bird")]


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("x.txt", "a\n\nb\n", None, "prompt 2 is blank"),
        ("x.txt", "a\n", "text", "a .txt has no columns"),
        ("x.csv", "prompt,n\na,1\n,2\n", None, "prompt 2 is blank"),
        ("x.csv", "text,n\na,1\n", None, "a column `prompt` or `caption`, or another as .*; found text, n"),
        ("x.csv", "prompt,n\na,1\n", "text", "a column `text`; found prompt, n"),
        ("x.json", "3", None, "expected a list of prompts or of objects"),
        ("x.json", "[3]", None, "expected a list of prompts or of objects"),
        ("x.json", '[{"prompt": 3}]', None, "prompt 1 is '3', expected text"),
        ("x.json", '[{"prompt": "a"}, {"tag": "b"}]', None, "prompt 2 is blank"),
        ("x.json", '[{"prompt": "a"}, "b", {"prompt": null}]', None, "prompt 3 is blank"),
        ("x.json", "{\n{", None, "line 2: no valid JSON near column 1"),
        ("x.json", '{"annotations": [{"id": 1, "caption": "a"}]}', None, "expected COCO captions"),
        ("x.json", '{"annotations": 3}', None, "expected COCO captions"),
        ("x.json", "[" * 100_000, None, "too deep"),
        ("x.jsonl", '{"prompt": "a"}\n{"prompt": \n', None, "line 2: no valid JSON"),
        ("x.jsonl", "3\n", None, "expected a list of prompts or of objects"),
        ("x.parquet", "PAR1 and no more", None, "no parquet file, or a damaged one"),
        ("x.xlsx", "", None, "ends in '.xlsx', expected .txt, .csv, .tsv, .json, .jsonl, .parquet"),
    ],
)
def test_prompts_that_cannot_be_bound_to_images_are_refused(
    name: str, content: str, column: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse_prompts(Path(name), content.encode(), column)


def test_a_parquet_file_that_was_cut_off_is_refused() -> None:
    whole = as_parquet({"prompt": [CAR] * 100})
    with pytest.raises(ValueError, match="no parquet file, or a damaged one"):
        parse_prompts(Path("x.parquet"), whole[: len(whole) // 2])

"""Prompts, and the category of each, in the forms in which prompt sets are published.

Text lines; tables (.csv, .tsv, .parquet: DrawBench, PartiPrompts); JSON: a list of strings (HPD) or of objects
(VBench), an object of objects (MJHQ-30K), COCO captions; JSON lines (GenEval).
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

# How the columns are called, plural or not and in either case; the first that is there counts.
PROMPT_COLUMNS = ("prompt", "caption", "prompt_en")
CATEGORY_COLUMNS = ("category", "tag", "dimension")


class Prompt(NamedTuple):
    """A prompt and what its set says it is about, None where the set does not say."""

    text: str
    category: str | None = None


def parse_prompts(path: Path, content: bytes, column: str | None = None, groups: str | None = None) -> list[Prompt]:
    """The prompts in `content`, in their order; the name of `path` says in which form, `column` where they are.

    `groups`: the column of their categories, where it is called otherwise than usual.

    Raises ValueError for another form or column, and for a blank prompt, which would otherwise shift or empty the ones
    of other images.
    """
    end = path.suffix.lower()
    if end not in _ROWS:
        raise ValueError(f"the name ends in {path.suffix!r}, expected {', '.join(_ROWS)}")
    if end == ".txt" and column is not None:
        raise ValueError(f"a .txt has no columns, and proxy_set.prompt_column is {column!r:.60}")
    if end == ".txt" and groups is not None:
        raise ValueError(f"a .txt has no columns, and proxy_set.groups names {groups!r:.60}")
    prompts = _prompts(_ROWS[end](content), column, groups)
    blank = next((i for i, prompt in enumerate(prompts, start=1) if not prompt.text), None)
    if blank is not None:
        raise ValueError(f"prompt {blank} is blank, expected some text for every image")
    return prompts


def lines_of(text: str) -> list[str]:
    """The lines of the text, stripped; empty ones at its end do not count."""
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []


def _prompts(rows: Sequence[str | Mapping[str, Any]], column: str | None, groups: str | None) -> list[Prompt]:
    """Rows are prompts, or hold them under the column's name."""
    columns = list(dict.fromkeys(key for row in rows if not isinstance(row, str) for key in row))
    wanted = [column] if column else PROMPT_COLUMNS
    place, category = _named(columns, wanted), _named(columns, [groups] if groups else CATEGORY_COLUMNS)
    if place is None and not all(isinstance(row, str) for row in rows):
        expected = f"`{column}`" if column else "`prompt` or `caption`, or another as proxy_set.prompt_column"
        raise ValueError(f"expected a column {expected}; found {', '.join(map(str, columns))[:60] or 'none'}")
    if groups and category is None:
        raise ValueError(f"expected the column `{groups:.60}` of proxy_set.groups; {_found(groups, columns)}")
    return [_prompt(i, row, place, category) for i, row in enumerate(rows, start=1)]


def _found(wanted: str, columns: Sequence[str]) -> str:
    """The column that was probably meant, else all there are."""
    near = get_close_matches(wanted, [str(column) for column in columns], n=1)
    return f"did you mean `{near[0]}`?" if near else f"found {', '.join(map(str, columns))[:200] or 'none'}"


def _named(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The column that is called so, exactly or but for case and plural."""
    alike = {_singular(name): name for name in reversed(columns)} | {name: name for name in columns}
    return next((alike[name] for want in wanted for name in (want, _singular(want)) if name in alike), None)


def _singular(name: str) -> str:
    name = name.strip().lower()
    return name[:-3] + "y" if name.endswith("ies") else name.removesuffix("s")


def _prompt(number: int, row: str | Mapping[str, Any], place: str | None, category: str | None) -> Prompt:
    if isinstance(row, str):
        return Prompt(row.strip())
    text = row.get(str(place))
    if text is not None and not isinstance(text, str):
        raise ValueError(f"prompt {number} is {str(text)!r:.60}, expected text")
    about = row.get(category) if category else None
    about = ", ".join(map(str, about)) if isinstance(about, list) else about
    return Prompt((text or "").strip(), None if about is None else str(about).strip())


def _text_rows(content: bytes) -> list[str]:
    return lines_of(_text(content))


class _TabSeparated(csv.excel_tab):
    """As spreadsheets write it, without quoting: a quote is part of the prompt."""

    quoting = csv.QUOTE_NONE


def _table(dialect: type[csv.Dialect]) -> Callable[[bytes], list[Mapping[str, Any]]]:
    def rows(content: bytes) -> list[Mapping[str, Any]]:
        return list(csv.DictReader(io.StringIO(_text(content), newline=""), dialect=dialect))

    return rows


def _json_rows(content: bytes) -> list[str | Mapping[str, Any]]:
    value = _json(_text(content))
    if isinstance(value, dict) and "annotations" in value:
        return list(_coco_captions(value))
    return _rows(list(value.values()) if isinstance(value, dict) else value)


def _json_lines(content: bytes) -> list[str | Mapping[str, Any]]:
    return _rows([_json(line, f"line {i}: ") for i, line in enumerate(lines_of(_text(content)), start=1)])


def _parquet_rows(content: bytes) -> list[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        found: list[Mapping[str, Any]] = pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError("it is no parquet file, or a damaged one") from error
    return found


def _rows(value: Any) -> list[str | Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, str | dict) for row in value):
        raise ValueError("expected a list of prompts or of objects with one, or COCO captions (`annotations`)")
    return value


def _coco_captions(document: Mapping[str, Any]) -> Iterable[str]:
    """The first caption (smallest id) of every image, by image id."""
    try:
        found = [(int(a["image_id"]), int(a["id"]), str(a["caption"])) for a in document["annotations"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError("expected COCO captions: annotations with image_id, id and caption") from error
    firsts: dict[int, str] = {}
    for image_id, _, caption in sorted(found):
        firsts.setdefault(image_id, caption)
    return firsts.values()


def _json(text: str, where: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where or f"line {error.lineno}: "
        raise ValueError(f"{place}no valid JSON near column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"{where}lists or objects too deep inside each other") from error


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")


_ROWS: dict[str, Callable[[bytes], Sequence[str | Mapping[str, Any]]]] = {
    ".txt": _text_rows,
    ".csv": _table(csv.excel),
    ".tsv": _table(_TabSeparated),
    ".json": _json_rows,
    ".jsonl": _json_lines,
    ".parquet": _parquet_rows,
}

"""For mkdocs: the README as first page, the files outside `docs/` that pages link to, and every key of a study.

A link that leads out of `docs/` leads to a copy of that file in the site, so that it works on any host.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tstitch_search.config import SpaceConfig, StudyConfig

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\(([^)\s]+)\)")
KEYS = {
    "reference/study.md": ("Keys of a study", StudyConfig),
    "reference/search-space.md": ("Keys of a search space", SpaceConfig),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, the tables of keys, and what pages link to outside `docs/`, and so on from there."""
    for place, (title, model) in KEYS.items():
        files.append(File.generated(config, place, content=keys_page(title, model.model_json_schema())))
    pages = [file.src_uri for file in files if file.is_documentation_page() and file.src_uri not in KEYS]
    waiting = ["README.md", *(f"docs/{place}" for place in pages)]
    while waiting:
        source = waiting.pop()
        if files.get_file_from_path(place_of(source)) is None:
            files.append(File.generated(config, place_of(source), abs_src_path=str(ROOT / source)))
        if source.endswith(".md"):
            linked = [target for _, target, _ in links_of(source, (ROOT / source).read_text(encoding="utf-8"))]
            waiting += [t for t in linked if (ROOT / t).is_file() and files.get_file_from_path(place_of(t)) is None]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the site has the files."""
    place = page.file.src_uri
    if place in KEYS:
        return markdown
    for link, target, fragment in links_of(source_of(place), markdown):
        in_site = os.path.relpath(place_of(target), os.path.dirname(place) or ".")
        markdown = markdown.replace(f"]({link})", f"]({in_site}{fragment})")
    return markdown


def links_of(source: str, markdown: str) -> Iterator[tuple[str, str, str]]:
    """Of every link to another file of the repository: its text, that file's path in the repository, the `#place`."""
    for link in dict.fromkeys(LINK.findall(markdown)):
        parts = urlsplit(link)
        if not parts.scheme and parts.path:
            target = os.path.normpath(os.path.join(os.path.dirname(source), parts.path))
            yield link, target, f"#{parts.fragment}" if parts.fragment else ""


def place_of(source: str) -> str:
    """Where the site has the file at `source` in the repository."""
    if source == "README.md":
        return "index.md"
    return source.removeprefix("docs/") if source.startswith("docs/") else f"repository/{source}"


def source_of(place: str) -> str:
    """The file in the repository behind a page of the site."""
    if place == "index.md":
        return "README.md"
    return place.removeprefix("repository/") if place.startswith("repository/") else f"docs/{place}"


def keys_page(title: str, schema: dict[str, Any]) -> str:
    """A section for each part of the file, with a row for each key."""
    parts = {title: schema, **{name.removesuffix("Config"): part for name, part in schema.get("$defs", {}).items()}}
    sections = [f"#{'#' * (i > 0)} {name}\n\n{_rows(part)}" for i, (name, part) in enumerate(parts.items())]
    return "\n\n".join(sections)


def _rows(part: dict[str, Any]) -> str:
    required = part.get("required", [])
    rows = [
        f"| `{key}` | {_default(key, facts, required)} | {_escaped(facts.get('description', ''))} |"
        for key, facts in part.get("properties", {}).items()
    ]
    about = _escaped(part.get("description", "")).split("  ")[0]
    return "\n".join([about, "", "| key | default | meaning |", "|---|---|---|", *rows]) if rows else about


def _default(key: str, facts: dict[str, Any], required: list[str]) -> str:
    if key in required:
        return "required"
    if part := facts.get("$ref"):
        name = part.rpartition("/")[2].removesuffix("Config")
        return f"[{name}](#{name.lower()})"
    default = facts.get("default")
    return "" if default is None else f"`{_escaped(str(default))}`"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")

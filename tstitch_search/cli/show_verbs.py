"""Looking at lookup tables. Each verb imports what it needs itself."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tstitch_search.cli.app import AsJson, TablePath, app, as_table

if TYPE_CHECKING:
    from tstitch_search.lookup import Changes, LookupEntry, LookupTable

# Longer settings are cut when a person reads them.
WIDTH = 50


@app.command()
def show(table: TablePath, as_json: AsJson = False) -> None:
    """A lookup table as a person reads it.

    Example: tstitch-search show reports/quickstart/lookup.json
    """
    from tstitch_search.cli.tables import print_table
    from tstitch_search.lookup import LookupTable

    print_table(LookupTable.read(table), table, as_json)


@app.command()
def diff(
    first: Annotated[
        Path, typer.Argument(help="A run folder or its lookup.json, the older one.", metavar="A", callback=as_table)
    ],
    second: Annotated[Path, typer.Argument(help="Another one.", metavar="B", callback=as_table)],
    as_json: AsJson = False,
) -> None:
    """What changed between two lookup tables. Front, times, qualities and settings.

    Example: tstitch-search diff reports/quickstart/lookup.json lookup-here.json
    """
    from tstitch_search.lookup import LookupTable, changes

    before, after = LookupTable.read(first), LookupTable.read(second)
    found = changes(before, after)
    print(json.dumps(_as_json(found), indent=2) if as_json else _as_text(before, after, found))


def _as_text(before: "LookupTable", after: "LookupTable", found: "Changes") -> str:
    lines = [f"front: {len(before.entries)} entries before, {len(after.entries)} after, {len(found.kept)} in both"]
    lines += [f"  new   {_entry(after, e)}" for e in found.added]
    lines += [f"  gone  {_entry(before, e)}" for e in found.removed]
    for kept in found.kept:
        time = f"{kept.before.latency_s:.4g} s, now {kept.slowdown:+.1%} ± {kept.slowdown_se:.1%}"
        quality = f"{after.objective.label} does not compare"
        if kept.quality_change is not None:
            change = f"{kept.quality_change:+.3g} ± {kept.quality_change_se:.2g}"
            quality = f"{after.objective.label} {kept.before.quality:.4g}, now {change}"
        lines.append(f"  both  {kept.before.allocation}  {time}  {quality}")
    if any(kept.quality_change is None for kept in found.kept):
        lines.append("Qualities of another metric, or at another number of images, do not compare.")
    lines.append("settings:" if found.settings else "settings: none differs")
    lines += [f"  {name}: {_differing(old, new)}" for name, (old, new) in found.settings.items()]
    return "\n".join(lines)


def _entry(table: "LookupTable", entry: "LookupEntry") -> str:
    quality = f"{table.objective.label} {entry.quality:.4g} ± {entry.quality_se:.2g} (n = {entry.n_images})"
    return f"{entry.allocation}  {entry.latency_s:.4g} s  {quality}"


def _differing(old: Any, new: Any) -> str:
    """Both values, long ones cut so that the place where they begin to differ is in sight."""
    texts = ["-" if value is None else str(value) for value in (old, new)]
    first = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = 0 if max(map(len, texts)) <= WIDTH else max(0, first - WIDTH // 4)
    return " -> ".join(_window(text, start) for text in texts)


def _window(text: str, start: int) -> str:
    before, after = "..." if start else "", "..." if len(text) > start + WIDTH else ""
    return f"{before}{text[start : start + WIDTH]}{after}"


def _as_json(found: "Changes") -> dict[str, Any]:
    return {
        "added": [str(e.allocation) for e in found.added],
        "removed": [str(e.allocation) for e in found.removed],
        "kept": [
            {
                "allocation": str(kept.before.allocation),
                "latency_s": [kept.before.latency_s, kept.after.latency_s],
                "slowdown": kept.slowdown,
                "slowdown_se": kept.slowdown_se,
                "quality": [kept.before.quality, kept.after.quality],
                "quality_change": kept.quality_change,
                "quality_change_se": None if kept.quality_change is None else kept.quality_change_se,
            }
            for kept in found.kept
        ],
        "settings": {name: list(pair) for name, pair in found.settings.items()},
    }

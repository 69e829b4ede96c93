"""A lookup table as others first see it: a card in Markdown and the front as a picture, for a repository of tables."""

from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.report.figure import record_of
from tstitch_search.report.markup import Html, tag
from tstitch_search.report.plots.palette import FRONT
from tstitch_search.report.plots.still import still
from tstitch_search.report.wording import difference_text, latency_text, named, quality_text

# On white, since a card does not say whether it is shown on light or dark ground.
_STYLE = f"""svg {{ background: #fff; font: 13px sans-serif; fill: #10151f; }}
path {{ fill: none; stroke: {FRONT}; stroke-width: 2; }}
circle {{ fill: {FRONT}; }}"""


def front_svg(table: LookupTable) -> str:
    """The front as a picture of its own."""
    drawn = still(record_of(table))
    head, _, rest = drawn.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{tag("style", Html(_STYLE))}{rest}'


def card(table: LookupTable, repository: str, picture: str) -> str:
    """The card: the answer, the front, where and how it was measured, and how to read it from Python."""
    point, facts, first = table.operating_points[0], table.provenance, table.entries[0]
    said = {
        "device": point.device,
        "batch": point.batch_size,
        "images per entry": f"{first.n_images}, not seen by the search",
        "members": ", ".join(f"{d['name']} ({d.get('weights')})" for d in facts.get("denoisers", [])),
        "solver, steps": f"{facts.get('solver')}, {facts.get('n_steps')}",
        "largest alone": facts.get("largest"),
        "measured": facts.get("created_at"),
    }
    quality = named(table.objective.label, first.n_images)
    front = [f"`{e.allocation}` | {latency_text(e)} | {quality_text(e)} | {difference_text(e)}" for e in table.entries]
    parts = [
        "---\ntags: [tstitch-search, diffusion, t-stitch]\n---",
        f"# {table.study}",
        f"{facts.get('headline', '')}".strip(),
        f"![Time against {table.objective.label}]({picture})",
        _rows(["allocation", "seconds (SE)", f"{quality} (SE)", "against the largest (SE)"], front),
        f"```python\n{_python(repository, table.entries[-1])}\n```",
        "## Measured",
        _rows(["", ""], [f"{name} | {value}" for name, value in said.items() if value]),
        "## Key",
        "Tables with another key do not compare.",
        _rows(["fact", "value"], [f"{name} | {value}" for name, value in facts.get("key", {}).items()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(head: list[str], rows: list[str]) -> str:
    lines = [" | ".join(head), "|".join("---" for _ in head), *rows]
    return "\n".join(f"| {line} |" for line in lines) if rows else ""


def _python(repository: str, slowest: LookupEntry) -> str:
    return (
        "import tstitch_search as ts\n\n"
        f'table = ts.load_table("hub:{repository}")\n'
        f"table.pick(budget_s={slowest.latency_s:.3g})  # the best within so many seconds for a batch"
    )

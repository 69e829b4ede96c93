"""Sections of the page: the plot and how to read it, costs, provenance."""

from collections.abc import Mapping, Sequence
from typing import Any

from tstitch_search.report.markup import Html, join, switch, table, tag
from tstitch_search.report.plots.bars import chip
from tstitch_search.report.plots.groups import groups_of_plot
from tstitch_search.report.record import Cost, Failure, Record
from tstitch_search.report.sections.economy import enumeration, prompts, reuse
from tstitch_search.report.wording import DASH, duration, named


def pareto_section(record: Record, plot: Html) -> Html:
    """The plot, its switches below it, and how to read it."""
    scales = {"linear": "linear", "log": "log"}
    axes = switch(f"{record.label} axis", scales, "yaxis"), switch("time axis", scales, "xaxis")
    choices = {"show": "shown", "hide": "hidden"}
    search = switch("search measurements", choices, "search") if record.trials else Html()
    expected = switch("model's predictions", choices, "posterior") if record.posterior else Html()
    groups = switch("images of", groups_of_plot(record), "group") if record.table.groups else Html()
    down, lowest = ("Up", "highest") if record.table.objective.higher_is_better else ("Down", "lowest")
    note = (
        f"{down} and left is better. Grey points are what the search found on few images, with predicted times; "
        f"the coloured line is the confirmed front: the {lowest} {record.label} within each budget, in steps because "
        f"nothing is interpolated. {_why_apart(record)} "
        "Hover over a point to see its allocation; click it to pin it below, click again to unpin."
    )
    parts = (_key(record), tag("div", plot, kind="plot"), tag("div", *axes, groups, search, expected, kind="switches"))
    pinned = tag("div", kind="pinned", attributes={"id": "pinned", "aria-label": "pinned allocations"})
    return join(*parts, tag("p", note, kind="note"), pinned)


def _why_apart(record: Record) -> str:
    """Why the search's values are not to be compared with the front's."""
    if record.table.entries[0].n_images in [trial.n_images for trial in record.trials]:
        return f"The two groups are of different images, so their values of {record.label} differ by chance, too."
    return f"The two groups have different n, so their values of {record.label} do not compare."


def _key(record: Record) -> Html:
    """What each mark of the plot stands for; the marks are drawn by style.css."""
    front = named(record.label, record.table.entries[0].n_images)
    searched = dict.fromkeys(named(record.label, trial.n_images) for trial in record.trials)
    marks = [
        *[("faint", "not measured: predicted by the search's model, 95 % band")][: len(record.posterior)],
        *[("dot", f"{name}, search, time predicted") for name in searched],
        ("line", f"{front}, confirmed front, intervals: {record.intervals}"),
        *[("ring", f"{front}, confirmed, not on the front")][: len(record.beaten)],
        ("diamond", "one denoiser alone"),
        *[("star", "the paper's rule: the cheapest for the first 40 %")][: record.paper_rule_measured is not None],
        *[("triangle", "other rules, fewer steps among them")][: len(record.further_rules_measured)],
        *[("cross", "others, as they published it")][: len(record.rivals)],
    ]
    return tag("ul", *(tag("li", tag("i", kind=kind), text) for kind, text in marks), kind="key")


def costs(record: Record) -> Html:
    """Device seconds and images of each part, what was saved, what all would have cost, the workers, what failed."""
    workers = [
        [w.worker, w.device, ", ".join(f"{name} {duration(seconds)}" for name, seconds in w.load_s.items())]
        for w in record.workers
    ]
    loads = table(["worker", "device", "time to load"], workers, kind="cards") if workers else Html()
    notes = [tag("p", said) for said in (enumeration(record), reuse(record), prompts(record)) if said]
    failures = failure_table(record.failures)
    return join(
        cost_table(record.costs),
        *notes,
        join(tag("h3", "Workers"), loads) if loads else Html(),
        join(tag("h3", "Failed attempts at chunks"), failures)
        if failures
        else tag("p", "No attempt at a chunk of images failed.", kind="note"),
        _damaged(record.damaged),
    )


def _damaged(files: Sequence[str]) -> Html:
    """What was set aside; empty when nothing was."""
    if not files:
        return Html()
    kept = join(*(part for file in dict.fromkeys(files) for part in (tag("code", file), " ")))
    return tag("p", "Damaged content was set aside and measured again; it is kept in ", kept)


def cost_table(costs: Sequence[Cost]) -> Html:
    """Device seconds, allocations and images of each part, and all seconds."""
    rows = [
        [cost.part, duration(cost.seconds), str(cost.n_allocations), f"{cost.n_images:,}" if cost.n_images else DASH]
        for cost in costs
    ]
    rows.append([tag("b", "all"), tag("b", duration(sum(cost.seconds for cost in costs))), "", ""])
    return table(["part", "device time", "allocations", "images"], rows, kind="compact small")


def failure_table(failures: Sequence[Failure]) -> Html:
    """What failed, and why; empty when nothing did."""
    rows = [[tag("code", f.allocation), f.set_name, str(f.n_attempts), f.error] for f in failures]
    return table(["allocation", "set", "attempts", "error"], rows, kind="cards") if rows else Html()


_SHOWN_ELSEWHERE = {"denoisers", "groups", "headline"}
# What a field of the table's provenance is called on the page, where its name does not say it.
_NAMES = {
    "created_at": "made at",
    "dtype": "precision",
    "environment": "machine and packages",
    "key": "what makes measurements comparable",
    "largest": "largest denoiser",
    "anchor": "anchor, which all are held against",
    "largest_latency_s": "seconds of the anchor",
    "lossless_margin": "margin for lossless",
    "n_images_confirm": "images of each entry of the front",
    "n_images_search": "images of an allocation, while searching, at most",
    "n_steps": "sampling steps",
    "search_stopped": "why the search stopped",
    "space": "search space",
    "space_size": "allocations in the space",
    "spread": "spread of step times (interquartile range / median)",
    "study": "the study, every key",
}


def provenance(record: Record) -> Html:
    """Everything recorded about where the numbers come from."""
    facts = record.table.provenance
    point = record.table.operating_points[0]
    listed: dict[str, Any] = {"device": point.device, "batch size": point.batch_size}
    listed |= {_NAMES.get(k, k): v for k, v in facts.items() if k not in _SHOWN_ELSEWHERE and v not in (None, [], {})}
    return join(_members(record), _facts(listed))


def _facts(facts: Mapping[str, Any]) -> Html:
    """Names and values; an object among the values folds away under its name."""
    folded = {key: value for key, value in facts.items() if isinstance(value, dict)}
    terms = [
        tag("div", tag("dt", key.replace("_", " ")), tag("dd", _said(value)))
        for key, value in facts.items()
        if key not in folded
    ]
    inner = [tag("details", tag("summary", key.replace("_", " ")), _facts(value)) for key, value in folded.items()]
    return join(tag("dl", *terms, kind="facts"), *inner)


def _members(record: Record) -> Html:
    """The denoisers with their weights, from the noise end."""
    if not record.listed_denoisers:
        return Html()
    rows = [
        [
            chip(record, str(d["name"])),
            _said(d.get("weights", DASH)),
            f"{d['n_parameters']:,}" if isinstance(d.get("n_parameters"), int) else DASH,
            tag("code", _said(d.get("sha256", DASH))),
        ]
        for d in record.listed_denoisers
    ]
    return table(["denoiser", "weights", "parameters", "SHA-256"], rows, kind="cards")


def _said(value: Any) -> str:
    """A JSON value as text, fractions in four digits."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return DASH if value is None else str(value)
